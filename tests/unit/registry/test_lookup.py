"""Where content is found, who may see it, and what a 404 says."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from proxy.errors import BlobUnknown, ManifestInvalid, ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.registry.lookup import read_manifest
from proxy.runtime.limits import Limits
from tests.fakes.memory_store import MemoryStore
from tests.registry_harness import APP, V1, V2, RegistryHarness, image, index, noise, plain

OTHER = Name.parse("other")


async def test_content_is_found_in_the_spool_in_the_pending_set_and_in_archives(registry: RegistryHarness) -> None:
    await registry.upload(b"in the spool")
    pending = await registry.push_image(b"pending", tags=())
    durable = await registry.push_image(b"durable")

    contents = {Digest.of(each): each for each in (b"in the spool", b"pending", b"durable")}
    contents |= {each.digest: each.content for each in (pending, durable)}
    for digest, content in contents.items():
        assert await plain(await registry.lookup.blob(APP, digest)) == content


async def test_content_of_one_repository_is_not_seen_in_another(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")
    await registry.upload(b"blob")

    for digest in (manifest.digest, Digest.of(b"layer"), Digest.of(b"blob")):
        assert await registry.lookup.find(OTHER, digest) is None
    with pytest.raises(BlobUnknown, match="other has no blob sha256:"):
        await registry.lookup.blob(OTHER, Digest.of(b"layer"))


async def test_what_a_repository_has_can_be_mounted_from_it_or_from_anywhere(registry: RegistryHarness) -> None:
    await registry.push_image(b"durable")
    await registry.upload(b"blob", OTHER)

    assert await registry.lookup.mountable(Digest.of(b"durable"), APP)
    assert await registry.lookup.mountable(Digest.of(b"durable"), None)
    assert await registry.lookup.mountable(Digest.of(b"blob"), None)
    assert not await registry.lookup.mountable(Digest.of(b"durable"), OTHER)
    assert not await registry.lookup.mountable(Digest.of(b"?"), None)


async def test_a_mounted_blob_of_an_archive_is_seen_as_long_as_it_is_linked(registry: RegistryHarness) -> None:
    await registry.push_image(b"layer", name=OTHER)
    await registry.spool.link(APP, Digest.of(b"layer"))

    assert await plain(await registry.lookup.blob(APP, Digest.of(b"layer"))) == b"layer"
    await registry.deletion.delete_manifest(OTHER, V1)
    assert await plain(await registry.lookup.blob(APP, Digest.of(b"layer"))) == b"layer"
    await registry.spool.unlink(APP, [Digest.of(b"layer")])
    assert await registry.lookup.find(APP, Digest.of(b"layer")) is None


async def test_who_pulls_by_a_digest_that_was_replaced_meanwhile_gets_all_of_it(registry: RegistryHarness) -> None:
    old = await registry.push_image(noise(300_000))
    await registry.push_image(b"new")

    assert set(await registry.pull(old.digest)) == {old.digest, *old.named}


async def test_a_blob_is_no_manifest(registry: RegistryHarness) -> None:
    await registry.push_image(b"layer")
    await registry.upload(b"blob")

    for content in (b"layer", b"blob"):
        with pytest.raises(ManifestUnknown):
            await registry.lookup.manifest(APP, Digest.of(content))


async def test_a_manifest_that_is_a_blob_in_another_archive_is_a_manifest_all_the_same(
    registry: RegistryHarness,
) -> None:
    manifest = await registry.push_image(b"layer")
    await registry.upload(manifest.content, OTHER)
    await registry.put(index(manifest), V1, name=OTHER)
    await registry.push_image(b"layer", tags=(V2,), name=OTHER)
    await registry.put(index(manifest, annotations={"newest": "yes"}), V1, name=OTHER)

    blob = await registry.lookup.manifest(OTHER, manifest.digest)

    assert blob.media_type == manifest.media_type


async def test_a_404_says_what_is_there_instead(registry: RegistryHarness) -> None:
    with pytest.raises(ManifestUnknown, match=r"app:v1 is not here \(there is: nothing yet\)"):
        await registry.lookup.manifest(APP, V1)

    for number in range(9):
        await registry.push_image(b"layer", tags=(Tag.parse(f"t{number}"),))

    with pytest.raises(ManifestUnknown, match=r"there is: app:t8, .*app:t1, …\)"):
        await registry.lookup.manifest(APP, V1)


async def test_a_404_names_the_tags_of_the_same_repository_first(registry: RegistryHarness) -> None:
    await registry.push_image(tags=(V1,), name=APP)
    await registry.push_image(tags=(V1,), name=OTHER)

    with pytest.raises(ManifestUnknown, match=r"there is: other:v1, app:v1\)"):
        await registry.lookup.manifest(OTHER, Tag.parse("v3"))


async def test_every_repository_that_has_anything_is_listed(registry: RegistryHarness) -> None:
    await registry.push_image(name=OTHER)
    await registry.upload(b"blob")
    await registry.push_image(tags=(), name=Name.parse("pending"))

    assert [str(name) for name in await registry.lookup.repositories()] == ["app", "other", "pending"]
    assert await registry.lookup.knows(APP)
    assert not await registry.lookup.knows(Name.parse("unknown"))


async def test_others_go_on_while_a_manifest_that_names_thousands_is_read() -> None:
    manifest = image(*(str(number).encode() for number in range(5000)))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    working = asyncio.ensure_future(others())
    await asyncio.sleep(0)
    turns = 0
    read = await read_manifest(manifest.content, manifest.media_type)
    passed = turns
    working.cancel()

    assert read == manifest
    assert passed > 10


async def test_a_large_manifest_is_refused_as_a_small_one_is() -> None:
    for size in (10, 200_000):
        with pytest.raises(ManifestInvalid, match="not JSON"):
            await read_manifest(b"?" * size, "application/x")


class SlowClock(MemoryStore):
    """A remote store on a machine whose clock is an hour slow, read without a session."""

    is_remote = True

    def now(self) -> datetime:
        return super().now() - timedelta(hours=1)


async def test_a_slow_clock_makes_nobody_wait_longer_for_what_may_follow(tmp_path: Path) -> None:
    store = SlowClock()
    writer, reader = [await RegistryHarness.open(tmp_path / each, store) for each in ("writer", "reader")]
    child = replace(await writer.prepare(b"layer"), interim=True)
    await writer.put(child, V1)
    lookup = replace(reader.lookup, limits=Limits(interim=0.3, interim_poll=0.02))

    async with asyncio.timeout(10):
        found = await lookup.manifest(APP, V1)

    assert found.digest == child.digest
