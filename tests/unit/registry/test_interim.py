"""What was stored for a moment only goes when its successor is there, and never without it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.base import Artifact
from proxy.catalog.archive import Archive
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.runtime.files import InMemory
from proxy.runtime.limits import Limits
from tests.fakes.memory_store import MemoryStore
from tests.registry_harness import APP, V1, V2, RegistryHarness, index, until
from tests.unit.archive.forging import some_index

CREATED = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
async def registry(tmp_path: Path) -> RegistryHarness:
    return await RegistryHarness.open(tmp_path, MemoryStore())


async def push_child(registry: RegistryHarness, layer: bytes = b"layer") -> Manifest:
    """Push an image under the tag as an engine does that pushes an index after it."""
    child = replace(await registry.prepare(layer), interim=True)
    await registry.put(child, V1)
    return child


async def test_it_goes_when_its_time_has_come_and_its_successor_answers(tmp_path: Path) -> None:
    limits = Limits(interim_kept=0.05, interim_sweep=0.01)
    registry = await RegistryHarness.open(tmp_path, MemoryStore(), limits=limits)
    child = await push_child(registry)
    await registry.put(root := index(child), V1)
    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~2"]

    watching = registry.crew.spawn(registry.push.interim.watch())
    await until(lambda: one_artifact(registry))
    await registry.crew.cancel_all()

    assert watching.cancelled()
    assert await registry.answering() == root.digest
    assert (await registry.pull(V1)).keys() == (await registry.pull(child.digest)).keys() | {root.digest}


async def one_artifact(registry: RegistryHarness) -> bool:
    return await registry.artifacts() == ["image-app@v1~2"]


async def test_it_stays_until_its_time_has_come(registry: RegistryHarness) -> None:
    child = await push_child(registry)
    await registry.put(index(child), V1)

    await registry.push.interim.remove()

    assert len(await registry.artifacts()) == 2


async def test_it_stays_where_its_successor_was_deleted(registry: RegistryHarness) -> None:
    child = await push_child(registry)
    await registry.put(root := index(child), V1)
    await registry.push_image(b"newer")
    await registry.deletion.delete_manifest(APP, root.digest)

    assert await registry.push.flush() == []

    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~3"]
    assert child.digest in await registry.pull(child.digest)


async def test_what_was_deleted_with_its_tag_is_no_trouble(registry: RegistryHarness) -> None:
    child = await push_child(registry)
    await registry.put(index(child), V1)
    await registry.deletion.delete_manifest(APP, V1)

    assert await registry.push.flush() == []
    assert await registry.artifacts() == []


async def test_neither_another_tag_nor_what_was_meant_to_stay_goes(registry: RegistryHarness) -> None:
    kept = await registry.push_image(b"layer", tags=(V1, V2))
    await registry.put(index(kept), V1)

    assert await registry.push.flush() == []

    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~2", "image-app@v2"]


def archive(number: int, **marks: object) -> Archive:
    artifact = Artifact(f"image-app@v1~{number}", str(number), CREATED, 1)
    return Archive(artifact, InMemory(b""), some_index().model_copy(update=marks), APP, V1)


@given(st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_nobody_waits_longer_than_the_bound_whatever_clocks_say(age: timedelta) -> None:
    left = archive(2, interim=True).interim(CREATED + age, 25.0)

    assert left == min(25.0, max(0.0, 25.0 - age.total_seconds()))
    assert archive(2).interim(CREATED + age, 25.0) == 0.0


def test_only_what_is_older_and_wholly_inside_was_a_step_on_the_way() -> None:
    whole, step = archive(3), archive(2, interim=True)
    less = some_index()
    first, *_ = less.blobs
    lacking = replace(whole, index=less.model_copy(update={"blobs": {first: less.blobs[first]}}))

    assert whole.continues(step)
    assert not step.continues(whole)
    assert not lacking.continues(step)
    assert not whole.continues(archive(4, interim=True))
    assert not whole.continues(archive(2, root=Digest.of(b"another")))
    assert not whole.continues(replace(step, reference=V2))
