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
from tests.fakes.faulty_stores import MoodyStore
from tests.fakes.memory_store import MemoryStore
from tests.machine import no_file_left_to_open, open_files_left
from tests.registry_harness import (
    APP,
    CONFIG,
    MIB,
    V1,
    V2,
    Desk,
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
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk.open(tmp_path, limits=QUICK)
    yield desk
    await desk.crew.cancel_all()


@pytest.fixture
async def moody(tmp_path: Path) -> MoodyStore:
    store = MoodyStore(tmp_path)
    await store.prepare()
    return store


@pytest.fixture
async def moody_desk(moody: MoodyStore, tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk.open(tmp_path, moody, limits=QUICK)
    yield desk
    moody.gate.set()
    await desk.crew.cancel_all()


def states(desk: Desk) -> list[State]:
    return [pushed.state for pushed in desk.push.pushed()]


# By tag


async def test_an_image_of_many_layers_is_stored_with_few_open_files(desk: Desk) -> None:
    layers = [noise(100, number) for number in range(300)]
    manifest = await desk.prepare(*layers)

    with open_files_left(150):
        await desk.put(manifest, V1)

    assert set(await desk.pull(V1)) == {manifest.digest, *manifest.named}
    assert desk.files() == []


async def test_what_others_read_while_it_is_stored_needs_no_file_that_cannot_be_opened(desk: Desk) -> None:
    layers = [noise(100, number) for number in range(300)]
    manifest = await desk.prepare(*layers)
    read = [await desk.spool.find(Digest.of(layer)) for layer in layers]

    with open_files_left(150):
        await desk.put(manifest, V1)

    assert set(await desk.pull(V1)) == {manifest.digest, *manifest.named}
    assert [await plain(blob) for blob in read if blob] == layers
    await desk.spool.sweep()
    assert desk.files() == []


async def test_without_a_file_to_open_a_push_is_to_be_tried_again(desk: Desk) -> None:
    manifest = await desk.prepare(b"layer")

    with no_file_left_to_open(), pytest.raises(TooManyRequests, match="too many files open") as refused:
        await desk.put(manifest, V1)

    assert refused.value.headers == {"Retry-After": "5"}
    await desk.put(manifest, V1)
    assert set(await desk.pull(V1)) == {manifest.digest, *manifest.named}


async def test_a_push_by_tag_is_durable_when_it_is_answered(desk: Desk) -> None:
    manifest = await desk.push_image(noise(300_000), b"text " * 1000)

    again = await desk.reopened()

    assert set(await again.pull(V1)) == {manifest.digest, *manifest.named}
    assert desk.files() == []
    assert states(desk) == []


@pytest.mark.parametrize("kind", ["directory", "memory"])
async def test_re_tagging_a_b_a_ends_with_a_and_every_reader_finishes(tmp_path: Path, kind: str) -> None:
    desk = await Desk.open(tmp_path, MemoryStore() if kind == "memory" else None)
    layers = {"a": noise(9 * MIB, "a"), "b": noise(9 * MIB, "b")}
    readers, roots = [], []
    for each in "aba":
        roots.append((await desk.push_image(layers[each])).digest)
        archive = await desk.catalog.resolve(APP, V1)
        assert archive is not None
        blob = archive.blob(Digest.of(layers[each]))
        assert blob is not None
        readers.append((blob, layers[each]))

    assert await desk.answering() == roots[0] == roots[2]
    for blob, content in readers:
        assert await blob.source.read(blob.offset, blob.offset + blob.stored, len) == blob.stored
        assert content[:1000] in await blob.source.read(blob.offset, blob.offset + 2000, bytes)


async def test_pushing_what_answers_already_makes_no_new_artifact(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer")
    (before,) = await desk.store.listed()

    await desk.upload(b"layer")
    await desk.put(manifest, V1)

    assert await desk.store.listed() == [before]
    assert desk.files() == []


async def test_the_same_push_makes_the_same_bytes(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = await Desk.open(tmp_path_factory.mktemp("other"))
    for each in (desk, other):
        await each.push_image(noise(300_000), b"text " * 1000)

    assert (desk.root / "image-app@v1.tar.zst").read_bytes() == (other.root / "image-app@v1.tar.zst").read_bytes()


async def test_twenty_identical_puts_at_once_make_one_archive(moody_desk: Desk, moody: MoodyStore) -> None:
    manifest = await moody_desk.prepare(b"layer")
    moody.gate.clear()
    putting = [asyncio.create_task(moody_desk.put(manifest, V1)) for _ in range(20)]
    await until(lambda: moody.asked)

    moody.gate.set()
    await asyncio.gather(*putting)

    assert moody.asked == ["image-app@v1"]


@pytest.mark.parametrize("layers", [1, 30])
async def test_of_two_pushes_under_one_tag_the_later_request_answers(desk: Desk, layers: int) -> None:
    slow = await desk.prepare(*(noise(1000, seed) for seed in range(layers)))
    fast = await desk.prepare(b"layer")

    await asyncio.gather(desk.put(slow, V1), desk.put(fast, V1))

    assert await desk.answering() == fast.digest
    assert states(desk) == []


async def test_several_tags_are_an_artifact_each_and_load_by_themselves(desk: Desk) -> None:
    manifest = await desk.push_image(noise(300_000), tags=(V1, V2))

    assert await desk.artifacts() == ["image-app@v1", "image-app@v2"]
    (desk.root / "image-app@v1.tar.zst").unlink()
    again = await desk.reopened()
    assert set(await again.pull(V2)) == {manifest.digest, *manifest.named}


async def test_of_several_tags_those_that_are_durable_are_told(moody_desk: Desk, moody: MoodyStore) -> None:
    manifest = await moody_desk.prepare()
    await moody_desk.put(manifest, V1)
    moody.refuse()

    durable = await moody_desk.push.put_tagged(APP, [V1, V2], manifest.digest, manifest)

    assert list(durable) == [V1]
    with pytest.raises(Denied):
        await moody_desk.push.put_tagged(APP, [V2, Tag.parse("v3")], manifest.digest, manifest)


async def test_a_push_gives_the_archives_that_it_made_without_listing_the_store_again(tmp_path: Path) -> None:
    store = CountingStore()
    desk = await Desk.open(tmp_path, store)
    store.stored = desk.catalog.forget_listing
    manifest = await desk.prepare(b"layer")

    made = await desk.push.put_tagged(APP, [V1, V2], manifest.digest, manifest)
    listings = store.listings
    again = await desk.push.put_tagged(APP, [V1], manifest.digest, manifest)

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
    desk = await Desk.open(tmp_path, MemoryStore())
    manifest = await desk.prepare(b"one", b"another")
    blobs = [str(tmp_path / "spool" / file) for file in desk.files() if file.startswith("blobs")]
    opened.clear()

    await desk.put(manifest, V1)

    assert len(blobs) == 3
    assert sorted(path for path in opened if path in blobs) == sorted(blobs)


async def test_a_push_that_takes_long_is_told_to_come_again_and_goes_on(moody: MoodyStore, tmp_path: Path) -> None:
    desk = await Desk.open(tmp_path, moody, limits=Limits(first_answer=0.01))
    manifest = await desk.prepare()
    moody.gate.clear()

    async def come() -> bool:
        with suppress(StillUnderWay):
            await desk.push.flights.run("a ticket", partial(desk.put, manifest, V1))
            return True
        return False

    assert not await come()
    assert states(desk) == [State.SEALING]
    moody.gate.set()
    await until(come)

    assert moody.asked == ["image-app@v1"]
    assert await desk.answering() == manifest.digest
    await desk.crew.cancel_all()


# What is refused


async def test_a_manifest_whose_blob_is_missing_is_refused_and_leaves_nothing(desk: Desk) -> None:
    await desk.upload(CONFIG)
    manifest = image(b"never pushed")

    for tags in ((), (V1,)):
        with pytest.raises(ManifestBlobUnknown, match="push it before its manifest"):
            await desk.put(manifest, *tags)

    assert await desk.artifacts() == []
    assert states(desk) == []
    assert desk.spool.pending == {}


async def test_a_blob_of_another_repository_is_missing_here(desk: Desk) -> None:
    manifest = await desk.prepare(b"layer", name=OTHER)

    with pytest.raises(ManifestBlobUnknown):
        await desk.put(manifest, V1)


async def test_a_manifest_that_lies_about_a_size_is_refused(desk: Desk) -> None:
    await desk.upload(b"layer")
    await desk.upload(CONFIG)
    lie = document(OCI_MANIFEST, config=described(CONFIG), layers=[described(b"layer") | {"size": 6}])

    with pytest.raises(ManifestInvalid, match="has 5 bytes, not 6"):
        await desk.put(lie, V1)


async def test_a_layer_that_is_kept_elsewhere_may_be_absent(desk: Desk) -> None:
    await desk.upload(CONFIG)
    foreign = described(b"far away") | {"urls": ["https://example.com/layer"]}
    manifest = document(OCI_MANIFEST, config=described(CONFIG), layers=[foreign])

    await desk.put(manifest, V1)

    archive = await desk.catalog.resolve(APP, V1)
    assert archive is not None
    assert Digest.of(b"far away") not in archive.index.blobs


async def test_a_child_of_an_index_may_be_absent_or_a_blob(desk: Desk) -> None:
    await desk.upload(b"a cache layer")
    sparse = index(image(b"not here"), annotations={"a": "b"})
    cache = document(sparse.media_type, manifests=[described(b"a cache layer")])

    await desk.put(sparse, V1)
    await desk.put(cache, V2)

    assert await desk.answering() == sparse.digest
    archive = await desk.catalog.resolve(APP, V2)
    assert archive is not None
    assert Digest.of(b"a cache layer") in archive.index.blobs


# By digest


async def test_a_push_by_digest_is_visible_at_once_and_pending_also_after_a_restart(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer", tags=())

    assert states(desk) == [State.PENDING]
    assert set(await desk.pull(manifest.digest)) == {manifest.digest, *manifest.named}
    again = await desk.reopened()
    assert states(again) == [State.PENDING]
    assert set(await again.pull(manifest.digest)) == {manifest.digest, *manifest.named}
    assert await again.artifacts() == []
    with pytest.raises(ManifestUnknown):
        await again.lookup.manifest(OTHER, manifest.digest)


async def test_what_a_tag_claims_is_one_archive_only(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer", tags=())

    await desk.put(manifest, V1)

    assert await desk.artifacts() == ["image-app@v1"]
    assert desk.files() == []
    assert await desk.push.flush() == []
    assert await desk.artifacts() == ["image-app@v1"]


async def push_tree(desk: Desk) -> tuple[Manifest, list[Manifest]]:
    """Push by digest what buildx does: two platforms, an attestation; gives the index, which is not pushed."""
    amd = await desk.push_image(b"amd64", tags=())
    arm = await desk.push_image(b"arm64", tags=())
    attestation = await desk.push_image(b"in-toto", tags=())
    return index(amd, arm, attestation), [amd, arm, attestation]


async def test_what_an_index_claims_is_one_archive_only(desk: Desk) -> None:
    root, children = await push_tree(desk)

    await desk.put(root, V1)

    assert await desk.artifacts() == ["image-app@v1"]
    assert desk.files() == []
    assert set(await desk.pull(V1)) == {root.digest}.union(*({each.digest, *each.named} for each in children))
    assert set(await (await desk.reopened()).pull(children[1].digest)) == {children[1].digest, *children[1].named}


async def test_a_nested_index_by_digest_is_settled_as_one_archive(desk: Desk) -> None:
    root, _ = await push_tree(desk)
    await desk.put(root)
    outer = index(root)
    await desk.put(outer)

    assert await desk.push.flush() == []

    assert await desk.artifacts() == [f"image-app@sha256+{outer.digest.hex}"]
    assert desk.files() == []


async def test_a_manifest_in_the_archive_of_a_tag_gets_none_of_its_own(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer")

    await desk.put(manifest)
    assert await desk.push.flush() == []

    assert states(desk) == []
    assert desk.spool.pending.get(APP, {}) == {}
    assert await desk.artifacts() == ["image-app@v1"]


async def test_a_manifest_with_another_media_type_is_another_push(desk: Desk) -> None:
    await desk.upload(CONFIG)
    content = document(OCI_MANIFEST, config=described(CONFIG)).content.replace(
        b'"mediaType": "' + OCI_MANIFEST.encode() + b'", "config"', b'"config"', 1
    )
    first, second = parse(content, OCI_MANIFEST), parse(content, DOCKER_MANIFEST)
    assert first.digest == second.digest

    for reference in ((), (V1,)):
        for manifest in (first, second):
            await desk.put(manifest, *reference)
            assert await desk.push.flush() == []
            what = V1 if reference else manifest.digest
            assert (await desk.lookup.manifest(APP, what)).media_type == manifest.media_type


# Settling


async def test_what_nothing_claims_is_settled_when_its_repository_is_quiet(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer", tags=())
    desk.start_settling()

    await until(desk.artifacts)

    assert await desk.artifacts() == [f"image-app@sha256+{manifest.digest.hex}"]
    await until(lambda: idle(desk))
    await until(lambda: desk.files() == [])


async def idle(desk: Desk) -> bool:
    return not desk.push.pushed() and not desk.spool.pending.get(APP)


async def ticks(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0.003)


def signature(of: Manifest, config: bytes = CONFIG) -> Manifest:
    """Describe a manifest that refers to another one."""
    return image(config=config, subject=described(of.content, of.media_type))


async def test_what_has_a_subject_is_durable_when_it_is_answered(desk: Desk) -> None:
    pushed = await desk.push_image(b"layer")
    signed, absent = signature(pushed), signature(image(b"never pushed"))
    await desk.upload(CONFIG)

    for manifest in (signed, signature(signed), absent):
        await desk.put(manifest)
        killed = await desk.reopened()
        assert f"image-app@sha256+{manifest.digest.hex}" in await killed.artifacts()
        assert killed.spool.pending.get(APP, {}) == {}
        assert manifest.digest in await killed.pull(manifest.digest)
        await desk.upload(CONFIG)

    assert desk.push.pushed() == []


async def test_what_has_a_subject_that_is_pending_waits_with_it_and_goes_where_that_goes(desk: Desk) -> None:
    pushed = await desk.push_image(b"layer", tags=())
    signed = signature(pushed)

    await desk.put(signed)
    assert await desk.artifacts() == []
    await desk.put(index(pushed, signed), V1)

    assert await desk.artifacts() == ["image-app@v1"]
    assert {pushed.digest, signed.digest} <= (await desk.pull(V1)).keys()
    assert desk.push.pushed() == []


async def test_what_waits_with_its_subject_is_settled_with_it(desk: Desk) -> None:
    pushed = await desk.push_image(b"layer", tags=())
    signed = signature(pushed)
    await desk.put(signed)
    desk.start_settling()

    await until(lambda: idle(desk))

    named = sorted(f"image-app@sha256+{each.digest.hex}" for each in (pushed, signed))
    assert await desk.artifacts() == named


async def test_a_subject_that_nothing_can_be_stored_beside_is_no_success(moody_desk: Desk, moody: MoodyStore) -> None:
    desk = moody_desk
    signed = signature(await desk.push_image(b"layer"))
    await desk.upload(CONFIG)
    moody.refuse()

    with pytest.raises(Denied, match="quota"):
        await desk.put(signed)
    assert states(desk) == [State.FAILED]

    moody.failure = None
    await desk.put(signed)
    assert f"image-app@sha256+{signed.digest.hex}" in await desk.artifacts()
    assert desk.push.pushed() == []


async def test_twenty_identical_signatures_at_once_make_one_archive(moody_desk: Desk, moody: MoodyStore) -> None:
    desk = moody_desk
    signed = signature(await desk.push_image(b"layer"))
    await desk.upload(CONFIG)
    moody.gate.clear()

    putting = [asyncio.create_task(desk.put(signed)) for _ in range(20)]
    await until(lambda: len(moody.asked) == 2)
    moody.gate.set()
    await asyncio.gather(*putting)

    assert moody.asked == ["image-app@v1", f"image-app@sha256+{signed.digest.hex}"]


async def test_a_session_that_nobody_feeds_puts_settling_off_for_seconds_only(
    tmp_path: Path,
) -> None:
    desk = await Desk.open(tmp_path, limits=Limits(upload_fed=0.05, idle_poll=0.002))
    await desk.push_image(b"layer", tags=())
    stopped, feeding = await desk.spool.sessions.start(APP), await desk.spool.sessions.start(APP)
    gate = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first"
        await gate.wait()
        yield b"last"

    taking = asyncio.create_task(desk.spool.sessions.append(feeding, slowly()))
    desk.start_settling()
    await asyncio.sleep(0.2)
    assert await desk.artifacts() == []  # a request is open

    gate.set()
    await taking
    await until(desk.artifacts)  # although both sessions are open
    await desk.spool.sessions.append(stopped, chunks(b"late"))
    assert stopped.offset == 4


async def test_requests_and_open_uploads_put_settling_off(desk: Desk) -> None:
    await desk.push_image(b"layer", tags=())
    desk.push.settle_seconds = 3600
    desk.push.touch(APP)
    desk.start_settling()
    await ticks()
    assert await desk.artifacts() == []

    upload = await desk.spool.sessions.start(APP)
    desk.push.settle_seconds = 0
    await ticks()
    assert await desk.artifacts() == []

    await desk.spool.sessions.cancel(upload)
    await until(desk.artifacts)


async def test_what_a_tag_that_is_being_sealed_will_claim_is_not_settled_meanwhile(
    moody_desk: Desk, moody: MoodyStore
) -> None:
    root, _ = await push_tree(moody_desk)
    moody.gate.clear()
    putting = asyncio.create_task(moody_desk.put(root, V1))
    await until(lambda: moody.asked)
    moody_desk.start_settling()

    await ticks()
    moody.gate.set()
    await putting
    await ticks()

    assert moody.asked == ["image-app@v1"]


async def test_a_settle_that_fails_is_told_by_flush_and_tried_again_at_the_next_push(
    moody_desk: Desk, moody: MoodyStore, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = await moody_desk.push_image(b"layer", tags=())
    moody.refuse()
    moody_desk.start_settling()
    await until(lambda: has_failed(moody_desk))
    await ticks()
    assert len(moody.asked) == 1  # not again and again

    (failed,) = await moody_desk.push.flush()
    assert (failed.digest, failed.state) == (manifest.digest, State.FAILED)
    assert failed.problem == "the storage quota is used up; delete some artifacts"
    assert len(moody.asked) == 2
    assert "was not stored: the storage quota is used up" in caplog.text
    assert set(await moody_desk.pull(manifest.digest)) == {manifest.digest, *manifest.named}

    moody.failure = None
    await moody_desk.push_image(b"another")
    await until(lambda: idle(moody_desk))
    assert await moody_desk.artifacts() == [f"image-app@sha256+{manifest.digest.hex}", "image-app@v1"]
    assert await moody_desk.push.flush() == []


async def has_failed(desk: Desk) -> bool:
    return State.FAILED in states(desk)


async def test_a_flush_makes_everything_durable_and_so_does_the_end_of_the_process(desk: Desk) -> None:
    manifests = [
        await desk.push_image(noise(1000, seed), tags=(), name=name) for seed in (1, 2) for name in (APP, OTHER)
    ]

    assert await desk.push.flush() == []

    shutil.rmtree(desk.root / "spool")
    again = await desk.reopened()
    for manifest, name in zip(manifests, (APP, OTHER) * 2, strict=True):
        assert set(await again.pull(manifest.digest, name)) == {manifest.digest, *manifest.named}


async def test_flushes_side_by_side_make_one_archive_each(moody_desk: Desk, moody: MoodyStore) -> None:
    for seed in range(3):
        await moody_desk.push_image(noise(1000, seed), tags=())

    assert await asyncio.gather(*(moody_desk.push.flush() for _ in range(5))) == [[]] * 5

    assert len(moody.asked) == 3


async def test_what_is_deleted_while_others_are_settled_stays_deleted(moody_desk: Desk, moody: MoodyStore) -> None:
    first = await moody_desk.push_image(noise(5 * MIB, 1), tags=())
    second = await moody_desk.push_image(noise(6 * MIB, 2), tags=())
    moody.gate.clear()
    flushing = asyncio.create_task(moody_desk.push.flush())
    await until(lambda: moody.asked)

    await moody_desk.deletion.delete_manifest(APP, second.digest)
    moody.gate.set()

    assert await flushing == []
    assert moody.asked == [f"image-app@sha256+{first.digest.hex}"]
    assert states(moody_desk) == []


async def test_what_goes_while_its_settling_waits_for_its_turn_is_not_stored(desk: Desk) -> None:
    manifest = await desk.push_image(b"layer", tags=())
    async with desk.push.lock(APP, manifest.digest):
        flushing = asyncio.create_task(desk.push.flush())
        await asyncio.sleep(0.01)
        assert await desk.push.drop_pending(APP, manifest.digest)

    assert await flushing == []
    assert await desk.artifacts() == []
    assert desk.push.pushed() == []


async def test_what_was_pushed_and_deleted_and_pushed_again_is_settled_again(desk: Desk) -> None:
    for _ in range(2):
        manifest = await desk.push_image(b"layer", tags=())
        assert await desk.push.flush() == []
        assert await desk.artifacts() == [f"image-app@sha256+{manifest.digest.hex}"]
        await desk.deletion.delete_manifest(APP, manifest.digest)
        assert await desk.artifacts() == []


async def test_a_tag_that_claims_what_is_being_settled_is_not_harmed_when_that_fails(
    moody_desk: Desk, moody: MoodyStore
) -> None:
    manifest = await moody_desk.push_image(b"layer", tags=())
    moody.only = "sha256"
    moody.gate.clear()
    moody.refuse()
    flushing = asyncio.create_task(moody_desk.push.flush())
    await until(lambda: moody.asked)

    await moody_desk.put(manifest, V1)
    moody.gate.set()

    assert await flushing == []
    assert states(moody_desk) == []
    assert await moody_desk.answering() == manifest.digest


# What may not get lost


async def test_blobs_that_something_pending_needs_outlive_the_archive_that_claimed_them(desk: Desk) -> None:
    pending = await desk.push_image(b"shared", b"own", tags=())
    await desk.push_image(b"shared")
    await desk.deletion.delete_manifest(APP, V1)

    assert await desk.push.flush() == []

    assert set(await (await desk.reopened()).pull(pending.digest)) == {pending.digest, *pending.named}
    assert desk.files("links") == []


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_what_is_pending_on_content_of_an_archive_is_sealed_before_that_goes(desk: Desk, how: str) -> None:
    await desk.push_image(b"shared")
    pending = image(b"shared", annotations={"a": "b"})
    await desk.put(pending)

    if how == "deleted":
        await desk.deletion.delete_manifest(APP, V1)
    else:
        await desk.push_image(b"another")

    again = await desk.reopened()
    assert set(await again.pull(pending.digest)) == {pending.digest, *pending.named}


async def test_what_a_tag_has_taken_along_keeps_no_archive_from_being_replaced(
    moody_desk: Desk, moody: MoodyStore
) -> None:
    await moody_desk.push_image(b"shared", name=OTHER)
    pending = await moody_desk.push_image(b"shared", b"own", tags=())
    moody.only = "sha256"
    moody.gate.clear()
    moody.refuse()
    replacing = asyncio.create_task(moody_desk.push_image(b"another", name=OTHER))
    await until(lambda: any("sha256" in name for name in moody.asked))

    await moody_desk.put(pending, V1)
    await moody_desk.deletion.delete_manifest(APP, V1)
    moody.gate.set()

    replaced = await replacing
    assert await moody_desk.pull(V1, OTHER) == await moody_desk.pull(replaced.digest, OTHER)


async def test_a_mounted_blob_survives_a_restart_and_the_archive_it_came_from(desk: Desk) -> None:
    await desk.push_image(b"layer", name=OTHER)
    assert await desk.lookup.mountable(Digest.of(b"layer"), OTHER)
    await desk.spool.link(APP, Digest.of(b"layer"))
    await desk.spool.link(APP, Digest.of(CONFIG))

    again = await desk.reopened()
    await again.put(image(b"layer"), V1)

    await again.deletion.delete_manifest(OTHER, V1)
    assert set(await (await again.reopened()).pull(V1)) == {image(b"layer").digest, *image(b"layer").named}


# A seal that fails


@pytest.mark.parametrize(
    ("failure", "said"),
    [(None, "the storage quota is used up; delete some artifacts"), (OSError(5, "Input/output error"), "Input/output")],
)
async def test_a_seal_that_fails_is_told_keeps_the_spool_and_the_next_push_goes_on(
    moody_desk: Desk, moody: MoodyStore, failure: Exception | None, said: str
) -> None:
    manifest = await moody_desk.prepare(b"layer")
    moody.refuse()
    moody.failure = failure or moody.failure

    with pytest.raises(Denied, match=f"app:v1 was not stored: .*{said}"):
        await moody_desk.put(manifest, V1)

    assert states(moody_desk) == [State.FAILED]
    assert len(moody_desk.files("blobs")) == 2
    moody.failure = None
    await moody_desk.put(manifest, V1)
    assert await moody_desk.answering() == manifest.digest
    assert states(moody_desk) == []
    assert moody_desk.files() == []


async def test_what_nobody_foresaw_fails_loudly_and_can_be_tried_again(
    moody_desk: Desk, moody: MoodyStore, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = await moody_desk.push_image(b"layer", tags=())
    moody.failure = ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await moody_desk.put(manifest, V1)
    (failed,) = await moody_desk.push.flush()

    assert failed.problem == "this is a fault of image-relay; its log says more"
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR].count(
        True
    ) == 2
    moody.failure = None
    assert await moody_desk.push.flush() == []


async def test_a_disk_that_is_full_while_sealing_keeps_the_spool_and_leaves_no_part(
    tiny_disk: Path,
) -> None:
    desk = await Desk.open(tiny_disk, limits=Limits(free_disk=0))
    (tiny_disk / "filler").write_bytes(bytes(3 * MIB))
    manifest = await desk.prepare(noise(3 * MIB))

    with pytest.raises(Denied, match="the disk is full"):
        await desk.put(manifest, V1)
    assert await desk.artifacts() == []
    assert list((tiny_disk / ".incoming").iterdir()) == []

    (tiny_disk / "filler").unlink()
    await desk.put(manifest, V1)
    assert set(await desk.pull(V1)) == {manifest.digest, *manifest.named}
    await desk.crew.cancel_all()


async def test_a_blob_that_is_damaged_in_the_spool_never_gets_into_an_archive(desk: Desk) -> None:
    manifest = await desk.prepare(noise(300_000))
    path = desk.root / "spool" / "blobs" / "sha256" / Digest.of(noise(300_000)).hex
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 1
    path.write_bytes(damaged)

    with pytest.raises(Denied, match="damaged"):
        await desk.put(manifest, V1)

    assert await desk.artifacts() == []


async def test_names_of_repositories_without_requests_are_forgotten(desk: Desk) -> None:
    for number in range(100):
        desk.push.touch(Name.parse(f"name{number}"))
    desk.start_settling()

    await until(lambda: forgotten(desk))


async def forgotten(desk: Desk) -> bool:
    return not desk.push._touched


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"?" * 500)], ids=["removed", "overwritten"]
)
async def test_a_pending_manifest_whose_file_is_lost_is_told_of_and_can_be_pushed_again(
    desk: Desk, damage: Callable[[Path], object]
) -> None:
    manifest = await desk.push_image(noise(1000), tags=())
    (file,) = [path for path in (desk.root / "spool" / "pending").rglob("*") if path.is_file()]
    damage(file)

    (failed,) = await desk.push.flush()

    assert (failed.digest, failed.state) == (manifest.digest, State.FAILED)
    assert failed.problem.endswith("push it again") or failed.problem.endswith("push the image again")
    await desk.put(manifest)
    assert await desk.push.flush() == []
    assert (await desk.pull(manifest.digest))[manifest.digest] == manifest.content


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
    desk = await Desk.open(tmp_path, store)
    manifest = await desk.prepare(*(noise(10, seed) for seed in range(20)))
    if broken:
        (tmp_path / ".incoming").rmdir()
        (tmp_path / ".incoming").touch()

    with pytest.raises(Denied) if broken else nullcontext():
        await desk.put(manifest, V1)

    assert len(store.let_go_in) >= 20  # a failure holds the one that was being read
    assert threading.get_ident() not in store.let_go_in
