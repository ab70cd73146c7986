"""Pushes: what is answered is kept, what belongs together is one archive, and what fails can go on."""

import asyncio
import logging
import shutil
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from proxy.artifacts.base import NOBODYS, Artifact, Body, Claim
from proxy.artifacts.directory import DirectoryStore
from proxy.errors import (
    Denied,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    StillUnderWay,
    TooManyRequests,
)
from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_MANIFEST, OCI_MANIFEST, Manifest, parse
from proxy.oci.names import Name, Tag
from proxy.registry.push_events import CountedBody
from proxy.registry.push_state import State
from proxy.runtime.limits import Limits
from tests.fakes.faulty_stores import FaultyStore
from tests.fakes.memory_store import MemoryStore
from tests.machine import no_file_left_to_open, open_files_left
from tests.registry_harness import (
    APP,
    CONFIG,
    MIB,
    V1,
    V2,
    RegistryHarness,
    chunks,
    described,
    document,
    image,
    index,
    noise,
    plain,
    until,
)

OTHER = Name.parse("other")
QUICK = Limits(idle_poll=0.002)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryHarness]:
    registry = await RegistryHarness.open(tmp_path, limits=QUICK)
    yield registry
    await registry.crew.cancel_all()


@pytest.fixture
async def faulty(tmp_path: Path) -> FaultyStore:
    store = FaultyStore(tmp_path)
    await store.prepare()
    return store


@pytest.fixture
async def faulty_registry(faulty: FaultyStore, tmp_path: Path) -> AsyncIterator[RegistryHarness]:
    registry = await RegistryHarness.open(tmp_path, faulty, limits=QUICK)
    yield registry
    faulty.gate.set()
    await registry.crew.cancel_all()


def states(registry: RegistryHarness) -> list[State]:
    return [pushed.state for pushed in registry.push.pushed()]


# By tag


async def test_an_image_of_many_layers_is_stored_with_few_open_files(registry: RegistryHarness) -> None:
    layers = [noise(100, number) for number in range(300)]
    manifest = await registry.prepare(*layers)

    with open_files_left(150):
        await registry.put(manifest, V1)

    assert set(await registry.pull(V1)) == {manifest.digest, *manifest.named}
    assert registry.files() == []


async def test_what_others_read_while_it_is_stored_needs_no_file_that_cannot_be_opened(
    registry: RegistryHarness,
) -> None:
    layers = [noise(100, number) for number in range(300)]
    manifest = await registry.prepare(*layers)
    read = [await registry.spool.find(Digest.of(layer)) for layer in layers]

    with open_files_left(150):
        await registry.put(manifest, V1)

    assert set(await registry.pull(V1)) == {manifest.digest, *manifest.named}
    assert [await plain(blob) for blob in read if blob] == layers
    await registry.spool.sweep()
    assert registry.files() == []


async def test_without_a_file_to_open_a_push_is_to_be_tried_again(registry: RegistryHarness) -> None:
    manifest = await registry.prepare(b"layer")

    with no_file_left_to_open(), pytest.raises(TooManyRequests, match="too many files open") as refused:
        await registry.put(manifest, V1)

    assert refused.value.headers == {"Retry-After": "5"}
    await registry.put(manifest, V1)
    assert set(await registry.pull(V1)) == {manifest.digest, *manifest.named}


