"""Deletions: whole artifacts go, nothing older resurfaces, and nobody's push is hit by mistake."""

import asyncio
import logging
from pathlib import Path

import pytest

from proxy.errors import BlobUnknown, ManifestUnknown, Unsupported
from proxy.oci.digest import Digest
from proxy.oci.names import Name
from tests.fakes.faulty_stores import FaultyStore
from tests.fakes.memory_store import MemoryStore
from tests.registry_harness import APP, V1, V2, RegistryHarness, described, document, image, index, until

OTHER = Name.parse("other")


@pytest.fixture(params=["directory", "memory"])
async def registry(request: pytest.FixtureRequest, tmp_path: Path) -> RegistryHarness:
    return await RegistryHarness.open(tmp_path, MemoryStore() if request.param == "memory" else None)


async def gone(registry: RegistryHarness, digest: Digest, name: Name = APP) -> bool:
    """Return whether it is gone, now and after a restart."""
    for each in (registry, await registry.reopened()):
        try:
            await each.lookup.manifest(name, digest)
        except ManifestUnknown:
            continue
        return False
    return True


async def test_a_deleted_tag_and_its_manifest_are_gone_however_often_it_was_pushed(registry: RegistryHarness) -> None:
    manifests = [await registry.push_image(content) for content in (b"1", b"2", b"3")]

    await registry.deletion.delete_manifest(APP, V1)

    assert await registry.artifacts() == []
    assert await registry.answering() is None
    assert all([await gone(registry, manifest.digest) for manifest in manifests])
    with pytest.raises(ManifestUnknown, match="app:v1 is not here"):
        await registry.deletion.delete_manifest(APP, V1)


async def test_a_manifest_survives_its_tag_where_another_artifact_or_the_pending_set_holds_it(
    registry: RegistryHarness,
) -> None:
    manifest = await registry.push_image(b"layer", tags=(V1, V2))

    await registry.deletion.delete_manifest(APP, V1)

    assert not await gone(registry, manifest.digest)
    assert await registry.answering(V2) == manifest.digest
    await registry.put(index(manifest), V1)
    await registry.deletion.delete_manifest(APP, V2)
    assert not await gone(registry, manifest.digest)


async def test_a_deleted_digest_takes_every_artifact_with_that_root_and_no_other(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=(V1, V2))
    other = await registry.push_image(b"other", tags=(V1,), name=OTHER)
    await registry.push_image(b"layer", tags=(V2,), name=OTHER)

    await registry.deletion.delete_manifest(APP, manifest.digest)

    assert await registry.catalog.tags(APP) == []
    assert await gone(registry, manifest.digest)
    assert await registry.catalog.tags(OTHER) == [V1, V2]
    assert not await gone(registry, other.digest, OTHER)


async def test_a_digest_that_a_newer_push_replaced_is_deleted_alone(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore())
    first, second, third = [await registry.push_image(content) for content in (b"1", b"2", b"3")]
    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~2", "image-app@v1~3"]

    await registry.deletion.delete_manifest(APP, second.digest)

    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~3"]
    assert await gone(registry, second.digest)
    assert not await gone(registry, first.digest)
    assert await registry.answering() == third.digest
    assert Digest.of(b"3") in await registry.pull(V1)
    with pytest.raises(ManifestUnknown):
        await registry.deletion.delete_manifest(APP, second.digest)


async def test_what_is_pending_and_needs_something_replaced_is_stored_before_that_goes(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore())
    old = await registry.push_image(b"1")
    await registry.put(pending := image(b"1", annotations={"of": "the same layer"}))
    await registry.push_image(b"2")

    await registry.deletion.delete_manifest(APP, old.digest)

    assert await registry.artifacts() == [f"image-app@sha256+{pending.digest.hex}", "image-app@v1~2"]
    assert Digest.of(b"1") in await registry.pull(pending.digest)


async def test_a_digest_that_answers_and_was_replaced_elsewhere_goes_in_both_places(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore())
    both = await registry.push_image(b"1", tags=(V1, V2))
    newer = await registry.push_image(b"2", tags=(V2,))

    await registry.deletion.delete_manifest(APP, both.digest)

    assert await registry.artifacts() == ["image-app@v2~2"]
    assert await gone(registry, both.digest)
    assert await registry.answering(V2) == newer.digest


async def test_a_mere_child_can_not_be_deleted(registry: RegistryHarness) -> None:
    child = await registry.push_image(b"layer", tags=())
    await registry.put(index(child), V1)

    with pytest.raises(Unsupported, match="is part of app:v1; delete that"):
        await registry.deletion.delete_manifest(APP, child.digest)

    assert not await gone(registry, child.digest)


