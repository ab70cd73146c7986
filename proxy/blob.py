"""Blobs in their stored form, wherever the bytes are, and the one loop that reads them back.

Every piece is checked by its CRC as it comes, every whole blob by its digest before its last piece is handed on. A blob
whose digest this process has checked before, over pieces with these very CRCs, is covered by them from then on.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

from proxy.archive.crc64 import WIDTH
from proxy.archive.pieces import PIECE, Extent, Piece, PieceDamaged, check, covering, unframe
from proxy.errors import ContentDamaged, ManifestUnknown
from proxy.oci.digest import Digest, Hash, hashing
from proxy.runtime.files import Source
from proxy.runtime.memory import MemoryBudget, ReadAhead
from proxy.runtime.tasks import TaskSet, run_in_thread

T = TypeVar("T")

_NEAR = PIECE  # stored bytes that are read at once, at most, if a single piece has no more
_FAR = 5 * 1024 * 1024  # where each request takes its time; ranges of up to 4 MiB Azurite reads twice, for a checksum
_HELD = 2  # times what was read, that a reader holds: as stored, and as it is written to the socket


@dataclass(frozen=True, slots=True)
class Verification:
    """What this process found out about content of one place by reading it: whose digest is right, and what is damaged.

    What is damaged counts as not there for who pushes, so that it is sent again. Of what is far a pull may still try.
    """

    verified: set[Digest] = field(default_factory=set)
    corrupt: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Blob:
    """Content in its stored form: `size` plain bytes in pieces that lie in `source` from `offset` on.

    `crc64` is the CRC-64/NVME of each piece as it is stored, eight bytes each; None where it is not known.
    """

    digest: Digest
    size: int
    pieces: tuple[Piece, ...]
    source: Source
    offset: int = 0
    media_type: str | None = None
    findings: Verification = field(default_factory=Verification, repr=False, compare=False)
    crc64: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def stored(self) -> int:
        """How many bytes the pieces have in all."""
        return sum(piece.stored for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class _Run:
    """Pieces that lie one behind the other, from `offset` within the blob on; they are read at once."""

    offset: int
    pieces: tuple[Piece, ...]

    @property
    def stored(self) -> int:
        return sum(piece.stored for piece in self.pieces)

    def checked(self, stored: bytes) -> list[bytes]:
        """Take them apart, each checked by its CRC; PieceDamaged."""
        parts, ends = list[bytes](), accumulate(piece.stored for piece in self.pieces)
        for piece, end in zip(self.pieces, ends, strict=True):
            parts.append(stored[end - piece.stored : end])
            check(parts[-1], piece)
        return parts


def _runs(pieces: Iterable[Piece], most: int) -> Iterator[_Run]:
    """Put pieces together that have no more than so many bytes: of layers that shrink, many in one request."""
    offset, size, run = 0, 0, list[Piece]()
    for piece in pieces:
        if run and size + piece.stored > most:
            yield _Run(offset, tuple(run))
            offset, size, run = offset + size, 0, []
        run.append(piece)
        size += piece.stored
    if run:
        yield _Run(offset, tuple(run))


def cut(blob: Blob, most: int) -> Iterator[Blob]:
    """Yield the parts of a blob in its stored form, of at most so many bytes each unless a single piece has more."""
    first = 0
    for run in _runs(blob.pieces, most):
        last = first + len(run.pieces)
        crc64 = blob.crc64[first * WIDTH : last * WIDTH] if blob.crc64 is not None else None
        size = sum(piece.plain for piece in run.pieces)
        yield replace(blob, size=size, pieces=run.pieces, offset=blob.offset + run.offset, crc64=crc64)
        first = last


async def _read(blob: Blob, offset: int, stored: int, then: Callable[[bytes], T]) -> T:
    at = blob.offset + offset
    try:
        return await blob.source.read(at, at + stored, then)
    except PieceDamaged as error:
        raise _damaged(blob) from error
    except OSError as error:  # of this disk, or of one that is mounted here
        raise ContentDamaged(f"{blob.digest} cannot be read: {error.strerror or error}; try again") from error
    except ManifestUnknown:  # the artifact is gone: another one may have it, or it has to be pushed again
        blob.findings.corrupt.add(blob.digest)
        raise


def prove(blob: Blob, found: Digest) -> None:
    """Note whether content that was read to its end has the digest it goes by; ContentDamaged if it has not."""
    if found != blob.digest:
        raise _damaged(blob)
    blob.findings.verified.add(blob.digest)
    blob.findings.corrupt.discard(blob.digest)


def _damaged(blob: Blob) -> ContentDamaged:
    blob.findings.corrupt.add(blob.digest)
    return ContentDamaged(f"the stored bytes of {blob.digest} are damaged; push the image again")


async def read_plain(blob: Blob, start: int, stop: int, memory: MemoryBudget) -> AsyncGenerator[list[memoryview]]:
    """Give the plain bytes [start, stop) piece by piece, others read ahead while memory allows.

    Use it within `contextlib.aclosing`, so that a reader who leaves early leaves no task behind.
    """
    prove = _Proof(blob) if (start, stop) == (0, blob.size) and blob.digest not in blob.findings.verified else None
    extents = covering(blob.pieces, start, stop)
    reads = (_plain(blob, each) for each in extents)
    crew = TaskSet()
    try:
        async with aclosing(_in_order(reads, blob.source.read_ahead, memory, PIECE)) as pieces:
            left = len(extents)
            async for views in pieces:
                left -= 1
                if prove:
                    await prove.take(list(views), crew, last=not left)  # who reads may empty the list
                yield views
        if prove and not blob.pieces:
            prove.confirm()
    finally:
        await crew.cancel_all()


@runtime_checkable
class Arriving(Source, Protocol):
    """Stored bytes that come one after the other."""

    async def arrived(self, stop: int) -> None:
        """Wait until the bytes before `stop` are there; raises what ended their coming."""


async def within_reach(blob: Blob, at: int) -> None:
    """Wait until the piece with a plain byte can be read, if it is on its way; raises what ended that."""
    if isinstance(blob.source, Arriving):
        for extent in covering(blob.pieces, at, at + 1):
            await blob.source.arrived(extent.offset + extent.piece.stored)


async def piece_of(blob: Blob, start: int, stop: int) -> list[memoryview]:
    """Give the plain bytes [start, stop) of one piece, which was read before and let go; checked by its CRC."""
    (extent,) = covering(blob.pieces, start, stop)
    return await _plain(blob, extent)


async def read_stored(blob: Blob, memory: MemoryBudget) -> AsyncGenerator[bytes]:
    """Give the pieces as they are stored, each checked by its CRC. Use it within `contextlib.aclosing`."""
    with memory.try_reserve(0 if blob.source.is_local else _HELD * _FAR) as enough:
        most = _FAR if enough and not blob.source.is_local else _NEAR
        reads = (_read(blob, run.offset, run.stored, run.checked) for run in _runs(blob.pieces, most))
        async with aclosing(_in_order(reads, blob.source.read_ahead, memory, most)) as runs:
            async for pieces in runs:
                for piece in pieces:
                    yield piece


async def read_proven(blob: Blob, memory: MemoryBudget) -> AsyncGenerator[bytes]:
    """Give what `read_stored` gives, the last piece only when the digest of the whole is right."""
    digest, left = hashing(blob.digest.algorithm), len(blob.pieces)
    proven = blob.digest in blob.findings.verified
    async with aclosing(read_stored(blob, memory)) as pieces:
        for piece in blob.pieces:
            stored = await anext(pieces)
            left -= 1
            if not proven:
                await run_in_thread(_update, digest, stored, piece)
            if not (proven or left):
                prove(blob, Digest.finished(blob.digest.algorithm, digest))
            yield stored


def _update(digest: Hash, stored: bytes, piece: Piece) -> None:
    for view in unframe(stored, piece):
        digest.update(view)


async def _in_order(
    reads: Iterator[Coroutine[None, None, T]], ahead: int, memory: MemoryBudget, most: int
) -> AsyncGenerator[T]:
    """Give the results of reads of at most so many bytes in order, as many running ahead as memory allows by now."""
    crew = TaskSet()
    coming: deque[asyncio.Task[T]] = deque()
    try:
        with ReadAhead(memory, _HELD * most, ahead) as more:
            for read in reads:
                coming.append(crew.spawn(read))
                while len(coming) > more.grow():
                    yield await coming.popleft()
            while coming:
                yield await coming.popleft()
    finally:
        await crew.cancel_all()
        await asyncio.gather(*coming, return_exceptions=True)  # a failure that nobody came for is no news


async def read_all(blob: Blob) -> bytes:
    """Give the whole plain content at once; for what is known to be small, such as manifests."""
    memory = MemoryBudget(0)
    return b"".join([b"".join(views) async for views in read_plain(blob, 0, blob.size, memory)])


async def _plain(blob: Blob, extent: Extent) -> list[memoryview]:
    def cut(stored: bytes) -> list[memoryview]:
        return list(_cut(unframe(stored, extent.piece), extent.skip, extent.skip + extent.take))

    return await _read(blob, extent.offset, extent.piece.stored, cut)


def _cut(views: list[memoryview], start: int, stop: int) -> Iterator[memoryview]:
    at = 0
    for view in views:
        part = view[max(start - at, 0) : max(stop - at, 0)]
        at += len(view)
        if part:
            yield part


class _Proof:
    """The digest of a blob, computed beside its delivery."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._hash: Hash = hashing(blob.digest.algorithm)
        self._under_way: asyncio.Task[None] | None = None

    async def take(self, views: list[memoryview], crew: TaskSet, *, last: bool) -> None:
        """Hash one more piece, while the caller hands it on; of the last piece wait for the result."""
        if self._under_way:
            await self._under_way
        self._under_way = crew.spawn(run_in_thread(self._update, views))
        if last:
            await self._under_way
            self.confirm()

    def _update(self, views: list[memoryview]) -> None:
        for view in views:
            self._hash.update(view)

    def confirm(self) -> None:
        """Compare with the digest that the blob goes by."""
        prove(self._blob, Digest.finished(self._blob.digest.algorithm, self._hash))
