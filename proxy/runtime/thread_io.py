"""Results of coroutines as files that a thread reads, for libraries that know nothing of an event loop."""

import asyncio
import math
import os
from collections.abc import AsyncIterator
from concurrent.futures import Future
from threading import Semaphore

from proxy.errors import TarballInvalid
from proxy.runtime.files import Source

_BATCH = 2 * 1024 * 1024  # bytes that are handed over at once, where they come in smaller chunks
_CHUNKS = 1024  # of which that consists, at most: a crowd of one-byte chunks costs 40 bytes each
_BLOCK = 2 * 1024 * 1024  # bytes that are read at once from something that is read by range
_MOST = 4 * 1024 * 1024  # bytes of one read, above all of the directory of a zip, which is held in memory


class BlockingStream:
    """A stream of chunks as a file that can be read once, a batch ahead of its reader; made in the loop.

    `first` was read from it already; `received` is how many bytes have come. The reader holds one of the `turns`, which
    is released while it waits for bytes. Close it in the loop when the reader is done.
    """

    def __init__(self, chunks: AsyncIterator[bytes], turns: Semaphore, first: bytes = b"") -> None:
        self.received = len(first)
        self._chunks = chunks
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._held = memoryview(first)
        self._coming: Future[bytes] | None = None
        self._ended = self._is_closed = False

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end. Raise what the chunks raise. Blocks."""
        if not self._held and not self._ended:
            self._coming = self._coming or self._ask()
            batch = self._coming.result() if self._coming.done() else self._awaited(self._coming)
            self._coming = self._ask() if batch else None
            self._ended, self._held = not batch, memoryview(batch)
        given, self._held = self._held[:size], self._held[size:]
        return bytes(given)

    def _awaited(self, coming: Future[bytes]) -> bytes:
        """Wait without a turn: a client that sends slowly, or has stopped, keeps nobody from working."""
        self._turns.release()
        try:
            return coming.result()
        finally:
            self._turns.acquire()

    async def drain(self) -> None:
        """Discard the rest: clients treat an answer sent before their body ends as a failure."""
        more = await asyncio.wrap_future(self._coming) if self._coming else b""
        while more or not self._ended:
            more = await self._gather()
            self._ended = not more

    def close(self) -> None:
        """Wait for no more, and take no chunk any more."""
        self._is_closed = True
        if self._coming:
            self._coming.cancel()

    def _ask(self) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._gather(), self._loop)

    async def _gather(self) -> bytes:
        batch, size = list[bytes](), 0
        while size < _BATCH and len(batch) < _CHUNKS and not self._is_closed:
            if not (chunk := await anext(self._chunks, b"")):
                break
            batch.append(chunk)
            size += len(chunk)
        self.received += size
        return b"".join(batch)


class RangeFile:
    """Something that is read by range as a file that can be sought, for `zipfile`; made in the loop.

    It reads blocks of so many bytes, and `ahead` as long as it is read in order. One read gives at most 4 MiB, which is
    more than is ever asked for but by a zip whose directory is out of all proportion: TARBALL_INVALID. `taken` is how
    many bytes were asked of the source; once they are `most` no more are.
    """

    def __init__(self, source: Source, ahead: int, block: int = _BLOCK, most: float = math.inf) -> None:
        self.size = source.size
        self.taken = 0
        self._source = source
        self._ahead = ahead  # blocks
        self._size_of_block = block
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._at = 0
        self._last = -2  # the block that was read last
        self._blocks: dict[int, Future[bytes]] = {}

    def seekable(self) -> bool:
        """Return True: `zipfile` asks."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to an offset, and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end. Blocks."""
        left = max(0, self.size - self._at)
        stop = self._at + (left if size < 0 else min(size, left))
        if stop - self._at > _MOST:
            raise TarballInvalid(f"the directory of the zip has {stop - self._at} bytes")
        found = bytearray()
        while self._at < stop:
            number, skip = divmod(self._at, self._size_of_block)
            part = self._block(number)[skip : skip + stop - self._at]
            if not part:
                raise TarballInvalid("the artifact ends too early")
            found += part
            self._at += len(part)
        return bytes(found)

    def close(self) -> None:
        """Wait for no more."""
        for each in self._blocks.values():
            each.cancel()

    def _block(self, number: int) -> bytes:
        wanted = range(number, number + (1 + self._ahead if number in {self._last, self._last + 1} else 1))
        self._blocks = {
            each: self._blocks.get(each) or self._begin(each)
            for each in wanted
            if each * self._size_of_block < self.size
        }
        self._last = number
        return self._blocks[number].result()

    def _begin(self, number: int) -> Future[bytes]:
        start = number * self._size_of_block
        stop = min(start + self._size_of_block, self.size)
        self.taken += stop - start
        if self.taken > self._most:
            raise TarballInvalid(f"{self._most} bytes of it do not say what it is")
        read = self._source.read(start, stop, bytes)
        return asyncio.run_coroutine_threadsafe(read, self._loop)
