"""Blobs in their stored form, wherever the bytes are, and the one loop that reads them back.

Every piece is checked by its CRC as it arrives, every whole blob by its digest before its last piece is passed on. Once
this process has checked the digest over pieces with the same CRCs, the CRCs alone are enough.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TypeVar

from proxy.archive.crc64 import WIDTH
from proxy.archive.pieces import PIECE, Extent, Piece, PieceDamaged, check, covering, unframe
from proxy.errors import ContentDamaged, ManifestUnknown
from proxy.oci.digest import Digest, Hash, hashing
from proxy.runtime.files import Bytes, Source
from proxy.runtime.memory import MemoryBudget, ReadAhead
from proxy.runtime.tasks import TaskSet, run_in_thread

T = TypeVar("T")

_LOCAL = PIECE  # stored bytes of one read, unless a single piece has more
_REMOTE = 5 * 1024 * 1024  # the same where each request takes long; Azurite reads ranges up to 4 MiB twice (checksum)
_COPIES = 2  # of what was read, in the memory of a reader: as stored, and as it is written to the socket


@dataclass(frozen=True, slots=True)
class Verification:
    """What this process found out by reading the content of one place: which digests are right, and what is damaged.

    For a push damaged content counts as missing, so that it is sent again. A pull may still try it in a remote store.
    """

    verified: set[Digest] = field(default_factory=set)
    corrupt: set[Digest] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Blob:
    """Content in its stored form: `size` plain bytes in pieces that are in `source` from `offset` on.

    `crc64` is the CRC-64/NVME of each piece as it is stored, eight bytes each, or None if it is not known. `origin`
    says in words where it was found, if that is not the store of this relay.
    """

    digest: Digest
    size: int
    pieces: tuple[Piece, ...]
    source: Source
    offset: int = 0
    media_type: str | None = None
    findings: Verification = field(default_factory=Verification, repr=False, compare=False)
    crc64: bytes | None = field(default=None, repr=False, compare=False)
    origin: str = field(default="", compare=False)

    @property
    def stored(self) -> int:
        """Bytes of all pieces together."""
        return sum(piece.stored for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class _Run:
    """Pieces in a row, from `offset` within the blob on, that are read at once."""

    offset: int
    pieces: tuple[Piece, ...]

    @property
    def stored(self) -> int:
        return sum(piece.stored for piece in self.pieces)

    def checked(self, stored: Bytes) -> list[Bytes]:
        """Return the stored bytes piece by piece; raise PieceDamaged if the CRC of one is wrong."""
        parts, ends = list[Bytes](), accumulate(piece.stored for piece in self.pieces)
        view = memoryview(stored) if len(self.pieces) > 1 else stored
        for piece, end in zip(self.pieces, ends, strict=True):
            parts.append(view[end - piece.stored : end])
            check(parts[-1], piece)
        return parts


def _runs(pieces: Iterable[Piece], most: int) -> Iterator[_Run]:
    """Yield runs of at most `most` bytes, unless a single piece has more: small pieces share one request."""
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
    """Yield the parts of a blob in its stored form, of at most `most` bytes each unless a single piece has more."""
    first = 0
    for run in _runs(blob.pieces, most):
        last = first + len(run.pieces)
        crc64 = blob.crc64[first * WIDTH : last * WIDTH] if blob.crc64 is not None else None
        size = sum(piece.plain for piece in run.pieces)
        yield replace(blob, size=size, pieces=run.pieces, offset=blob.offset + run.offset, crc64=crc64)
        first = last


async def _read(blob: Blob, offset: int, stored: int, then: Callable[[Bytes], T]) -> T:
    try:
        return await blob.source.read(blob.offset + offset, blob.offset + offset + stored, then)
    except PieceDamaged as error:
        raise _damaged(blob) from error
    except OSError as error:  # of a local or mounted disk
        raise ContentDamaged(f"{blob.digest} cannot be read: {error.strerror or error}; try again") from error
    except ManifestUnknown:  # the artifact is gone: another one may have the blob, or it has to be pushed again
        blob.findings.corrupt.add(blob.digest)
        raise


def _verify(blob: Blob, found: Digest) -> None:
    """Record whether content that was read to its end has the digest of its blob; raise ContentDamaged if not."""
    if found != blob.digest:
        raise _damaged(blob)
    blob.findings.verified.add(blob.digest)
    blob.findings.corrupt.discard(blob.digest)


def _damaged(blob: Blob) -> ContentDamaged:
    blob.findings.corrupt.add(blob.digest)
    return ContentDamaged(f"the stored bytes of {blob.digest} are damaged; push the image again")


async def read_plain(blob: Blob, start: int, stop: int, memory: MemoryBudget) -> AsyncGenerator[list[memoryview]]:
    """Yield the plain bytes [start, stop) piece by piece, and read ahead as far as memory allows.

    Use it within `contextlib.aclosing`, so that no task is left behind if the reader stops early.
    """
    proof = _Proof(blob) if (start, stop) == (0, blob.size) and blob.digest not in blob.findings.verified else None
    extents = covering(blob.pieces, start, stop)
    reads = (_plain(blob, each) for each in extents)
    tasks = TaskSet()
    try:
        async with aclosing(_in_order(reads, blob.source.read_ahead, memory, PIECE)) as pieces:
            left = len(extents)
            async for views in pieces:
                left -= 1
                if proof:
                    await proof.take(list(views), tasks, last=not left)  # the reader may empty the list
                yield views
        if proof and not blob.pieces:
            proof.confirm()
    finally:
        await tasks.cancel_all()


class GrowingSource(ABC):
    """A source whose bytes are still being received. No protocol: to find out what follows one takes long."""

    @abstractmethod
    async def arrived(self, stop: int) -> None:
        """Wait until the bytes before `stop` are there; raise what ended the transfer."""


async def within_reach(blob: Blob, extent: Extent) -> None:
    """Wait until a piece can be read, if it is being received; raise what ended the transfer."""
    if isinstance(blob.source, GrowingSource):
        await blob.source.arrived(extent.offset + extent.piece.stored)


async def piece_of(blob: Blob, start: int, stop: int) -> list[memoryview]:
    """Return the plain bytes [start, stop) of one piece, read once more and checked by its CRC."""
    (extent,) = covering(blob.pieces, start, stop)
    return await _plain(blob, extent)


async def read_stored(blob: Blob, memory: MemoryBudget) -> AsyncGenerator[bytes]:
    """Yield the pieces as they are stored, each checked by its CRC. Use it within `contextlib.aclosing`."""
    async with aclosing(_read_runs(blob, memory)) as runs:
        async for pieces in runs:
            for piece in pieces:
                yield bytes(piece)


async def _read_runs(blob: Blob, memory: MemoryBudget) -> AsyncGenerator[list[Bytes]]:
    """Yield the checked pieces, those together that are read together."""
    with memory.try_reserve(0 if blob.source.is_local else _COPIES * _REMOTE) as enough:
        most = _REMOTE if enough and not blob.source.is_local else _LOCAL
        reads = (_read(blob, run.offset, run.stored, run.checked) for run in _runs(blob.pieces, most))
        async with aclosing(_in_order(reads, blob.source.read_ahead, memory, most)) as runs:
            async for pieces in runs:
                yield pieces


async def read_proven(
    blob: Blob, memory: MemoryBudget, keep: Callable[[Bytes], None] = lambda _: None
) -> AsyncGenerator[Bytes]:
    """Yield what `read_stored` yields, the last piece only if the digest of the whole is right.

    `keep` is called with each piece in the thread that hashes it.
    """
    digest, left = hashing(blob.digest.algorithm), iter(blob.pieces)
    proven = blob.digest in blob.findings.verified

    def take(run: list[Bytes]) -> None:
        for stored, piece in zip(run, left, strict=False):
            if not proven:
                _update(digest, stored, piece)
            keep(stored)

    behind = len(blob.pieces)
    async with aclosing(_read_runs(blob, memory)) as runs:
        async for run in runs:
            await run_in_thread(take, run)
            behind -= len(run)
            if not (proven or behind):
                _verify(blob, Digest.finished(blob.digest.algorithm, digest))
            for stored in run:
                yield stored


def _update(digest: Hash, stored: Bytes, piece: Piece) -> None:
    for view in unframe(stored, piece):
        digest.update(view)


async def _in_order(
    reads: Iterator[Coroutine[None, None, T]], ahead: int, memory: MemoryBudget, most: int
) -> AsyncGenerator[T]:
    """Yield the results of reads of at most `most` bytes in order; as many run ahead as memory allows by then."""
    tasks = TaskSet()
    running: deque[asyncio.Task[T]] = deque()
    try:
        with ReadAhead(memory, _COPIES * most, ahead) as more:
            for read in reads:
                running.append(tasks.spawn(read))
                while len(running) > more.grow():
                    yield await running.popleft()
            while running:
                yield await running.popleft()
    finally:
        await tasks.cancel_all()
        await asyncio.gather(*running, return_exceptions=True)  # nobody waits for their failures


async def read_all(blob: Blob) -> bytes:
    """Return the whole plain content, for content that is known to be small, such as manifests: one thread reads it."""

    def joined(stored: Bytes) -> tuple[bytes, Digest]:
        plain, view = list[memoryview](), memoryview(stored)
        for piece in blob.pieces:
            plain += unframe(view[: piece.stored], piece)
            view = view[piece.stored :]
        content = b"".join(plain)
        proven = blob.digest in blob.findings.verified
        return content, blob.digest if proven else Digest.of(content, blob.digest.algorithm)

    content, found = await _read(blob, 0, blob.stored, joined)
    _verify(blob, found)
    return content


async def _plain(blob: Blob, extent: Extent) -> list[memoryview]:
    def taken(stored: Bytes) -> list[memoryview]:
        parts, start, stop = list[memoryview](), extent.skip, extent.skip + extent.take
        for view in unframe(stored, extent.piece):
            if part := view[max(start, 0) : max(stop, 0)]:
                parts.append(part)
            start, stop = start - len(view), stop - len(view)
        return parts

    return await _read(blob, extent.offset, extent.piece.stored, taken)


class _Proof:
    """The digest of a blob, computed while the blob is sent."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._hash: Hash = hashing(blob.digest.algorithm)
        self._under_way: asyncio.Task[None] | None = None

    async def take(self, views: list[memoryview], tasks: TaskSet, *, last: bool) -> None:
        """Hash one more piece while the caller sends it; for the last piece wait and compare."""
        if self._under_way:
            await self._under_way
        self._under_way = tasks.spawn(run_in_thread(self._update, views))
        if last:
            await self._under_way
            self.confirm()

    def _update(self, views: list[memoryview]) -> None:
        for view in views:
            self._hash.update(view)

    def confirm(self) -> None:
        """Compare with the digest of the blob; raise ContentDamaged if they differ."""
        _verify(self._blob, Digest.finished(self._blob.digest.algorithm, self._hash))
