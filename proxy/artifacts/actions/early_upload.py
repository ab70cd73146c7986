"""Blocks that storage gets while an image still arrives, before it is known in which archive they will be.

Storage takes blocks in any order, and only the list at the end says in which order they make a file. So large blobs are
sent as they grow in the spool; what lies between them is sent when the archive is known. Blocks that no list names are
dropped by the storage. Whatever goes wrong here only means that the whole archive is sent at the end.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from proxy.archive.container import Wrapping
from proxy.archive.index import ArchiveInvalid, Entry
from proxy.archive.limits import STORED
from proxy.archive.pieces import Piece, PieceDamaged, check
from proxy.artifacts.actions.azure import BlobStorage, appends
from proxy.artifacts.actions.block_upload import BlockUpload, Lanes, UploadLost
from proxy.artifacts.actions.blocks import BLOCK, Part, Sent
from proxy.artifacts.actions.name_claim import NameClaim
from proxy.artifacts.actions.results import Created
from proxy.artifacts.base import Body, Indexed, Stretch
from proxy.errors import RegistryError, TooManyRequests
from proxy.oci.digest import Digest
from proxy.runtime.files import LocalFile
from proxy.runtime.memory import ReadAhead
from proxy.runtime.tasks import TaskSet

_log = logging.getLogger(__name__)
_LARGEST = 2 * STORED  # bytes of a block, which has whole pieces
_WAITING = 512  # blocks that wait for their turn; what comes beyond them is sent at the end
_MOST = 20_000  # blocks; an artifact has at most 50,000
_TROUBLES = (RegistryError, UploadLost, ArchiveInvalid, PieceDamaged, OSError)

Firsts = frozenset[Piece]  # the first pieces of blobs that the run has: what begins like one is probably the same


@dataclass(slots=True)
class _Growing:
    """A file that is being written; its `pieces`, of `length` bytes from `offset` on, are in no block yet."""

    first: Piece
    pieces: list[Piece] = field(default_factory=list)
    offset: int = 0
    length: int = 0
    count: int = 0  # pieces before these
    source: LocalFile | None = None

    def add(self, piece: Piece) -> None:
        """Take one more piece."""
        self.pieces.append(piece)
        self.length += piece.stored

    def opened(self, path: Path) -> LocalFile:
        """Open the file, once. Raise OSError."""
        self.source = self.source or LocalFile.open(path)
        return self.source

    def go_on(self) -> None:
        """Begin another block."""
        self.offset, self.count = self.offset + self.length, self.count + len(self.pieces)
        self.pieces, self.length = [], 0


@dataclass(frozen=True, slots=True)
class _Block:
    """Pieces of a file in a row: the one with number `count` and those behind it, from `offset` on."""

    path: Path
    offset: int
    count: int
    pieces: tuple[Piece, ...]
    first: Piece  # of the file
    ids: list[str] = field(default_factory=list)  # one, when it is sent

    @property
    def length(self) -> int:
        return sum(piece.stored for piece in self.pieces)

    def checked(self, stored: bytes | memoryview) -> bytes:
        """Return the bytes that were read; raise PieceDamaged if they are not these pieces."""
        view, at = memoryview(stored), 0
        for piece in self.pieces:
            check(view[at : at + piece.stored], piece)
            at += piece.stored
        return bytes(stored)


@dataclass(slots=True)
class EarlyArtifact:
    """An artifact that was created early, under a name beside which there were `others` (ids), and what was sent."""

    full: str
    created: Created
    owner: str
    others: frozenset[str]
    upload: BlockUpload
    blocks: list[_Block] = field(default_factory=list)
    digests: Mapping[Path, Digest] = field(default_factory=dict)

    def placed(self, blobs: Mapping[Digest, Entry]) -> dict[int, _Block]:
        """Return the blocks that an archive with these blobs has, by where they begin in it."""
        found = dict[int, _Block]()
        for block in self.blocks:
            digest = self.digests.get(block.path)
            entry = blobs.get(digest) if digest else None
            if entry and entry.pieces[block.count : block.count + len(block.pieces)] == block.pieces:
                found[entry.offset + block.offset] = block
        return found

    async def around(self, wrapping: Wrapping, body: Body) -> AsyncGenerator[Part]:
        """Yield an archive in its wrapping; what was sent already is marked."""
        placed = self.placed(body.index.blobs) if isinstance(body, Indexed) else {}
        yield wrapping.head
        at, held = 0, list[bytes]()
        block: _Block | None = None
        async for part in body.stretches():
            if isinstance(part, Stretch):
                at += part.length
                yield part
                continue
            block = block or placed.get(at)
            at += len(part)
            if block is None:
                yield part
                continue
            held.append(part)
            if sum(map(len, held)) == block.length:
                yield Sent(block.ids[0], b"".join(held))
                block, held = None, []
        yield wrapping.end


class EarlyUpload:
    """An upload that begins before its archive is known (`base.Ahead`); made in the loop.

    `look` returns the first pieces of what the run has, `begin` creates an artifact: both raise what a store raises
    that cannot keep an image. Nothing is created until there is a block to send.
    """

    def __init__(
        self,
        storage: BlobStorage,
        look: Callable[[], Awaitable[Firsts]],
        begin: Callable[[], Awaitable[EarlyArtifact]],
        let_go: Callable[[], object],
    ) -> None:
        self._storage = storage
        self._look = look
        self._begin = begin
        self._let_go = let_go
        self._loop = asyncio.get_running_loop()
        self._growing: dict[Path, _Growing] = {}
        self._digests: dict[Path, Digest] = {}
        self._waiting: asyncio.Queue[tuple[_Block, LocalFile] | None] = asyncio.Queue()
        self._count = 0
        self._ended = self._taken = self._is_creating = False
        self._tasks = TaskSet()
        self._work = self._tasks.spawn(self._begun())

    # Called by the thread that writes the files

    def grown(self, path: Path, piece: Piece) -> None:
        """Take note that a file has one more piece."""
        file = self._growing.setdefault(path, _Growing(piece))
        if file.length + piece.stored > _LARGEST:
            self._cut(path, file)
        file.add(piece)

    def whole(self, path: Path, digest: Digest) -> None:
        """Take note of the digest of a file that is complete; its last pieces are sent at the end."""
        self._growing.pop(path, None)
        self._digests[path] = digest

    def _cut(self, path: Path, file: _Growing) -> None:
        """Make a block of the pieces that are in none, unless too many wait already."""
        if not self._ended and self._waiting.qsize() < _WAITING and self._count < _MOST:
            with suppress(OSError, TooManyRequests):  # too many open files
                block = _Block(path, file.offset, file.count, tuple(file.pieces), file.first)
                self._loop.call_soon_threadsafe(self._waiting.put_nowait, (block, file.opened(path)))
                self._count += 1
        file.go_on()

    # Called in the loop

    async def take(self) -> EarlyArtifact | None:
        """Begin to send no more blocks, and return what was sent; None if nothing was, or something went wrong."""
        self._taken = self._ended = True
        if not self._is_creating:
            await self._tasks.cancel_all()
            return None
        self._waiting.put_nowait(None)
        return await self._work

    async def close(self) -> None:
        """Give up what is under way, unless it was taken."""
        if not self._taken:
            self._ended = True
            self._let_go()
            await self._tasks.cancel_all()

    async def _begun(self) -> EarlyArtifact | None:
        try:
            return await self._sent(await self._look())
        except _TROUBLES as error:
            _log.info("nothing is sent before all of the image is here: %s", error)
            return None
        finally:
            self._ended = True

    async def _sent(self, known: Firsts) -> EarlyArtifact | None:
        """Send block after block until somebody takes what was begun."""
        begun: EarlyArtifact | None = None
        with ReadAhead(self._storage.memory, 2 * BLOCK, self._storage.up // 2 - 1) as more:  # framing takes memory, too
            lanes = Lanes(more)
            try:
                while not self._ended and (coming := await self._waiting.get()):
                    block, source = coming
                    if block.first in known:  # storage copies it, or the whole image is there
                        continue
                    if begun is None:
                        self._is_creating = True
                        begun = await self._begin()
                        begun.digests = self._digests
                    if appends(begun.created.url):
                        break
                    stored = await source.read(block.offset, block.offset + block.length, block.checked)
                    await lanes.add(begun.upload.put_early(block.ids, stored))
                    begun.blocks.append(block)
                await lanes.drain(0)
            finally:
                await lanes.close()
        return begun


@dataclass(slots=True)
class EarlyUploads:
    """Those that are under way, at most one under a name."""

    storage: BlobStorage
    _under_way: dict[str, EarlyUpload] = field(default_factory=dict)

    def begin(
        self, name: str, look: Callable[[], Awaitable[Firsts]], begin: Callable[[], Awaitable[EarlyArtifact]]
    ) -> EarlyUpload | None:
        """Begin one; None if there is one of this name."""
        if name in self._under_way:
            return None
        let_go = partial(self._under_way.pop, name, None)
        self._under_way[name] = made = EarlyUpload(self.storage, look, begin, let_go)
        return made

    async def take(self, name: str, contest: NameClaim) -> EarlyArtifact | None:
        """Return what was begun under a name, once, and only if nothing of this name was stored since.

        Else this artifact has to come after that, under the next number.
        """
        early = self._under_way.pop(name, None)
        begun = await early.take() if early else None
        if begun and (begun.owner, begun.others) == (contest.session.owner, contest.others(begun.full)):
            return begun
        return None