async def test_what_is_pending_is_deleted_for_good(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())

    await registry.deletion.delete_manifest(APP, manifest.digest)

    assert await gone(registry, manifest.digest)
    assert registry.push.pushed() == []
    assert await registry.push.flush() == []
    assert await registry.artifacts() == []
    with pytest.raises(ManifestUnknown):
        await registry.deletion.delete_manifest(APP, manifest.digest)


async def test_what_failed_to_be_stored_can_be_deleted(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path)
    await store.prepare()
    registry = await RegistryHarness.open(tmp_path, store)
    manifest = await registry.push_image(b"layer", tags=())
    store.refuse()
    assert len(await registry.push.flush()) == 1

    await registry.deletion.delete_manifest(APP, manifest.digest)

    assert registry.push.pushed() == []
    assert await registry.push.flush() == []


async def test_a_digest_that_was_replaced_a_moment_ago_can_be_deleted_and_answers_no_more(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path)
    old = await registry.push_image(b"old", tags=(V1, V2))
    await registry.push_image(b"new", tags=(V1,))

    await registry.deletion.delete_manifest(APP, old.digest)

    assert await gone(registry, old.digest)
    with pytest.raises(ManifestUnknown):
        await registry.deletion.delete_manifest(APP, old.digest)


async def test_deleting_a_digest_never_hits_what_was_pushed_under_its_tag_meanwhile(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path)
    await store.prepare()
    registry = await RegistryHarness.open(tmp_path, store)
    old = await registry.push_image(b"old")
    new = await registry.prepare(b"new")
    store.gate.clear()
    putting = asyncio.create_task(registry.put(new, V1))
    await until(lambda: len(store.asked) == 2)

    deleting = asyncio.create_task(registry.deletion.delete_manifest(APP, old.digest))
    await asyncio.sleep(0.01)
    store.gate.set()
    await asyncio.gather(putting, deleting)

    assert await registry.answering() == new.digest
    assert await gone(registry, old.digest)


async def test_a_blob_that_nothing_needs_is_deleted(registry: RegistryHarness) -> None:
    digest = await registry.upload(b"layer")
    await registry.upload(b"layer", OTHER)

    await registry.deletion.delete_blob(APP, digest)

    assert await registry.lookup.find(APP, digest) is None
    assert await registry.lookup.find(OTHER, digest)
    with pytest.raises(BlobUnknown, match="app has no blob"):
        await registry.deletion.delete_blob(APP, digest)


async def test_a_blob_of_an_image_can_not_be_deleted(registry: RegistryHarness) -> None:
    await registry.push_image(b"layer")

    with pytest.raises(Unsupported, match="is part of app:v1; delete that"):
        await registry.deletion.delete_blob(APP, Digest.of(b"layer"))


async def test_a_blob_of_something_pending_can_not_be_deleted(registry: RegistryHarness) -> None:
    pending = await registry.push_image(b"layer", tags=())
    await registry.upload(b"a cache layer")
    cache = document(index(image()).media_type, manifests=[described(b"a cache layer")])
    await registry.put(cache)

    for content, parent in ((b"layer", pending), (b"a cache layer", cache)):
        with pytest.raises(Unsupported, match=f"is part of app@{parent.digest}; delete that"):
            await registry.deletion.delete_blob(APP, Digest.of(content))


async def test_nothing_can_be_deleted_from_another_repository(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")

    for reference in (V1, manifest.digest):
        with pytest.raises(ManifestUnknown):
            await registry.deletion.delete_manifest(OTHER, reference)
    with pytest.raises(BlobUnknown):
        await registry.deletion.delete_blob(OTHER, Digest.of(b"layer"))

    assert await registry.answering() == manifest.digest


async def test_every_deletion_is_one_line_that_names_all_that_went(
    registry: RegistryHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy.reporting.event_log")
    manifest = await registry.push_image(b"layer", tags=(V1, V2))
    pending = await registry.push_image(b"pending", tags=())
    other = await registry.push_image(b"other", tags=(V1,), name=OTHER)
    blob = await registry.upload(b"blob")

    await registry.deletion.delete_manifest(APP, manifest.digest)
    await registry.deletion.delete_manifest(APP, pending.digest)
    await registry.deletion.delete_manifest(OTHER, V1)
    await registry.deletion.delete_blob(APP, blob)
    with pytest.raises(ManifestUnknown):
        await registry.deletion.delete_manifest(OTHER, other.digest)

    first, *rest = [record.getMessage() for record in caplog.records if record.getMessage().startswith("deleted")]
    root, child, lone = (f"app@{str(digest)[:19]}" for digest in (manifest.digest, pending.digest, blob))
    assert first in {f"deleted {tags} (DELETE {root})" for tags in ("app:v1, app:v2", "app:v2, app:v1")}
    assert rest == [f"deleted {child} (DELETE {child})", "deleted other:v1 (DELETE other:v1)", f"deleted blob {lone}"]
