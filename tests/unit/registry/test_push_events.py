"""What a push tells of itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.artifacts.base import NOBODYS, Artifact, Body, Claim
from proxy.artifacts.directory import DirectoryStore
from proxy.errors import Denied
from proxy.events import Accepted, Event, NotStored, SentGzip, Stored, Storing, Unchanged
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST
from tests.fakes.faulty_stores import FaultyStore
from tests.registry_harness import APP, CONFIG, MIB, V1, V2, Fields, RegistryHarness, described, document, noise, until


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(each) for each in events]


async def test_a_push_is_accepted_and_then_stored(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(noise(300_000))

    accepted, stored = registry.events

    assert isinstance(accepted, Accepted)
    assert (accepted.reference, accepted.digest) == ("app:v1", str(manifest.digest))
    assert accepted.size == 300_000 + len(CONFIG) + len(manifest.content)
    (artifact,) = await registry.store.listed()
    assert isinstance(stored, Stored)
    assert (stored.reference, stored.digest, stored.artifact) == ("app:v1", str(manifest.digest), "image-app@v1")
    assert (stored.size, stored.new, stored.reused) == (artifact.size, artifact.size, 0)


async def test_what_other_archives_have_already_is_re_used(registry: RegistryHarness) -> None:
    base = noise(300_000)
    await registry.push_image(base)
    registry.events.clear()

    await registry.push_image(base, b"more", tags=(V2,))

    stored = registry.events[-1]
    assert isinstance(stored, Stored)
    assert 300_000 < stored.reused < 301_000
    assert stored.new == stored.size - stored.reused


async def test_a_push_of_what_is_there_is_unchanged(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")
    registry.events.clear()

    await registry.put(manifest, V1)

    assert kinds(registry.events) == [Accepted, Unchanged]


async def test_a_push_by_digest_is_accepted_and_stored_when_it_is_flushed(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", tags=())
    assert [each.reference for each in registry.events if isinstance(each, Accepted)] == [f"app@{manifest.digest}"]
    assert kinds(registry.events) == [Accepted]

    await registry.push.flush()

    assert kinds(registry.events) == [Accepted, Stored]


async def test_what_could_not_be_stored_is_told_with_the_reason(tmp_path: Path) -> None:
    faulty = FaultyStore(tmp_path)
    await faulty.prepare()
    registry = await RegistryHarness.open(tmp_path, faulty)
    manifest = await registry.prepare(b"layer")
    faulty.refuse()

    with pytest.raises(Denied):
        await registry.put(manifest, V1)

    assert registry.events[-1] == NotStored("app:v1", "the storage quota is used up; delete some artifacts")


class SlowStore(DirectoryStore):
    """Takes the first part of a file, and goes on when it may."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.may_go_on = asyncio.Event()

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        return await super().put(name, _Slow(body, self.may_go_on), claim)


class _Slow:
    def __init__(self, body: Body, may_go_on: asyncio.Event) -> None:
        self.size, self.crc = body.size, body.crc
        self._body = body
        self._may_go_on = may_go_on

    async def parts(self) -> AsyncIterator[bytes]:
        taken = 0
        async for part in self._body.parts():
            taken += len(part)
            yield part
            if taken > 2 * MIB:
                await self._may_go_on.wait()

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()


async def test_a_long_seal_tells_how_far_it_is_until_it_is_over(tmp_path: Path) -> None:
    slow = SlowStore(tmp_path)
    registry = await RegistryHarness.open(tmp_path, slow)
    registry.push.events.every = 0.001
    manifest = await registry.prepare(noise(5 * MIB))

    sealing = asyncio.ensure_future(registry.put(manifest, V1))
    await until(lambda: [each for each in registry.events if isinstance(each, Storing) and each.done > 2 * MIB])
    slow.may_go_on.set()
    await sealing
    told = len(registry.events)

    on_its_way = [each for each in registry.events if isinstance(each, Storing)]
    stored = registry.events[-1]
    assert isinstance(stored, Stored)
    assert {(each.reference, each.size) for each in on_its_way} == {("app:v1", stored.size)}
    assert any(2 * MIB < each.done < stored.size for each in on_its_way)
    assert [each.done for each in on_its_way] == sorted(each.done for each in on_its_way)
    await registry.upload(b"something else, meanwhile")
    assert len(registry.events) == told


async def test_blobs_that_came_count_for_the_manifest_that_names_them(registry: RegistryHarness) -> None:
    manifest = await registry.prepare(b"layer")
    registry.push.events.received_blobs.add(APP, Digest.of(b"layer"), 5, 0.0)

    await registry.put(manifest, V1)

    accepted = registry.events[0]
    assert isinstance(accepted, Accepted)
    assert accepted.received == len(manifest.content) + 5
    assert accepted.seconds > 0


_OCI, _DOCKER = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
_OTHER = {"config": described(b"{}", "application/vnd.buildkit.cacheconfig.v0")}


@pytest.mark.parametrize(
    ("kinds", "more", "sent"),
    [
        ((f"{_OCI}+gzip", f"{_OCI}+gzip"), {}, [300]),
        ((f"{_DOCKER}.gzip", _OCI), {}, [100]),
        ((_OCI, _DOCKER), {}, []),
        ((f"{_OCI}+gzip", f"{_OCI}+zstd"), {}, []),  # that of a base, whose layers keep their compression
        ((f"{_DOCKER}.gzip", f"{_DOCKER}.zstd"), {}, []),
        ((f"{_OCI}+gzip", f"{_OCI}+gzip"), _OTHER, []),  # not an image
    ],
)
def test_gzip_that_was_sent_counts_unless_there_is_zstd(
    registry: RegistryHarness, kinds: tuple[str, ...], more: Fields, sent: list[int]
) -> None:
    layers = [noise(100, 1), noise(200, 2)]
    described_layers = [described(layer, kind) for layer, kind in zip(layers, kinds, strict=True)]
    fields = {"config": described(CONFIG, "application/vnd.oci.image.config.v1+json"), **more}
    for layer in layers:
        registry.push.events.received_blobs.add(APP, Digest.of(layer), len(layer), 0.0)

    registry.push.events.exported(APP, V1, document(OCI_MANIFEST, layers=described_layers, **fields))

    assert registry.events == [SentGzip("app:v1", size) for size in sent]


async def test_gzip_that_was_there_before_does_not_count(registry: RegistryHarness) -> None:
    manifest = document(
        OCI_MANIFEST,
        config=described(CONFIG, "application/vnd.oci.image.config.v1+json"),
        layers=[described(b"layer", f"{_OCI}+gzip")],
    )
    await registry.upload(CONFIG)
    registry.push.events.received_blobs.add(APP, await registry.upload(b"layer"), 5, 0.0)

    for tag in (V1, V2):
        registry.push.events.exported(APP, tag, manifest)
        await registry.put(manifest, tag)

    assert [each for each in registry.events if isinstance(each, SentGzip)] == [SentGzip("app:v1", 5)]
