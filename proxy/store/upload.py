"""One upload in progress: bytes come in, and lie on disk in pieces, hashed and framed on the way.

All pieces but the last have 4 MiB of plain bytes, however the client cut its requests: a short last piece is read back
when more follows. So the same blob is the same stored bytes whoever pushed it.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from proxy.archive.index import Entry, Index, encode
from proxy.archive.pieces import PIECE, Framing, Piece, choose, frame, unframe
from proxy.errors import BlobUploadInvalid, DigestInvalid
from proxy.files import write_all
from proxy.memory import Memory
from proxy.oci.digest import Digest, Hash, hashing
from proxy.oci.names import Name
from proxy.offload import Crew, offload

if TYPE_CHECKING:
    import asyncio

_CHUNKS = 512  # of a piece before they are joined: a crowd of one-byte chunks costs 60 bytes each


def footer(digest: Digest, entry: Entry) -> bytes:
    """Give the end of a file that holds the pieces of one blob."""
    index = Index(references=(), root=digest, blobs={digest: entry})
    return encode(index, metadata=entry.stored, at=entry.stored)


@dataclass(slots=True)
class _Piecework:
    """The blocking half: turns plain bytes into pieces of an open file. One call at a time."""

    descriptor: int
    level: int
    algorithm: str
    pieces: list[Piece] = field(default_factory=list)
    end: int = 0  # stored bytes so far
    framing: Framing | None = None
    digest: Hash = field(init=False)

    def __post_init__(self) -> None:
        self.digest = hashing(self.algorithm)

    def add(self, part: "_Part") -> None:
        """Hash and write one piece."""
        plain = memoryview(b"".join(part.chunks))
        self.digest.update(plain[part.hashed :])
        if self.framing is None or not self.pieces:
            self.framing = choose(plain)
        framed = frame(plain, self.framing, self.level)
        write_all(self.descriptor, framed.parts, self.end)
        self.pieces.append(framed.piece)
        self.end += framed.piece.stored

    def reopen(self) -> bytes:
        """Take a short last piece back; gives its plain bytes, nothing if the last piece is full."""
        if not self.pieces or self.pieces[-1].plain == PIECE:
            return b""
        last = self.pieces.pop()
        self.end -= last.stored
        stored = os.pread(self.descriptor, last.stored, self.end)
        return b"".join(unframe(stored, last))

    def rehash(self, algorithm: str) -> Digest:
        """Compute another digest of the bytes on disk: sha512 is not announced by those who use it."""
        if algorithm == self.algorithm:
            return Digest.finished(algorithm, self.digest)
        digest, at = hashing(algorithm), 0
        for piece in self.pieces:
            for view in unframe(os.pread(self.descriptor, piece.stored, at), piece):
                digest.update(view)
            at += piece.stored
        return Digest.finished(algorithm, digest)

    def complete(self, digest: Digest) -> Entry:
        """Write the footer that makes the file readable by itself."""
        size = sum(piece.plain for piece in self.pieces)
        entry = Entry(size=size, offset=0, pieces=tuple(self.pieces))
        os.ftruncate(self.descriptor, self.end)
        write_all(self.descriptor, [footer(digest, entry)], self.end)
        return entry


class Upload:
    """An upload session (distribution-spec, "Pushing blobs"); `offset` is how many bytes it has taken."""

    def __init__(self, name: Name, path: Path, *, algorithm: str, level: int, memory: Memory) -> None:
        self.name = name
        self.id = path.name
        self.path = path
        self.offset = 0
        self.used = time.monotonic()
        self._memory = memory
        self._busy = False
        self._crew = Crew()
        self._writing: asyncio.Task[None] | None = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._work = _Piecework(self._descriptor, level, algorithm)

    async def append(self, chunks: AsyncIterator[bytes]) -> None:
        """Take bytes until there are no more; what came before the client left stays."""
        with self._alone(), self._memory.beyond(2 * PIECE) as ahead:
            gathered = _Gathered(await offload(self._work.reopen))
            try:
                async for chunk in chunks:
                    self.offset += len(chunk)
                    for full in gathered.add(chunk):
                        await self._write(full, wait=not ahead)
            finally:
                await self._write(gathered.rest(), wait=True)

    async def finish(self, digest: Digest) -> Entry:
        """Check the digest and complete the file; another digest than that of the content is DIGEST_INVALID."""
        with self._alone():
            found = await offload(self._work.rehash, digest.algorithm)
            if found != digest:
                raise DigestInvalid(f"the content has {found}, not {digest}")
            return await offload(self._work.complete, digest)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def _write(self, piece: "_Part", *, wait: bool) -> None:
        await self._written()
        if piece.chunks:
            self._writing = self._crew.start(offload(self._work.add, piece))
        if wait:
            await self._written()

    async def _written(self) -> None:
        if self._writing:
            writing, self._writing = self._writing, None
            await writing

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._busy or self._descriptor < 0:
            raise BlobUploadInvalid("another request is writing to this upload")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self.used = time.monotonic()


class _Part(NamedTuple):
    """The plain bytes of one piece, in chunks; the first `hashed` of them are not new."""

    chunks: list[bytes]
    hashed: int


class _Gathered:
    """Cuts a stream of chunks into parts of one piece each."""

    def __init__(self, reopened: bytes) -> None:
        self._chunks = [reopened] if reopened else []
        self._size = self._hashed = len(reopened)

    def add(self, chunk: bytes) -> Iterator[_Part]:
        """Take a chunk; gives the parts that it filled."""
        while chunk:
            room = PIECE - self._size
            self._chunks.append(chunk[:room])
            self._size += len(self._chunks[-1])
            chunk = chunk[room:]
            if self._size == PIECE:
                yield self.rest()
        if len(self._chunks) > _CHUNKS:
            self._chunks = [b"".join(self._chunks)]

    def rest(self) -> _Part:
        """Give what is there, and start anew."""
        part = _Part(self._chunks, self._hashed)
        self._chunks, self._size, self._hashed = [], 0, 0
        return part
