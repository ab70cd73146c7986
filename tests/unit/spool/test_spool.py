"""The spool beyond its random walks: what others do in its folder, requests that cross, and how it starts."""

import asyncio
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pytest

from proxy.archive.pieces import PIECE, Piece
from proxy.blob import read_all
from proxy.errors import ContentDamaged, Denied, DigestInvalid, TooManyRequests
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest, parse
from proxy.oci.names import Name
from proxy.runtime.files import LocalFile
from proxy.runtime.limits import Limits
from proxy.spool.blob_file import in_memory
from proxy.spool.spool import Spool
from proxy.spool.upload import Upload
from tests.registry_harness import APP, MIB, chunks, described, image, index, noise, plain
from tests.unit.spool.harness import opened

OTHER = Name.parse("other/app")
CONTENT = noise(100_000)
DIGEST = Digest.of(CONTENT)


@pytest.fixture
async def spool(tmp_path: Path) -> Spool:
    return await opened(tmp_path / "spool")


async def upload(spool: Spool, content: bytes = CONTENT, name: Name = APP) -> None:
    upload = await spool.sessions.start(name)
    await spool.sessions.append(upload, chunks(content))
    await spool.sessions.finish(upload, Digest.of(content))


async def read(spool: Spool, digest: Digest = DIGEST) -> bytes | None:
    blob = await spool.find(digest)
    return None if blob is None else await plain(blob)


async def held(spool: Spool, digest: Digest, name: Name = APP) -> Manifest | None:
    """Read a pending manifest back."""
    blob = await spool.pending.find(name, digest)
    return None if blob is None else parse(await read_all(blob), blob.media_type or "")


async def test_a_reader_keeps_a_blob_that_is_removed_meanwhile(spool: Spool) -> None:
    await upload(spool)
    blob = await spool.find(DIGEST)

    await spool.unlink(APP, [DIGEST])

    assert await spool.find(DIGEST) is None
    assert blob is not None
    assert await plain(blob) == CONTENT


async def test_a_blob_is_kept_once_and_as_long_as_one_repository_sees_it(spool: Spool) -> None:
    await upload(spool)
    await upload(spool, name=OTHER)
    assert spool.repositories() == {APP, OTHER}

    await spool.unlink(APP, [DIGEST])
    assert await read(spool) == CONTENT

    await spool.unlink(OTHER, [DIGEST])
    assert await read(spool) is None
    assert spool.repositories() == set()


async def test_a_blob_that_was_removed_behind_its_back_can_be_pushed_again(spool: Spool) -> None:
    await upload(spool)
    shutil.rmtree(spool.root)

    assert await spool.find(DIGEST) is None
    await upload(spool)
    await spool.pending.add(APP, image().digest, image())
    await spool.link(OTHER, DIGEST)

    assert await read(spool) == CONTENT
    again = await opened(spool.root)
    assert again.linked(OTHER, DIGEST)
    assert again.pending.keys() == {APP}
    assert await held(again, image().digest) == image()


