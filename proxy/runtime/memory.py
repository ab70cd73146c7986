"""The budget for buffers in flight.

Every stream always owns one piece without asking. What it wants beyond that, to read or write ahead, is taken here
while there is some and done without where there is none. Answers and uploads, of which there may be hundreds, take
turns to own a piece. A turn ends when the piece is written or its client pauses, whatever others do: so nothing can
deadlock. What is read from a remote store has turns of its own: if that stalls, what is on disk is served as ever.
"""

import asyncio
import ctypes
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

_PIECE = 2 * 1024 * 1024  # bytes, of the largest
_LEAST_TURNS = 4  # of each kind; below that, answers would be slow beside each other


class MemoryBudget:
    """Counts the bytes that streams hold beyond their first piece."""

    def __init__(self, limit: int) -> None:
        self.turns_each = max(_LEAST_TURNS, limit // _PIECE // 2)
        self._local = asyncio.Semaphore(self.turns_each)
        self._remote = asyncio.Semaphore(self.turns_each)
        self.uploads = asyncio.Semaphore(max(_LEAST_TURNS, limit // _PIECE // 4))  # turns; each has its piece twice
        self._free = limit

    def turns(self, *, local: bool) -> asyncio.Semaphore:
        """Return the turns of answers to own a piece, of what is on this machine or of what is not."""
        return self._local if local else self._remote

    @contextmanager
    def try_reserve(self, amount: int) -> Iterator[bool]:
        """Reserve `amount` bytes for the block, if that many are free; yield whether it did."""
        taken = amount <= self._free
        self._free -= amount if taken else 0
        try:
            yield taken
        finally:
            self._free += amount if taken else 0


class ReadAhead:
    """What one stream holds beyond its first piece: it grows while there is memory, and all comes back at the end."""

    def __init__(self, memory: MemoryBudget, amount: int, most: int) -> None:
        self.times = 0
        self._memory = memory
        self._amount = amount
        self._most = most
        self._taken = ExitStack()

    def grow(self) -> int:
        """Reserve the amount once more if it is wanted and free; return how many times it is reserved now."""
        with ExitStack() as attempt:
            if self.times < self._most and attempt.enter_context(self._memory.try_reserve(self._amount)):
                self._taken.push(attempt.pop_all())
                self.times += 1
        return self.times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._taken.close()


def keep_freed_memory() -> None:
    """Let all threads allocate from one arena, which keeps what they free, where the C library is glibc.

    By default each thread keeps what it has freed to itself: with a crowd of transfers 170 MiB instead of 115. And by
    default the memory of large buffers goes back to the system at once, which has to clear every page of the next one.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back_freed_memory() -> None:
    """Give what was freed, and kept, back to the system, where the C library is glibc. Blocks."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_LARGEST = 32 * 1024 * 1024  # bytes of a buffer that is not mapped for itself: as many as glibc allows
_KEPT = 64 * 1024 * 1024  # bytes free at the end of the arena that are not given back
