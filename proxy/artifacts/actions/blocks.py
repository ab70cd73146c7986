"""What is uploaded is cut into blocks, hashed, and handed to a connection in slices; no byte is copied for it."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import overload

from proxy.archive.crc64 import crc64
from proxy.artifacts.base import Stretch
from proxy.runtime.tasks import run_in_thread

Block = list[memoryview]  # bytes in a row, where they lie
BLOCK = 4 * 1024 * 1024  # bytes
_SLICE = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes that the storage has already, as the block with this id."""

    block: str
    content: bytes = field(repr=False)


Part = bytes | Stretch | Sent


@dataclass(slots=True)
class Seen:
    """What is known of bytes that went by: how many, the last `keep` of them, and the SHA-256 if all were seen."""

    keep: int
    size: int = 0
    tail: bytes = b""
    digest: "hashlib._Hash | None" = field(default_factory=hashlib.sha256)

    async def take(self, stretch: Stretch) -> None:
        """Note a stretch; its bytes are read for it if they are on this machine."""
        if not stretch.local:
            self.size, self.tail, self.digest = self.size + stretch.length, b"", None
            return
        async with aclosing(stretch.parts()) as parts:
            async for part in parts:
                await run_in_thread(self.add, [memoryview(part)])

    def add(self, block: Block) -> int:
        """Note a block, and return its CRC-64/NVME: both are computed while a slice is in the processor's cache."""
        checksum = 0
        for part in _slices(block):
            checksum = crc64(part, checksum)
            if self.digest:
                self.digest.update(part)
            self.size += len(part)
        left, ends = self.keep, Block()
        for each in reversed([memoryview(self.tail), *block]):
            ends.append(each[max(0, len(each) - left) :])
            left -= len(ends[-1])
        self.tail = b"".join(reversed(ends))
        return checksum


async def without_stretches(stretches: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    """Yield the bytes of stretches as well."""
    async for stretch in stretches:
        if isinstance(stretch, bytes | Sent):
            yield stretch if isinstance(stretch, bytes) else stretch.content
            continue
        async with aclosing(stretch.parts()) as parts:
            async for part in parts:
                yield part


@overload
def blocks(parts: AsyncIterator[bytes]) -> AsyncIterator[Block]: ...
@overload
def blocks(parts: AsyncIterator[Part]) -> AsyncIterator[Block | Stretch | Sent]: ...
async def blocks(parts: AsyncIterator[Part]) -> AsyncIterator[Block | Stretch | Sent]:
    """Cut a stream into blocks of one size, shorter where something else follows and at the end."""
    block, room = Block(), BLOCK
    async for part in parts:
        if not isinstance(part, bytes):
            if block:
                yield block
            block, room = Block(), BLOCK
            yield part
            continue
        view = memoryview(part)
        while len(view) >= room:
            yield [*block, view[:room]]
            block, view, room = Block(), view[room:], BLOCK
        if view:
            block.append(view)
            room -= len(view)
    if block:
        yield block


def _slices(block: Block) -> Iterator[memoryview]:
    for view in block:
        for at in range(0, len(view), _SLICE):
            yield view[at : at + _SLICE]


async def given(block: Block) -> AsyncIterator[memoryview]:
    """Give a block to the connection as fast as it takes it: all at once it would be copied."""
    for part in _slices(block):
        yield part