async def test_a_blob_that_goes_while_it_is_opened_is_not_forgotten_when_it_came_back(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(spool)
    await asyncio.to_thread((spool.root / "blobs" / "sha256" / DIGEST.hex).unlink)
    opening, came_back = asyncio.Event(), threading.Event()
    loop, open_now = asyncio.get_running_loop(), LocalFile.open

    def open_late(path: Path, *, pinned: bool) -> LocalFile:
        monkeypatch.undo()  # only the first one is late
        try:
            return open_now(path, pinned=pinned)
        finally:
            loop.call_soon_threadsafe(opening.set)
            came_back.wait()

    monkeypatch.setattr(LocalFile, "open", open_late)
    finding = asyncio.create_task(spool.find(DIGEST))
    await opening.wait()
    await upload(spool)
    came_back.set()

    assert await finding is None
    assert await read(spool) == CONTENT


@pytest.mark.parametrize("steps", range(0, 40, 3))
async def test_an_upload_that_crosses_the_removal_of_the_same_blob_is_there_afterwards(
    spool: Spool, steps: int
) -> None:
    await upload(spool, name=OTHER)
    uploading = asyncio.create_task(upload(spool))
    for _ in range(steps):
        await asyncio.sleep(0)

    await asyncio.gather(uploading, spool.unlink(OTHER, [DIGEST]), spool.sweep())

    assert await read(spool) == CONTENT
    assert await read(await opened(spool.root)) == CONTENT


async def test_links_that_come_and_go_at_once_are_on_disk_what_they_are_in_memory(spool: Spool) -> None:
    await upload(spool, name=OTHER)

    for _ in range(20):
        await asyncio.gather(*(spool.link(APP, DIGEST) for _ in range(3)), spool.unlink(APP, [DIGEST]))
        assert (await opened_links(spool)) == spool.linked(APP, DIGEST)


async def opened_links(spool: Spool) -> bool:
    path = spool.root / "links" / "app" / f"sha256+{DIGEST.hex}"
    return await asyncio.to_thread(path.exists)


async def test_pending_manifests_that_come_and_go_at_once_are_on_disk_what_they_are_in_memory(spool: Spool) -> None:
    manifest = image()
    for _ in range(20):
        holds = (spool.pending.add(APP, manifest.digest, manifest) for _ in range(3))
        await asyncio.gather(*holds, spool.pending.remove(APP, [manifest.digest]))
        again = await asyncio.to_thread((spool.root / "pending" / "app").iterdir)
        assert bool(spool.pending.get(APP)) == bool(list(again))


async def test_of_repositories_that_are_through_nothing_stays_in_memory(spool: Spool) -> None:
    manifest = image()
    for number in range(20):
        name = Name.parse(f"app{number}")
        await spool.link(name, DIGEST)
        await spool.pending.add(name, manifest.digest, manifest)
        await spool.unlink(name, [DIGEST])
        await spool.pending.remove(name, [manifest.digest])

    assert list(spool.pending) == []
    assert spool.linking() == set()


async def test_what_others_put_into_the_folder_is_passed_over(spool: Spool) -> None:
    await upload(spool)
    for path in ("blobs/sha256/.DS_Store", "links/.DS_Store", "links/app/.DS_Store", "links/App/x", "pending/app/x"):
        (spool.root / path).parent.mkdir(exist_ok=True)
        (spool.root / path).write_bytes(b"x")

    again = await opened(spool.root)

    assert await read(again) == CONTENT
    assert again.linked(APP, DIGEST)
    assert again.pending == {}


@pytest.mark.parametrize("keep", [0, 10, 100_000, -1])
async def test_a_blob_file_that_is_not_whole_is_removed_at_the_start(spool: Spool, keep: int) -> None:
    await upload(spool)
    path = spool.root / "blobs" / "sha256" / DIGEST.hex
    path.write_bytes(path.read_bytes()[:keep])

    again = await opened(spool.root)

    assert await again.find(DIGEST) is None
    assert not path.exists()


async def test_a_blob_with_a_large_footer_is_found_again_but_not_one_that_is_cut(spool: Spool) -> None:
    """A blob of more than 100 GiB, all holes; its pieces take more than the 256 KiB that are read first."""
    digest, piece = Digest.of(b""), (PIECE + 110, PIECE)
    upload = await spool.sessions.start(APP)
    work = upload._work
    work.pieces = [Piece(*piece, crc=number * 2_654_435_761 % 2**32) for number in range(60_000)]
    work.crc64 = bytearray(8 * 60_000)
    work.end, upload.offset = (60_000 * each for each in piece)
    await spool.sessions.finish(upload, digest)  # of what was hashed so far
    path = spool.root / "blobs" / "sha256" / digest.hex

    blob = await (await opened(spool.root)).find(digest)
    assert blob is not None
    assert (blob.size, blob.stored) == (60_000 * piece[1], work.end)

    with path.open("rb") as file:
        file.seek(work.end + 1)
        cut = file.read()
    assert len(cut) > 256 * 1024
    path.write_bytes(cut)
    assert await (await opened(spool.root)).find(digest) is None


@pytest.mark.parametrize("damage", ["cut", "content", "empty"])
async def test_a_pending_manifest_that_is_damaged_is_no_manifest_any_more(spool: Spool, damage: str) -> None:
    manifest = image(CONTENT)
    await spool.pending.add(APP, manifest.digest, manifest)
    (path,) = (spool.root / "pending" / "app").iterdir()
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-1], "content": b"\0" + whole[1:], "empty": b""}[damage])

    again = await opened(spool.root)

    assert again.pending == {}
    assert not path.exists()


async def test_a_pending_manifest_without_a_media_type_is_none(spool: Spool) -> None:
    await upload(spool)
    folder = spool.root / "pending" / "app"
    folder.mkdir()
    shutil.copy(spool.root / "blobs" / "sha256" / DIGEST.hex, folder / f"sha256+{DIGEST.hex}")

    assert (await opened(spool.root)).pending == {}


@pytest.mark.parametrize("size", [60, 5_000, 300_000])
async def test_a_manifest_in_memory_has_the_form_of_one_in_the_spool(spool: Spool, size: int) -> None:
    manifest = image(config=noise(10), annotations={"text": noise(size).hex()})
    await spool.pending.add(APP, manifest.digest, manifest)

    blob, stored = in_memory(manifest.digest, manifest, 1), await spool.pending.find(APP, manifest.digest)

    assert stored is not None
    assert await plain(blob) == await plain(stored) == manifest.content
    assert (blob.media_type, blob.size, blob.pieces) == (manifest.media_type, len(manifest.content), stored.pieces)
    assert stored.media_type == manifest.media_type
    assert await held(await opened(spool.root), manifest.digest) == parse(manifest.content, manifest.media_type)


