"""Downloads into the spool: one for all readers, nothing of one that fails, nothing wrong at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from proxy.archive.pieces import Framing, Piece, frame
from proxy.artifacts.base import StoreRefused
from proxy.blob import Blob
from proxy.errors import ContentDamaged, Denied
from proxy.oci.digest import Digest
from proxy.registry.downloads import Downloads
from proxy.runtime.files import Bytes
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import TaskSet
from proxy.spool.spool import Spool
from tests.api.relay import eventually
from tests.registry_harness import MIB, noise, plain, until
from tests.unit.spool.harness import opened

T = TypeVar("T")
CUT = 1_800_000  # two of them are read at once


class Far:
    """Bytes on another machine, whose reading can be held up, and can fail."""

    read_ahead = 2
    is_local = False
    entire = False

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0
        self.failing_from = self.size
        self._content = content

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        self.reads += 1
        await self.gate.wait()
        if start >= self.failing_from:
            raise StoreRefused("the other side is not there")
        return then(self._content[start:stop])


def far(content: bytes) -> tuple[Blob, Far]:
    framed = [frame(content[at : at + CUT], Framing.RAW, 1) for at in range(0, len(content), CUT)]
    pieces: tuple[Piece, ...] = tuple(each.piece for each in framed)
    source = Far(b"".join(bytes(part) for each in framed for part in each.parts))
    return Blob(Digest.of(content), len(content), pieces, source), source


@pytest.fixture
async def spool(tmp_path: Path) -> Spool:
    return await opened(tmp_path / "spool", 0, 8 * MIB)


@pytest.fixture
async def crew() -> AsyncIterator[TaskSet]:
    crew = TaskSet()
    yield crew
    await crew.cancel_all()


@pytest.fixture
def fetching(spool: Spool, crew: TaskSet) -> Downloads:
    return Downloads(spool, MemoryBudget(64 * MIB), crew)


def files(spool: Spool) -> list[str]:
    return sorted(path.name for path in spool.root.rglob("*") if path.is_file())


async def test_readers_that_come_at_different_times_share_one_download(spool: Spool, fetching: Downloads) -> None:
    content = noise(7_000_000)
    blob, source = far(content)
    source.gate.clear()
    early = asyncio.create_task(plain(await fetching.cached(blob)))
    late = asyncio.create_task(plain(await fetching.cached(blob)))

    source.gate.set()

    assert await early == await late == content
    assert source.reads == 2
    await until(lambda: spool.find(blob.digest))
    assert files(spool) == [blob.digest.hex]


async def test_what_came_while_a_reader_waited_is_read_here(spool: Spool, fetching: Downloads) -> None:
    content = noise(7_000_000)
    blob, source = far(content)
    await plain(await fetching.cached(blob))
    await until(lambda: spool.find(blob.digest))

    assert await plain(await fetching.cached(blob)) == content

    assert source.reads == 2


async def test_what_is_here_or_empty_or_too_large_is_not_downloaded(spool: Spool, fetching: Downloads) -> None:
    empty, _ = far(b"")
    large, source = far(noise(9 * MIB))

    assert await fetching.cached(empty) is empty
    assert await fetching.cached(large) is large
    source.is_local = True
    assert await fetching.cached(replace(large, size=5)) == replace(large, size=5)

    assert files(spool) == []


async def test_downloads_together_have_no_more_room_than_the_cache(spool: Spool, fetching: Downloads) -> None:
    first, source = far(noise(4_400_000, 1))
    second, _ = far(noise(4_400_000, 2))
    source.gate.clear()
    under_way = await fetching.cached(first)

    assert await fetching.cached(second) is second

    source.gate.set()
    assert await plain(under_way) == noise(4_400_000, 1)


async def test_a_failure_reaches_every_reader_and_leaves_no_file(spool: Spool, fetching: Downloads) -> None:
    blob, source = far(noise(7_000_000))
    source.failing_from = 3_600_000
    readers = [asyncio.create_task(plain(await fetching.cached(blob))) for _ in range(3)]

    for reader in readers:
        with pytest.raises(StoreRefused):
            await reader

    await eventually(lambda: files(spool) == [])
    source.failing_from = source.size
    assert await plain(await fetching.cached(blob)) == noise(7_000_000)


async def test_of_a_blob_with_another_digest_the_last_piece_is_never_handed_out(
    spool: Spool, fetching: Downloads
) -> None:
    blob, _ = far(noise(7_000_000))
    wrong = replace(blob, digest=Digest.of(b"something else"))

    with pytest.raises(ContentDamaged):
        await plain(await fetching.cached(wrong))

    await eventually(lambda: files(spool) == [])


async def test_a_crowd_of_downloads_takes_turns(fetching: Downloads, spool: Spool) -> None:
    contents = [noise(100_000, seed) for seed in range(12)]
    blobs = [far(content) for content in contents]
    for _, source in blobs:
        source.gate.clear()
    readers = [asyncio.create_task(plain(await fetching.cached(blob))) for blob, _ in blobs]
    await eventually(lambda: sum(source.reads for _, source in blobs) == 8)
    await asyncio.sleep(0.05)

    begun = sum(source.reads for _, source in blobs)
    for _, source in blobs:
        source.gate.set()

    assert begun == 8
    assert await asyncio.gather(*readers) == contents


async def test_the_end_of_the_service_ends_its_readers(spool: Spool, fetching: Downloads, crew: TaskSet) -> None:
    blob, source = far(noise(7_000_000))
    source.gate.clear()
    reader = asyncio.create_task(plain(await fetching.cached(blob)))
    await eventually(lambda: source.reads > 0)

    await crew.cancel_all()

    with pytest.raises(Denied, match="is stopping"):
        await reader
    assert files(spool) == []
