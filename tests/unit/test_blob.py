"""Reading blobs back: exact ranges, and nothing damaged to its end."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.archive.crc64 import crc64, joined
from proxy.archive.pieces import PIECE, Framing, Piece, frame
from proxy.blob import Blob, T, cut, read_all, read_plain, read_stored
from proxy.errors import ContentDamaged
from proxy.oci.digest import Digest
from proxy.runtime.files import Bytes, InMemory
from proxy.runtime.memory import MemoryBudget
from tests.registry_harness import MIB, noise, until


class Slow:
    """Bytes whose reading can be held up."""

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.content = content
        self.gate = asyncio.Event()
        self.under_way = 0

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        self.under_way += 1
        try:
            await self.gate.wait()
            return then(self.content[start:stop])
        finally:
            self.under_way -= 1


def stored(content: bytes, cut: int, framing: Framing = Framing.RAW) -> tuple[bytes, tuple[Piece, ...]]:
    framed = [frame(content[at : at + cut], framing, 1) for at in range(0, len(content), cut)]
    return b"".join(part for each in framed for part in each.parts), tuple(each.piece for each in framed)


def blob(content: bytes, cut: int = PIECE, framing: Framing = Framing.RAW, before: bytes = b"") -> Blob:
    held, pieces = stored(content, cut, framing)
    return Blob(Digest.of(content), len(content), pieces, InMemory(before + held), len(before))


async def read(
    blob: Blob,
    start: int = 0,
    stop: int | None = None,
    memory: MemoryBudget | None = None,
    into: bytearray | None = None,
) -> bytes:
    taken = bytearray() if into is None else into
    stop = blob.size if stop is None else stop
    async with aclosing(read_plain(blob, start, stop, memory or MemoryBudget(64 * MIB))) as parts:
        async for views in parts:
            taken += b"".join(views)
    return bytes(taken)


async def until_damaged(blob: Blob, memory: MemoryBudget) -> bytes:
    """Return what left before the damage was found."""
    taken = bytearray()
    with pytest.raises(ContentDamaged, match="push the image again"):
        await read(blob, memory=memory, into=taken)
    return bytes(taken)


@given(st.integers(0, 3), st.sampled_from(Framing), st.sampled_from([0, 64 * MIB]), st.data())
def test_every_range_is_exact(pieces: int, framing: Framing, budget: int, data: st.DataObject) -> None:
    cut = 200_000
    content = noise(pieces * cut)[: pieces * cut - (pieces > 1) * 77_777]
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    whole = blob(content, cut, framing, before=b"other blobs")

    assert asyncio.run(read(whole, start, stop, MemoryBudget(budget))) == content[start:stop]
    assert asyncio.run(read(whole, memory=MemoryBudget(budget))) == content


async def test_blobs_of_no_of_one_and_of_several_real_pieces_come_back() -> None:
    for size in (0, 1, PIECE, PIECE + 1, 9 * MIB):
        assert await read(blob(noise(size))) == noise(size)
        assert await read_all(blob(noise(size))) == noise(size)


async def test_the_size_of_the_stored_form_is_known() -> None:
    held, _ = stored(noise(500_000), 200_000)

    assert blob(noise(500_000), 200_000).stored == len(held)


@pytest.mark.parametrize("budget", [0, 64 * MIB])
@pytest.mark.parametrize("at", [5, 250_000, 599_999])
async def test_of_a_damaged_blob_the_last_byte_never_leaves(budget: int, at: int) -> None:
    content = noise(600_000)
    held, pieces = stored(content, 200_000)
    damaged = bytearray(held)
    damaged[at] ^= 1

    taken = await until_damaged(
        Blob(Digest.of(content), len(content), pieces, InMemory(bytes(damaged))), MemoryBudget(budget)
    )

    assert taken == content[: at // 200_000 * 200_000]


@pytest.mark.parametrize("pieces", [0, 1, 2, 3])
async def test_a_blob_with_another_digest_is_cut_before_its_last_piece(pieces: int) -> None:
    content = noise(200_000 * pieces)
    held, cut = stored(content, 200_000)
    wrong = Blob(Digest.of(b"something else"), len(content), cut, InMemory(held))

    taken = await until_damaged(wrong, MemoryBudget(64 * MIB))

    assert len(taken) == 200_000 * max(pieces - 1, 0)
    assert wrong.findings.verified == set()


async def test_a_source_that_is_too_short_is_damaged() -> None:
    held, pieces = stored(noise(400_000), 200_000)

    await until_damaged(Blob(Digest.of(noise(400_000)), 400_000, pieces, InMemory(held[:-1])), MemoryBudget(0))


async def test_a_digest_that_was_checked_once_is_not_computed_again() -> None:
    content = noise(400_000)
    whole = blob(content, 200_000)

    await read(whole)

    assert whole.findings.verified == {whole.digest}
    assert await read(whole) == content


async def test_a_range_proves_nothing() -> None:
    whole = blob(noise(400_000), 200_000)

    await read(whole, 1, 400_000)

    assert whole.findings.verified == set()


async def copied(blob: Blob, budget: int = 0) -> list[bytes]:
    async with aclosing(read_stored(blob, MemoryBudget(budget))) as pieces:
        return [piece async for piece in pieces]


async def test_pieces_are_copied_as_they_are_stored_and_only_if_they_are_intact() -> None:
    content = noise(400_000)
    held, pieces = stored(content, 200_000)
    whole = blob(content, 200_000)

    assert await copied(whole) == [held[: pieces[0].stored], held[pieces[0].stored :]]
    with pytest.raises(ContentDamaged):
        await copied(replace(whole, source=InMemory(held[:-1] + bytes([held[-1] ^ 1]))))


@pytest.mark.parametrize(
    ("local", "cut", "reads", "most"),
    [
        (True, PIECE, 3, PIECE),
        (True, PIECE // 2, 6, PIECE),
        (True, PIECE // 8, 4, PIECE),
        (True, PIECE * 2 // 3, 5, PIECE),
        (False, PIECE, 2, 5 * MIB),
        (False, PIECE // 2, 2, 5 * MIB),
        (False, PIECE // 8, 2, 5 * MIB),
    ],
)
async def test_pieces_are_read_several_at_once_and_of_what_is_far_more(
    local: bool, cut: int, reads: int, most: int
) -> None:
    content = noise(3 * PIECE)
    held, pieces = stored(content, cut)
    asked: list[int] = []

    class Counting(InMemory):
        def __init__(self) -> None:
            super().__init__(held)
            self.is_local = local

        async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
            asked.append(stop - start)
            return await super().read(start, stop, then)

    assert b"".join(await copied(replace(blob(content, cut), source=Counting()), 10 * MIB)) == held
    assert sum(asked) == len(held)
    assert max(asked) <= max(most, *(piece.stored for piece in pieces))
    assert len(asked) == reads


async def test_a_reader_that_leaves_early_leaves_no_task_behind() -> None:
    content = noise(9 * MIB)
    held, pieces = stored(content, PIECE)
    source = Slow(held)
    whole = Blob(Digest.of(content), len(content), pieces, source)
    before, threads = asyncio.all_tasks(), threading.active_count()

    async with aclosing(read_plain(whole, 0, whole.size, MemoryBudget(64 * MIB))) as parts:
        source.gate.set()
        await anext(parts)
        source.gate.clear()

    assert asyncio.all_tasks() == before
    assert source.under_way == 0
    assert threading.active_count() <= threads + 6  # the pool itself


async def test_a_reader_that_is_cancelled_while_it_waits_leaves_no_task_behind() -> None:
    held, pieces = stored(noise(9 * MIB), PIECE)
    source = Slow(held)
    whole = Blob(Digest.of(noise(9 * MIB)), 9 * MIB, pieces, source)
    before = asyncio.all_tasks()
    reading = asyncio.create_task(read(whole))
    await until(lambda: source.under_way)

    reading.cancel()
    await asyncio.wait({reading})

    assert asyncio.all_tasks() == before
    assert source.under_way == 0


async def test_damage_that_nobody_waits_for_any_more_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    content = noise(600_000)
    held, pieces = stored(content, 200_000)
    whole = Blob(Digest.of(content), len(content), pieces, InMemory(held[:300_000]))

    async with aclosing(read_plain(whole, 0, whole.size, MemoryBudget(64 * MIB))) as parts:
        await anext(parts)
        for _ in range(5):
            await asyncio.sleep(0)  # the piece that is read ahead fails meanwhile

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("budget", [0, 10 * MIB, 64 * MIB])
async def test_many_streams_at_once_end_whatever_the_budget(budget: int) -> None:
    memory = MemoryBudget(budget)
    content = noise(9 * MIB)

    found = await asyncio.gather(*(read(blob(content), memory=memory) for _ in range(6)))

    assert all(each == content for each in found)
    with memory.try_reserve(budget) as all_is_free:
        assert all_is_free


@given(st.integers(0, 5000), st.integers(1, 900), st.integers(1, 3000), st.binary(max_size=20))
async def test_the_parts_of_a_blob_are_its_pieces_in_order_each_with_its_checksums(
    size: int, piece: int, most: int, before: bytes
) -> None:
    content = noise(size)
    framed = [frame(content[at : at + piece], Framing.RAW, 1) for at in range(0, size, piece)]
    whole = replace(blob(content, piece, before=before), crc64=b"".join(each.crc64 for each in framed))

    parts = list(cut(whole, most))

    assert tuple(each for part in parts for each in part.pieces) == whole.pieces
    assert all(part.stored <= most or len(part.pieces) == 1 for part in parts)
    assert b"".join(part.crc64 or b"" for part in parts) == whole.crc64
    for part in parts:
        stored = b"".join([each async for each in read_stored(part, MemoryBudget(0))])
        assert crc64(stored) == joined(part.crc64 or b"", [each.stored for each in part.pieces])