async def test_of_a_pending_manifest_only_what_is_needed_is_kept_in_memory(spool: Spool) -> None:
    manifest = image(CONTENT, annotations={"text": "x" * 3_000_000})
    both = index(manifest, subject=described(manifest.content, manifest.media_type))
    for each in (manifest, both):
        await spool.pending.add(APP, each.digest, each)

    kept, of_index = spool.pending[APP].values()

    assert len(pickle.dumps(kept)) < 10_000
    assert (kept.named, kept.children, kept.subject) == (manifest.named, frozenset(), None)
    assert (of_index.named, of_index.children, of_index.subject) == (both.named, both.named, manifest.digest)
    assert await held(spool, manifest.digest) == manifest


async def test_a_pending_manifest_stays_readable_while_it_is_released(spool: Spool) -> None:
    await spool.pending.add(APP, image().digest, image())
    blob = await spool.pending.find(APP, image().digest)
    await spool.pending.remove(APP, [image().digest])

    assert blob is not None
    assert await plain(blob) == image().content
    assert await spool.pending.find(APP, image().digest) is None


async def test_a_pending_manifest_whose_file_was_removed_is_not_there(spool: Spool) -> None:
    await spool.pending.add(APP, image().digest, image())
    shutil.rmtree(spool.root / "pending")

    assert await spool.pending.find(APP, image().digest) is None


async def test_never_more_uploads_are_open_than_may_be_however_they_come(
    tmp_path: Path,
) -> None:
    spool = await opened(tmp_path, limits=Limits(uploads=5))

    started = await asyncio.gather(*(spool.sessions.start(APP) for _ in range(50)), return_exceptions=True)

    opened_ones = [each for each in started if isinstance(each, Upload)]
    assert len(opened_ones) == len(spool.sessions) == 5
    assert [each for each in started if not isinstance(each, Upload | TooManyRequests)] == []
    await spool.sessions.cancel(opened_ones[0])
    assert (await spool.sessions.start(APP)).name == APP


async def test_an_upload_that_could_not_be_opened_takes_nobodys_place(
    tmp_path: Path,
) -> None:
    spool = await opened(tmp_path, limits=Limits(uploads=1))
    with pytest.raises(DigestInvalid):
        await spool.sessions.start(APP, "md5")

    assert (await spool.sessions.start(APP)).name == APP


async def test_what_pending_manifests_need_is_never_swept(spool: Spool) -> None:
    manifest = image(CONTENT)
    await upload(spool)
    await upload(spool, b"unclaimed")
    await spool.pending.add(APP, manifest.digest, manifest)
    for path in (spool.root / "links" / "app").iterdir():
        os.utime(path, (0, 0))

    again = await opened(spool.root)
    await again.sweep()

    assert await read(again) == CONTENT
    assert await again.find(Digest.of(b"unclaimed")) is None
    assert again.pending.needed(APP) == manifest.named


async def test_a_clock_that_is_set_makes_no_blob_older(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a laptop which slept in the middle of a push."""
    await upload(spool)
    later = time.time() + 24 * 3600
    monkeypatch.setattr(time, "time", lambda: later)

    await spool.sweep()

    assert await read(spool) == CONTENT


async def test_blob_files_that_no_table_knows_are_swept(spool: Spool) -> None:
    await upload(spool)
    orphan = spool.root / "blobs" / "sha256" / ("0" * 64)
    orphan.write_bytes(b"left by a request that was cancelled")

    await spool.sweep()

    assert not orphan.exists()
    assert await read(spool) == CONTENT


async def test_a_damaged_blob_is_never_served(spool: Spool) -> None:
    await upload(spool)
    path = spool.root / "blobs" / "sha256" / DIGEST.hex
    damaged = bytearray(path.read_bytes())
    damaged[50_000] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(ContentDamaged):
        await read(spool)


async def test_a_full_disk_is_told_to_who_pushes_a_manifest_or_mounts(
    tiny_disk: Path,
) -> None:
    spool = await opened(tiny_disk, limits=Limits(free_disk=0))
    (tiny_disk / "filler").write_bytes(bytes(8 * MIB - 64 * 1024))
    manifest = image(config=noise(10), annotations={"text": noise(500_000).hex()})

    with pytest.raises(Denied, match="the disk is full"):
        await spool.pending.add(APP, manifest.digest, manifest)

    assert spool.pending == {}
    assert [path.name for path in tiny_disk.rglob("*") if path.is_file()] == ["filler"]


async def test_other_troubles_of_the_disk_are_not_called_a_full_one(spool: Spool) -> None:
    shutil.rmtree(spool.root / "pending")
    (spool.root / "pending").write_bytes(b"a file in the way")

    with pytest.raises(Denied, match=r"cannot write to .*: (File exists|Not a directory)$"):
        await spool.pending.add(APP, image().digest, image())

    assert list((spool.root / "uploads").iterdir()) == []


async def test_who_looks_at_a_blob_while_it_is_taken_away_does_not_bring_it_back(spool: Spool) -> None:
    digest = Digest.of(b"gone")

    spool.refresh_link(APP, digest)

    assert not spool.linked(APP, digest)
    assert APP not in spool.repositories()