async def test_a_push_by_tag_is_durable_when_it_is_answered(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(noise(300_000), b"text " * 1000)

    again = await registry.reopened()

    assert set(await again.pull(V1)) == {manifest.digest, *manifest.named}
    assert registry.files() == []
    assert states(registry) == []


@pytest.mark.parametrize("kind", ["directory", "memory"])
async def test_re_tagging_a_b_a_ends_with_a_and_every_reader_finishes(tmp_path: Path, kind: str) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore() if kind == "memory" else None)
    layers = {"a": noise(9 * MIB, "a"), "b": noise(9 * MIB, "b")}
    readers, roots = [], []
    for each in "aba":
        roots.append((await registry.push_image(layers[each])).digest)
        archive = await registry.catalog.resolve(APP, V1)
        assert archive is not None
        blob = archive.blob(Digest.of(layers[each]))
        assert blob is not None
        readers.append((blob, layers[each]))

    assert await registry.answering() == roots[0] == roots[2]
    for blob, content in readers:
        assert await blob.source.read(blob.offset, blob.offset + blob.stored, len) == blob.stored
        assert content[:1000] in await blob.source.read(blob.offset, blob.offset + 2000, bytes)


async def test_pushing_what_answers_already_makes_no_new_artifact(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")
    (before,) = await registry.store.listed()

    await registry.upload(b"layer")
    await registry.put(manifest, V1)

    assert await registry.store.listed() == [before]
    assert registry.files() == []


async def test_the_same_push_makes_the_same_bytes(
    registry: RegistryHarness, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = await RegistryHarness.open(tmp_path_factory.mktemp("other"))
    for each in (registry, other):
        await each.push_image(noise(300_000), b"text " * 1000)

    assert (registry.root / "image-app@v1.tar.zst").read_bytes() == (other.root / "image-app@v1.tar.zst").read_bytes()


async def test_twenty_identical_puts_at_once_make_one_archive(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    manifest = await faulty_registry.prepare(b"layer")
    faulty.gate.clear()
    putting = [asyncio.create_task(faulty_registry.put(manifest, V1)) for _ in range(20)]
    await until(lambda: faulty.asked)

    faulty.gate.set()
    await asyncio.gather(*putting)

    assert faulty.asked == ["image-app@v1"]


@pytest.mark.parametrize("layers", [1, 30])
async def test_of_two_pushes_under_one_tag_the_later_request_answers(registry: RegistryHarness, layers: int) -> None:
    slow = await registry.prepare(*(noise(1000, seed) for seed in range(layers)))
    fast = await registry.prepare(b"layer")

    await asyncio.gather(registry.put(slow, V1), registry.put(fast, V1))

    assert await registry.answering() == fast.digest
    assert states(registry) == []


async def test_several_tags_are_an_artifact_each_and_load_by_themselves(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(noise(300_000), tags=(V1, V2))

    assert await registry.artifacts() == ["image-app@v1", "image-app@v2"]
    (registry.root / "image-app@v1.tar.zst").unlink()
    again = await registry.reopened()
    assert set(await again.pull(V2)) == {manifest.digest, *manifest.named}


async def test_of_several_tags_those_that_are_durable_are_told(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    manifest = await faulty_registry.prepare()
    await faulty_registry.put(manifest, V1)
    faulty.refuse()

    durable = await faulty_registry.push.put_tagged(APP, [V1, V2], manifest.digest, manifest)

    assert list(durable) == [V1]
    with pytest.raises(Denied):
        await faulty_registry.push.put_tagged(APP, [V2, Tag.parse("v3")], manifest.digest, manifest)


async def test_a_push_gives_the_archives_that_it_made_without_listing_the_store_again(tmp_path: Path) -> None:
    store = CountingStore()
    registry = await RegistryHarness.open(tmp_path, store)
    store.stored = registry.catalog.forget_listing
    manifest = await registry.prepare(b"layer")

    made = await registry.push.put_tagged(APP, [V1, V2], manifest.digest, manifest)
    listings = store.listings
    again = await registry.push.put_tagged(APP, [V1], manifest.digest, manifest)

    assert [archive.artifact for archive in made.values()] == await store.listed()
    assert listings == len(made)  # to see what each tag answers before, and not once more
    assert again == {V1: made[V1]}


class CountingStore(MemoryStore):
    """Counts how often it is listed, and tells when something was stored."""

    listings = 0
    stored: Callable[[], None]

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        artifact = await super().put(name, body, claim)
        self.stored()
        return artifact

    async def listed(self) -> list[Artifact]:
        self.listings += 1
        return await super().listed()


async def test_a_push_by_tag_opens_each_blob_of_the_spool_once(tmp_path: Path, opened: list[str]) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore())
    manifest = await registry.prepare(b"one", b"another")
    blobs = [str(tmp_path / "spool" / file) for file in registry.files() if file.startswith("blobs")]
    opened.clear()

    await registry.put(manifest, V1)

    assert len(blobs) == 3
    assert sorted(path for path in opened if path in blobs) == sorted(blobs)


async def test_a_push_that_takes_long_is_told_to_come_again_and_goes_on(faulty: FaultyStore, tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, faulty, limits=Limits(first_answer=0.01))
    manifest = await registry.prepare()
    faulty.gate.clear()

    async def come() -> bool:
        with suppress(StillUnderWay):
            await registry.push.flights.run("a ticket", partial(registry.put, manifest, V1))
            return True
        return False

    assert not await come()
    assert states(registry) == [State.SEALING]
    faulty.gate.set()
    await until(come)

    assert faulty.asked == ["image-app@v1"]
    assert await registry.answering() == manifest.digest
    await registry.crew.cancel_all()


# What is refused


async def test_a_manifest_whose_blob_is_missing_is_refused_and_leaves_nothing(registry: RegistryHarness) -> None:
    await registry.upload(CONFIG)
    manifest = image(b"never pushed")

    for tags in ((), (V1,)):
        with pytest.raises(ManifestBlobUnknown, match="push it before its manifest"):
            await registry.put(manifest, *tags)

    assert await registry.artifacts() == []
    assert states(registry) == []
    assert registry.spool.pending == {}


async def test_a_blob_of_another_repository_is_missing_here(registry: RegistryHarness) -> None:
    manifest = await registry.prepare(b"layer", name=OTHER)

    with pytest.raises(ManifestBlobUnknown):
        await registry.put(manifest, V1)


async def test_a_manifest_that_lies_about_a_size_is_refused(registry: RegistryHarness) -> None:
    await registry.upload(b"layer")
    await registry.upload(CONFIG)
    lie = document(OCI_MANIFEST, config=described(CONFIG), layers=[described(b"layer") | {"size": 6}])

    with pytest.raises(ManifestInvalid, match="has 5 bytes, not 6"):
        await registry.put(lie, V1)


async def test_a_layer_that_is_kept_elsewhere_may_be_absent(registry: RegistryHarness) -> None:
    await registry.upload(CONFIG)
    foreign = described(b"far away") | {"urls": ["https://example.com/layer"]}
    manifest = document(OCI_MANIFEST, config=described(CONFIG), layers=[foreign])

    await registry.put(manifest, V1)

    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    assert Digest.of(b"far away") not in archive.index.blobs


async def test_a_child_of_an_index_may_be_absent_or_a_blob(registry: RegistryHarness) -> None:
    await registry.upload(b"a cache layer")
    sparse = index(image(b"not here"), annotations={"a": "b"})
    cache = document(sparse.media_type, manifests=[described(b"a cache layer")])

    await registry.put(sparse, V1)
    await registry.put(cache, V2)

    assert await registry.answering() == sparse.digest
    archive = await registry.catalog.resolve(APP, V2)
    assert archive is not None
    assert Digest.of(b"a cache layer") in archive.index.blobs


# By digest


async def test_a_push_by_digest_is_visible_at_once_and_pending_also_after_a_restart(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())

    assert states(registry) == [State.PENDING]
    assert set(await registry.pull(manifest.digest)) == {manifest.digest, *manifest.named}
    again = await registry.reopened()
    assert states(again) == [State.PENDING]
    assert set(await again.pull(manifest.digest)) == {manifest.digest, *manifest.named}
    assert await again.artifacts() == []
    with pytest.raises(ManifestUnknown):
        await again.lookup.manifest(OTHER, manifest.digest)


async def test_what_a_tag_claims_is_one_archive_only(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())

    await registry.put(manifest, V1)

    assert await registry.artifacts() == ["image-app@v1"]
    assert registry.files() == []
    assert await registry.push.flush() == []
    assert await registry.artifacts() == ["image-app@v1"]


async def push_tree(registry: RegistryHarness) -> tuple[Manifest, list[Manifest]]:
    """Push by digest what buildx does: two platforms, an attestation; gives the index, which is not pushed."""
    amd = await registry.push_image(b"amd64", tags=())
    arm = await registry.push_image(b"arm64", tags=())
    attestation = await registry.push_image(b"in-toto", tags=())
    return index(amd, arm, attestation), [amd, arm, attestation]


async def test_what_an_index_claims_is_one_archive_only(registry: RegistryHarness) -> None:
    root, children = await push_tree(registry)

    await registry.put(root, V1)

    assert await registry.artifacts() == ["image-app@v1"]
    assert registry.files() == []
    assert set(await registry.pull(V1)) == {root.digest}.union(*({each.digest, *each.named} for each in children))
    assert set(await (await registry.reopened()).pull(children[1].digest)) == {children[1].digest, *children[1].named}


async def test_a_nested_index_by_digest_is_settled_as_one_archive(registry: RegistryHarness) -> None:
    root, _ = await push_tree(registry)
    await registry.put(root)
    outer = index(root)
    await registry.put(outer)

    assert await registry.push.flush() == []

    assert await registry.artifacts() == [f"image-app@sha256+{outer.digest.hex}"]
    assert registry.files() == []


async def test_a_manifest_in_the_archive_of_a_tag_gets_none_of_its_own(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")

    await registry.put(manifest)
    assert await registry.push.flush() == []

    assert states(registry) == []
    assert registry.spool.pending.get(APP, {}) == {}
    assert await registry.artifacts() == ["image-app@v1"]


async def test_a_manifest_with_another_media_type_is_another_push(registry: RegistryHarness) -> None:
    await registry.upload(CONFIG)
    content = document(OCI_MANIFEST, config=described(CONFIG)).content.replace(
        b'"mediaType": "' + OCI_MANIFEST.encode() + b'", "config"', b'"config"', 1
    )
    first, second = parse(content, OCI_MANIFEST), parse(content, DOCKER_MANIFEST)
    assert first.digest == second.digest

    for reference in ((), (V1,)):
        for manifest in (first, second):
            await registry.put(manifest, *reference)
            assert await registry.push.flush() == []
            what = V1 if reference else manifest.digest
            assert (await registry.lookup.manifest(APP, what)).media_type == manifest.media_type


# Settling


async def test_what_nothing_claims_is_settled_when_its_repository_is_quiet(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())
    registry.start_settling()

    await until(registry.artifacts)

    assert await registry.artifacts() == [f"image-app@sha256+{manifest.digest.hex}"]
    await until(lambda: idle(registry))
    await until(lambda: registry.files() == [])


async def idle(registry: RegistryHarness) -> bool:
    return not registry.push.pushed() and not registry.spool.pending.get(APP)


async def ticks(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0.003)


def signature(of: Manifest, config: bytes = CONFIG) -> Manifest:
    """Describe a manifest that refers to another one."""
    return image(config=config, subject=described(of.content, of.media_type))


async def test_what_has_a_subject_is_durable_when_it_is_answered(registry: RegistryHarness) -> None:
    pushed = await registry.push_image(b"layer")
    signed, absent = signature(pushed), signature(image(b"never pushed"))
    await registry.upload(CONFIG)

    for manifest in (signed, signature(signed), absent):
        await registry.put(manifest)
        killed = await registry.reopened()
        assert f"image-app@sha256+{manifest.digest.hex}" in await killed.artifacts()
        assert killed.spool.pending.get(APP, {}) == {}
        assert manifest.digest in await killed.pull(manifest.digest)
        await registry.upload(CONFIG)

    assert registry.push.pushed() == []


async def test_what_has_a_subject_that_is_pending_waits_with_it_and_goes_where_that_goes(
    registry: RegistryHarness,
) -> None:
    pushed = await registry.push_image(b"layer", tags=())
    signed = signature(pushed)

    await registry.put(signed)
    assert await registry.artifacts() == []
    await registry.put(index(pushed, signed), V1)

    assert await registry.artifacts() == ["image-app@v1"]
    assert {pushed.digest, signed.digest} <= (await registry.pull(V1)).keys()
    assert registry.push.pushed() == []


async def test_what_waits_with_its_subject_is_settled_with_it(registry: RegistryHarness) -> None:
    pushed = await registry.push_image(b"layer", tags=())
    signed = signature(pushed)
    await registry.put(signed)
    registry.start_settling()

    await until(lambda: idle(registry))

    named = sorted(f"image-app@sha256+{each.digest.hex}" for each in (pushed, signed))
    assert await registry.artifacts() == named


async def test_a_subject_that_nothing_can_be_stored_beside_is_no_success(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    registry = faulty_registry
    signed = signature(await registry.push_image(b"layer"))
    await registry.upload(CONFIG)
    faulty.refuse()

    with pytest.raises(Denied, match="quota"):
        await registry.put(signed)
    assert states(registry) == [State.FAILED]

    faulty.failure = None
    await registry.put(signed)
    assert f"image-app@sha256+{signed.digest.hex}" in await registry.artifacts()
    assert registry.push.pushed() == []


async def test_twenty_identical_signatures_at_once_make_one_archive(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    registry = faulty_registry
    signed = signature(await registry.push_image(b"layer"))
    await registry.upload(CONFIG)
    faulty.gate.clear()

    putting = [asyncio.create_task(registry.put(signed)) for _ in range(20)]
    await until(lambda: len(faulty.asked) == 2)
    faulty.gate.set()
    await asyncio.gather(*putting)

    assert faulty.asked == ["image-app@v1", f"image-app@sha256+{signed.digest.hex}"]


async def test_a_session_that_nobody_feeds_puts_settling_off_for_seconds_only(
    tmp_path: Path,
) -> None:
    registry = await RegistryHarness.open(tmp_path, limits=Limits(upload_fed=0.05, idle_poll=0.002))
    await registry.push_image(b"layer", tags=())
    stopped, feeding = await registry.spool.sessions.start(APP), await registry.spool.sessions.start(APP)
    gate = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first"
        await gate.wait()
        yield b"last"

    taking = asyncio.create_task(registry.spool.sessions.append(feeding, slowly()))
    registry.start_settling()
    await asyncio.sleep(0.2)
    assert await registry.artifacts() == []  # a request is open

    gate.set()
    await taking
    await until(registry.artifacts)  # although both sessions are open
    await registry.spool.sessions.append(stopped, chunks(b"late"))
    assert stopped.offset == 4


async def test_requests_and_open_uploads_put_settling_off(registry: RegistryHarness) -> None:
    await registry.push_image(b"layer", tags=())
    registry.push.settle_seconds = 3600
    registry.push.touch(APP)
    registry.start_settling()
    await ticks()
    assert await registry.artifacts() == []

    upload = await registry.spool.sessions.start(APP)
    registry.push.settle_seconds = 0
    await ticks()
    assert await registry.artifacts() == []

    await registry.spool.sessions.cancel(upload)
    await until(registry.artifacts)


async def test_what_a_tag_that_is_being_sealed_will_claim_is_not_settled_meanwhile(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    root, _ = await push_tree(faulty_registry)
    faulty.gate.clear()
    putting = asyncio.create_task(faulty_registry.put(root, V1))
    await until(lambda: faulty.asked)
    faulty_registry.start_settling()

    await ticks()
    faulty.gate.set()
    await putting
    await ticks()

    assert faulty.asked == ["image-app@v1"]


async def test_a_settle_that_fails_is_told_by_flush_and_tried_again_at_the_next_push(
    faulty_registry: RegistryHarness, faulty: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = await faulty_registry.push_image(b"layer", tags=())
    faulty.refuse()
    faulty_registry.start_settling()
    await until(lambda: has_failed(faulty_registry))
    await ticks()
    assert len(faulty.asked) == 1  # not again and again

    (failed,) = await faulty_registry.push.flush()
    assert (failed.digest, failed.state) == (manifest.digest, State.FAILED)
    assert failed.problem == "the storage quota is used up; delete some artifacts"
    assert len(faulty.asked) == 2
    assert "was not stored: the storage quota is used up" in caplog.text
    assert set(await faulty_registry.pull(manifest.digest)) == {manifest.digest, *manifest.named}

    faulty.failure = None
    await faulty_registry.push_image(b"another")
    await until(lambda: idle(faulty_registry))
    assert await faulty_registry.artifacts() == [f"image-app@sha256+{manifest.digest.hex}", "image-app@v1"]
    assert await faulty_registry.push.flush() == []


async def has_failed(registry: RegistryHarness) -> bool:
    return State.FAILED in states(registry)


async def test_a_flush_makes_everything_durable_and_so_does_the_end_of_the_process(registry: RegistryHarness) -> None:
    manifests = [
        await registry.push_image(noise(1000, seed), tags=(), name=name) for seed in (1, 2) for name in (APP, OTHER)
    ]

    assert await registry.push.flush() == []

    shutil.rmtree(registry.root / "spool")
    again = await registry.reopened()
    for manifest, name in zip(manifests, (APP, OTHER) * 2, strict=True):
        assert set(await again.pull(manifest.digest, name)) == {manifest.digest, *manifest.named}


async def test_flushes_side_by_side_make_one_archive_each(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    for seed in range(3):
        await faulty_registry.push_image(noise(1000, seed), tags=())

    assert await asyncio.gather(*(faulty_registry.push.flush() for _ in range(5))) == [[]] * 5

    assert len(faulty.asked) == 3


async def test_what_is_deleted_while_others_are_settled_stays_deleted(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    first = await faulty_registry.push_image(noise(5 * MIB, 1), tags=())
    second = await faulty_registry.push_image(noise(6 * MIB, 2), tags=())
    faulty.gate.clear()
    flushing = asyncio.create_task(faulty_registry.push.flush())
    await until(lambda: faulty.asked)

    await faulty_registry.deletion.delete_manifest(APP, second.digest)
    faulty.gate.set()

    assert await flushing == []
    assert faulty.asked == [f"image-app@sha256+{first.digest.hex}"]
    assert states(faulty_registry) == []


async def test_what_goes_while_its_settling_waits_for_its_turn_is_not_stored(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())
    async with registry.push.lock(APP, manifest.digest):
        flushing = asyncio.create_task(registry.push.flush())
        await asyncio.sleep(0.01)
        assert await registry.push.drop_pending(APP, manifest.digest)

    assert await flushing == []
    assert await registry.artifacts() == []
    assert registry.push.pushed() == []


async def test_what_was_pushed_and_deleted_and_pushed_again_is_settled_again(registry: RegistryHarness) -> None:
    for _ in range(2):
        manifest = await registry.push_image(b"layer", tags=())
        assert await registry.push.flush() == []
        assert await registry.artifacts() == [f"image-app@sha256+{manifest.digest.hex}"]
        await registry.deletion.delete_manifest(APP, manifest.digest)
        assert await registry.artifacts() == []


async def test_a_tag_that_claims_what_is_being_settled_is_not_harmed_when_that_fails(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    manifest = await faulty_registry.push_image(b"layer", tags=())
    faulty.only = "sha256"
    faulty.gate.clear()
    faulty.refuse()
    flushing = asyncio.create_task(faulty_registry.push.flush())
    await until(lambda: faulty.asked)

    await faulty_registry.put(manifest, V1)
    faulty.gate.set()

    assert await flushing == []
    assert states(faulty_registry) == []
    assert await faulty_registry.answering() == manifest.digest


# What may not get lost


async def test_blobs_that_something_pending_needs_outlive_the_archive_that_claimed_them(
    registry: RegistryHarness,
) -> None:
    pending = await registry.push_image(b"shared", b"own", tags=())
    await registry.push_image(b"shared")
    await registry.deletion.delete_manifest(APP, V1)

    assert await registry.push.flush() == []

    assert set(await (await registry.reopened()).pull(pending.digest)) == {pending.digest, *pending.named}
    assert registry.files("links") == []


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_what_is_pending_on_content_of_an_archive_is_sealed_before_that_goes(
    registry: RegistryHarness, how: str
) -> None:
    await registry.push_image(b"shared")
    pending = image(b"shared", annotations={"a": "b"})
    await registry.put(pending)

    if how == "deleted":
        await registry.deletion.delete_manifest(APP, V1)
    else:
        await registry.push_image(b"another")

    again = await registry.reopened()
    assert set(await again.pull(pending.digest)) == {pending.digest, *pending.named}


async def test_what_a_tag_has_taken_along_keeps_no_archive_from_being_replaced(
    faulty_registry: RegistryHarness, faulty: FaultyStore
) -> None:
    await faulty_registry.push_image(b"shared", name=OTHER)
    pending = await faulty_registry.push_image(b"shared", b"own", tags=())
    faulty.only = "sha256"
    faulty.gate.clear()
    faulty.refuse()
    replacing = asyncio.create_task(faulty_registry.push_image(b"another", name=OTHER))
    await until(lambda: any("sha256" in name for name in faulty.asked))

    await faulty_registry.put(pending, V1)
    await faulty_registry.deletion.delete_manifest(APP, V1)
    faulty.gate.set()

    replaced = await replacing
    assert await faulty_registry.pull(V1, OTHER) == await faulty_registry.pull(replaced.digest, OTHER)


async def test_a_mounted_blob_survives_a_restart_and_the_archive_it_came_from(registry: RegistryHarness) -> None:
    await registry.push_image(b"layer", name=OTHER)
    assert await registry.lookup.mountable(Digest.of(b"layer"), OTHER)
    await registry.spool.link(APP, Digest.of(b"layer"))
    await registry.spool.link(APP, Digest.of(CONFIG))

    again = await registry.reopened()
    await again.put(image(b"layer"), V1)

    await again.deletion.delete_manifest(OTHER, V1)
    assert set(await (await again.reopened()).pull(V1)) == {image(b"layer").digest, *image(b"layer").named}


# A seal that fails


@pytest.mark.parametrize(
    ("failure", "said"),
    [(None, "the storage quota is used up; delete some artifacts"), (OSError(5, "Input/output error"), "Input/output")],
)
async def test_a_seal_that_fails_is_told_keeps_the_spool_and_the_next_push_goes_on(
    faulty_registry: RegistryHarness, faulty: FaultyStore, failure: Exception | None, said: str
) -> None:
    manifest = await faulty_registry.prepare(b"layer")
    faulty.refuse()
    faulty.failure = failure or faulty.failure

    with pytest.raises(Denied, match=f"app:v1 was not stored: .*{said}"):
        await faulty_registry.put(manifest, V1)

    assert states(faulty_registry) == [State.FAILED]
    assert len(faulty_registry.files("blobs")) == 2
    faulty.failure = None
    await faulty_registry.put(manifest, V1)
    assert await faulty_registry.answering() == manifest.digest
    assert states(faulty_registry) == []
    assert faulty_registry.files() == []


async def test_what_nobody_foresaw_fails_loudly_and_can_be_tried_again(
    faulty_registry: RegistryHarness, faulty: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = await faulty_registry.push_image(b"layer", tags=())
    faulty.failure = ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await faulty_registry.put(manifest, V1)
    (failed,) = await faulty_registry.push.flush()

    assert failed.problem == "this is a fault of image-relay; its log says more"
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR].count(
        True
    ) == 2
    faulty.failure = None
    assert await faulty_registry.push.flush() == []


async def test_a_disk_that_is_full_while_sealing_keeps_the_spool_and_leaves_no_part(
    tiny_disk: Path,
) -> None:
    registry = await RegistryHarness.open(tiny_disk, limits=Limits(free_disk=0))
    (tiny_disk / "filler").write_bytes(bytes(3 * MIB))
    manifest = await registry.prepare(noise(3 * MIB))

    with pytest.raises(Denied, match="the disk is full"):
        await registry.put(manifest, V1)
    assert await registry.artifacts() == []
    assert list((tiny_disk / ".incoming").iterdir()) == []

    (tiny_disk / "filler").unlink()
    await registry.put(manifest, V1)
    assert set(await registry.pull(V1)) == {manifest.digest, *manifest.named}
    await registry.crew.cancel_all()


async def test_a_blob_that_is_damaged_in_the_spool_never_gets_into_an_archive(registry: RegistryHarness) -> None:
    manifest = await registry.prepare(noise(300_000))
    path = registry.root / "spool" / "blobs" / "sha256" / Digest.of(noise(300_000)).hex
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(Denied, match="damaged"):
        await registry.put(manifest, V1)

    assert await registry.artifacts() == []


async def test_names_of_repositories_without_requests_are_forgotten(registry: RegistryHarness) -> None:
    for number in range(100):
        registry.push.touch(Name.parse(f"name{number}"))
    registry.start_settling()

    await until(lambda: forgotten(registry))


async def forgotten(registry: RegistryHarness) -> bool:
    return not registry.push._touched


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"?" * 500)], ids=["removed", "overwritten"]
)
async def test_a_pending_manifest_whose_file_is_lost_is_told_of_and_can_be_pushed_again(
    registry: RegistryHarness, damage: Callable[[Path], object]
) -> None:
    manifest = await registry.push_image(noise(1000), tags=())
    (file,) = [path for path in (registry.root / "spool" / "pending").rglob("*") if path.is_file()]
    damage(file)

    (failed,) = await registry.push.flush()

    assert (failed.digest, failed.state) == (manifest.digest, State.FAILED)
    assert failed.problem.endswith("push it again") or failed.problem.endswith("push the image again")
    await registry.put(manifest)
    assert await registry.push.flush() == []
    assert (await registry.pull(manifest.digest))[manifest.digest] == manifest.content


class ObservedStore(DirectoryStore):
    """Notes in which thread the files that an archive was made of are let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.let_go_in: list[int] = []

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        assert isinstance(body, CountedBody)
        for blob in body._body.blobs.values():
            weakref.finalize(blob.source, lambda: self.let_go_in.append(threading.get_ident()))
        return await super().put(name, body, claim)


@pytest.mark.parametrize("broken", [False, True], ids=["stored", "failed"])
async def test_the_files_of_an_archive_are_not_closed_by_the_loop(tmp_path: Path, *, broken: bool) -> None:
    store = ObservedStore(tmp_path)
    await store.prepare()
    registry = await RegistryHarness.open(tmp_path, store)
    manifest = await registry.prepare(*(noise(10, seed) for seed in range(20)))
    if broken:
        (tmp_path / ".incoming").rmdir()
        (tmp_path / ".incoming").touch()

    with pytest.raises(Denied) if broken else nullcontext():
        await registry.put(manifest, V1)

    assert len(store.let_go_in) >= 20  # a failure holds the one that was being read
    assert threading.get_ident() not in store.let_go_in
