"""What the spool keeps of that which is durable already: what was used last, as much as it may and as the disk has."""

import asyncio
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.runtime.limits import DEFAULT
from proxy.spool.spool import Spool
from tests.registry_harness import APP, chunks, noise
from tests.unit.spool import harness

OTHER = Name.parse("other")
KIB = 1024
_Usage = namedtuple("_Usage", "total used free")


async def opened(root: Path, limit: int = 1000 * KIB) -> Spool:
    return await harness.opened(root, 0, limit)


async def pushed(spool: Spool, seed: int, size: int = 300 * KIB) -> Digest:
    content = noise(size, seed)
    upload = await spool.sessions.start(APP)
    await spool.sessions.append(upload, chunks(content))
    await spool.sessions.finish(upload, Digest.of(content))
    return Digest.of(content)


async def test_what_was_used_last_stays_within_the_limit(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    digests = [await pushed(spool, seed) for seed in range(4)]
    await spool.unlink(APP, digests[:3])
    assert await spool.find(digests[0])

    await spool.unlink(APP, digests[3:])

    assert [digest for digest in digests if not await spool.find(digest)] == [digests[1]]


async def test_what_a_repository_still_needs_never_goes(tmp_path: Path) -> None:
    spool = await opened(tmp_path, limit=1)
    digest = await pushed(spool, 1)
    await spool.link(OTHER, digest)

    await spool.unlink(APP, [digest])

    assert await spool.find(digest)


async def test_what_is_needed_again_is_no_cache_any_more(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    digests = [await pushed(spool, seed) for seed in range(4)]
    await spool.unlink(APP, digests[:1])
    await spool.link(OTHER, digests[0])

    await spool.unlink(APP, digests[1:])

    assert await spool.find(digests[0])


async def test_a_restart_finds_the_cache_within_its_limit(tmp_path: Path) -> None:
    spool = await opened(tmp_path)
    digests = [await pushed(spool, seed) for seed in range(3)]
    await spool.unlink(APP, digests)
    assert all([await spool.find(digest) for digest in digests])

    later = await opened(tmp_path, limit=700 * KIB)

    assert sum([await later.find(digest) is not None for digest in digests]) == 2


async def test_the_cache_makes_room_when_the_disk_gets_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = await opened(tmp_path)
    digests = [await pushed(spool, seed) for seed in range(3)]
    await spool.unlink(APP, digests)
    folder = tmp_path / "blobs" / "sha256"

    def usage(_: object) -> _Usage:
        return _Usage(1, 1, DEFAULT.free_disk if len(list(folder.iterdir())) < 2 else DEFAULT.free_disk - 1)

    monkeypatch.setattr(shutil, "disk_usage", usage)

    await asyncio.gather(*(spool.sessions.start(APP) for _ in range(3)))

    assert [path.name for path in folder.iterdir()] == [digests[2].hex]
    assert await spool.room(100) is None
    assert list(folder.iterdir()) == []
