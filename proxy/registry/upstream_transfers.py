"""Blobs of upstreams: each comes once for all who read it, on through the spool, where it stays while there is room.

Readers follow what arrives piece by piece. They get the last piece only if the digest of the whole is right; what is
wrong is not kept, and who has read the rest of it is cut off.
"""

import asyncio
import errno
import logging
import math
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from proxy.archive.index import Entry
from proxy.archive.pieces import PIECE
from proxy.blob import Blob, Verification
from proxy.errors import Denied, RegistryError, reason_of
from proxy.events import EventBus, Fetched
from proxy.oci.digest import Digest
from proxy.registry.reached import Reached
from proxy.runtime.files import Bytes, NewFile
from proxy.runtime.limits import Limits
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.spool.paths import check_room, new_path
from proxy.spool.spool import Spool
from proxy.spool.upload import ChunkBuffer, PieceWriter
from proxy.text import counted, safe_text

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AT_ONCE = 8  # blobs of one host, so that none waits for another one that stalls; each holds a piece or two
Coming = Callable[[], AsyncGenerator[bytes]]
_Key = tuple[str, str, Digest, int]


class _Written:
    """What has been written of a blob, as a source."""

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, file: NewFile, reached: Reached) -> None:
        self.size = 0
        self._file = file
        self._reached = reached

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read a range."""
        try:
            return await run_in_thread(lambda: then(self._file.read(stop - start, start)))
        except OSError as error:
            if error.errno == errno.EBADF:  # what came is wrong, so that it was closed
                raise self._reached.failure or Denied("what came of it is not what was asked for") from None
            raise


class UpstreamTransfer:
    """A blob of `size` bytes that is on its way from an upstream."""

    def __init__(self, digest: Digest, size: int, writer: PieceWriter, wrong: Callable[[str], RegistryError]) -> None:
        self.digest = digest
        self.size = size
        self._writer = writer
        self._wrong = wrong
        self._reached = Reached()  # pieces that readers may have
        self._source = _Written(writer.file, self._reached)
        self.finished = asyncio.Event()

    async def begun(self) -> None:
        """Wait until there is something to read. Raise what ended the transfer."""
        await self._reached.until(1)

    async def parts(self, start: int, stop: int) -> AsyncIterator[tuple[Blob, int, int]]:
        """Yield the pieces that have the plain bytes [start, stop), each as a blob, with the range of it that is meant.

        Raise what ends the transfer.
        """
        number = plain = stored = 0
        while plain < stop:
            await self._reached.until(number + 1)
            piece = self._writer.pieces[number]
            if plain + piece.plain > start:
                part = Blob(
                    self.digest, piece.plain, (piece,), self._source, stored, findings=Verification({self.digest})
                )
                yield part, max(start - plain, 0), min(stop - plain, piece.plain)
            number, plain, stored = number + 1, plain + piece.plain, stored + piece.stored

    def close(self) -> None:
        """Close the file: nothing of it is to be read any more. Blocks."""
        self._writer.file.close()

    async def run(self, coming: Coming, turns: asyncio.Semaphore) -> Entry:
        """Take everything that comes, when it is its turn; return the entry that its file ends with."""
        with self._reached.told():
            async with turns, aclosing(coming()) as chunks:
                await self._write(chunks)
            if await run_in_thread(self._writer.rehash, self.digest.algorithm) != self.digest:
                raise self._wrong("other bytes")
            entry = await run_in_thread(self._writer.complete, self.digest)
        self._reached.advance(math.inf)  # an empty blob has no piece
        return entry

    async def _write(self, chunks: AsyncIterator[bytes]) -> None:
        """Write all pieces, and release all but the last."""
        buffer, left = ChunkBuffer(b""), self.size
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise self._wrong("more bytes than it should")
            buffer.add(chunk)
            while buffer.size > PIECE or (buffer.size == PIECE and left):
                await run_in_thread(self._writer.add, buffer.take())
                self._reached.advance(len(self._writer.pieces))
        if left:
            raise self._wrong(f"{counted(left, 'byte')} too few")
        if buffer.size:
            await run_in_thread(self._writer.add, buffer.take())


@dataclass(slots=True)
class UpstreamTransfers:
    """The transfers from upstreams that are in progress, by host, relays that ask for it, digest and size.

    Whoever asks another host, or expects another size, is not told what goes wrong there; and no two relays wait for
    each other because one has joined what a client of the other began.
    """

    spool: Spool
    tasks: TaskSet
    limits: Limits
    level: int
    events: EventBus = field(default_factory=EventBus)
    _under_way: dict[_Key, UpstreamTransfer] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turns: defaultdict[str, asyncio.Semaphore] = field(
        default_factory=lambda: defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
    )

    async def get(
        self, host: str, via: str, digest: Digest, size: int, coming: Coming, wrong: Callable[[str], RegistryError]
    ) -> Blob | UpstreamTransfer:
        """Return a blob of the spool, or one that arrives from a host; `coming` begins its transfer if nobody has.

        Raise Denied if the disk has no room for it.
        """
        key = host, via, digest, size
        async with self._turn:
            if transfer := self._under_way.get(key):
                self.events.emit(Fetched("joined"))
                return transfer
            if here := await self.spool.find(digest):
                self.events.emit(Fetched("hit"))
                return here
            path = await self.spool.room(size + sum(each.size for each in self._under_way.values()))
            self.events.emit(Fetched("miss" if path else "no room"))
            is_kept = path is not None
            if path is None:  # it goes through a file all the same, so that a reader may be slower than the upstream
                await run_in_thread(check_room, self.spool.root, self.limits.free_disk + size)
                path = await run_in_thread(new_path, self.spool.root)
            writer = await run_in_thread(PieceWriter, path, self.level, digest.algorithm)
            transfer = self._under_way[key] = UpstreamTransfer(digest, size, writer, wrong)
            _ = self.tasks.spawn(self._finish(key, coming, path, is_kept=is_kept))
            return transfer

    async def _finish(self, key: _Key, coming: Coming, path: Path, *, is_kept: bool) -> None:
        transfer, is_whole = self._under_way[key], False
        try:
            entry = await transfer.run(coming, self._turns[key[0]])
            is_whole = True
            if is_kept:
                await self.spool.keep_downloaded(path, transfer.digest, entry)
        except (RegistryError, OSError) as error:
            _log.warning("%s did not arrive: %s", transfer.digest, safe_text(reason_of(error)))
        finally:
            del self._under_way[key]
            transfer.finished.set()
            if not is_whole:
                await run_in_thread(transfer.close)
            await run_in_thread(partial(path.unlink, missing_ok=True))
