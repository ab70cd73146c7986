"""One upload in progress: bytes come in, and lie on disk in pieces, hashed and framed on the way.

All pieces but the last have 2 MiB of plain bytes, however the client cut its requests: a short last piece is read back
when more follows. So the same blob is the same stored bytes whoever pushed it.

A crowd of uploads takes turns to gather a piece in memory. Between its turns an upload has all it took on disk.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from proxy.archive.index import Entry
from proxy.archive.pieces import PIECE, pack, unframe
from proxy.errors import BlobUploadInvalid, BlobUploadUnknown, DigestInvalid
from proxy.oci.digest import Digest, hashing
from proxy.oci.names import Name
from proxy.runtime.files import NewFile
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.spool.blob_file import BlobWriter

_CHUNKS = 512  # of a piece before they are joined: a crowd of one-byte chunks costs 60 bytes each


class PieceWriter(BlobWriter):
    """The blocking half of an upload: turns plain bytes into pieces of an open file. One call at a time."""

    def __init__(self, path: Path, level: int, algorithm: str) -> None:
        self._digest = hashing(algorithm)  # first: an unknown algorithm leaves no file
        super().__init__(NewFile(path))
        self._level = level
        self._algorithm = algorithm

    def add(self, part: "_Part") -> None:
        """Hash and write one piece, in the place of a short last one that it begins with."""
        plain = memoryview(b"".join(part.chunks))
        if part.hashed:
            self.drop_last()
        self._digest.update(plain[part.hashed :])
        self.append(pack(plain, self._level))

    def reopen(self) -> bytes:
        """Return the plain bytes of a short last piece, nothing if the last piece is full."""
        if not self.pieces or self.pieces[-1].plain == PIECE:
            return b""
        last = self.pieces[-1]
        return b"".join(unframe(self.file.read(last.stored, self.end - last.stored), last))

    def rehash(self, algorithm: str) -> Digest:
        """Compute another digest of the bytes on disk: sha512 is not announced by those who use it."""
        if algorithm == self._algorithm:
            return Digest.finished(algorithm, self._digest)
        digest, at = hashing(algorithm), 0
        for piece in self.pieces:
            for view in unframe(self.file.read(piece.stored, at), piece):
                digest.update(view)
            at += piece.stored
        return Digest.finished(algorithm, digest)


class Upload:
    """An upload session (distribution-spec, "Pushing blobs"); `offset` is how many bytes it has taken.

    Making one opens its file, and blocks; an unknown algorithm is DIGEST_INVALID.
    """

    def __init__(
        self, name: Name, path: Path, *, algorithm: str, level: int, memory: MemoryBudget, limits: Limits = DEFAULT
    ) -> None:
        self.name = name
        self.id = path.name
        self.path = path
        self.offset = 0
        self.began = self.used = time.monotonic()
        self._memory = memory
        self._fed = limits.upload_fed
        self._turn = limits.sender_turn
        self._busy = self._closed = False
        self._tasks = TaskSet()
        self._writing: asyncio.Task[None] | None = None
        self._work = PieceWriter(path, level, algorithm)

    async def append(self, chunks: AsyncIterator[bytes]) -> None:
        """Append bytes until there are no more; what came before the client left stays.

        An empty chunk says that the client pauses.
        """
        with self.alone():
            await self._written()
            async for chunk in chunks:
                if chunk:
                    async with self._memory.uploads:
                        await self._take(chunk, chunks)

    async def _take(self, chunk: bytes, more: AsyncIterator[bytes]) -> None:
        """Append this chunk and more, until the client pauses or it is the turn of others."""
        with self._memory.try_reserve(2 * PIECE) as ahead:
            gathered, late = ChunkBuffer(await run_in_thread(self._work.reopen)), time.monotonic() + self._turn
            try:
                while chunk:
                    self._continue()
                    self.offset += len(chunk)
                    gathered.add(chunk)
                    full = gathered.size >= PIECE
                    while gathered.size >= PIECE:
                        await self._write(gathered)
                        if not ahead:
                            await self._written()
                    if (full or self.used > late) and self._memory.uploads.locked():
                        break
                    chunk = await anext(more, b"")
            finally:
                try:
                    while gathered.new and not self._closed:
                        await self._write(gathered)
                    await self._written()
                finally:
                    self.offset -= gathered.new  # none, unless this was cancelled as well

    def _continue(self) -> None:
        """Note that the client is alive, unless the session was given up meanwhile."""
        if self._closed:
            raise BlobUploadUnknown("the upload was given up; start a new one")
        self.used = time.monotonic()

    async def finish(self, digest: Digest) -> Entry:
        """Check the digest and complete the file. Raise DIGEST_INVALID if the content has another digest.

        To be called within `alone`.
        """
        found = await run_in_thread(self._work.rehash, digest.algorithm)
        if found != digest:
            raise DigestInvalid(f"the content has {found}, not {digest}")
        if self._work.size != self.offset:  # hashed, but a write has failed
            raise BlobUploadInvalid("bytes of this upload were lost; start a new one")
        return await run_in_thread(self._work.complete, digest)

    @property
    def is_fed(self) -> bool:
        """Return whether a request that brings bytes is open, or was a moment ago."""
        return self._busy or time.monotonic() - self.used < self._fed

    @property
    def torn(self) -> bool:
        """Return whether a write has failed, so that not all bytes that were taken are on disk."""
        writing = self._writing
        return writing is not None and writing.done() and writing.exception() is not None

    async def close(self) -> None:
        """Refuse further bytes, and close the file."""
        self._closed = True
        await run_in_thread(self._work.file.close)

    async def _write(self, gathered: "ChunkBuffer") -> None:
        """Begin to write the next piece."""
        await self._written()
        self._writing = self._tasks.spawn(run_in_thread(self._work.add, gathered.take()))

    async def _written(self) -> None:
        """Wait for the piece that is being written; after a failure nothing follows it."""
        if self._writing is None:
            return
        try:
            await asyncio.shield(self._writing)  # a thread goes on when its request is cancelled
        except OSError:
            self._continue()
            raise
        self._writing = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other request write within the block."""
        if self._busy or self._closed:
            raise BlobUploadInvalid("another request is writing to this upload")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self.used = time.monotonic()


class _Part(NamedTuple):
    """The plain bytes of one piece, in chunks; the first `hashed` of them are not new."""

    chunks: list[bytes | memoryview]
    hashed: int


class ChunkBuffer:
    """Bytes that came and are not being written yet; `size` is how many."""

    def __init__(self, reopened: bytes) -> None:
        self._chunks: deque[bytes | memoryview] = deque([reopened])
        self.size = self._hashed = len(reopened)

    @property
    def new(self) -> int:
        """Return how many bytes are not on disk yet."""
        return self.size - self._hashed

    def add(self, chunk: bytes) -> None:
        """Append a chunk."""
        self._chunks.append(chunk)
        self.size += len(chunk)
        if len(self._chunks) > _CHUNKS:
            self._chunks = deque([b"".join(self._chunks)])

    def take(self) -> _Part:
        """Return the bytes of the next piece."""
        part = _Part([], self._hashed)
        room = PIECE
        while self._chunks and room:
            chunk = memoryview(self._chunks.popleft())
            if len(chunk) > room:
                self._chunks.appendleft(chunk[room:])
            part.chunks.append(chunk[:room])
            room -= len(part.chunks[-1])
        self.size -= PIECE - room
        self._hashed = 0
        return part
