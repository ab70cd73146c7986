"""Which artifact answers, also when others put files into the store, rename them, and take them away."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from proxy.archive.index import Index, decode
from proxy.artifacts.base import NOBODYS, Artifact, ArtifactGone, Claim, MayBeInside, UnreadableArtifact
from proxy.artifacts.directory import DirectoryStore
from proxy.artifacts.naming import Naming
from proxy.artifacts.ranking import order
from proxy.catalog.catalog import Catalog
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.limits import Limits
from tests.fakes.memory_store import Bytes, MemoryStore
from tests.registry_harness import APP, MIB, V1, V2, RegistryHarness, image, index, noise, plain, until

LONG = Name.parse("team/" + "long-" * 40 + "name")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryHarness]:
    registry = await RegistryHarness.open(tmp_path)
    yield registry
    await registry.crew.cancel_all()


@pytest.fixture
async def other(tmp_path_factory: pytest.TempPathFactory) -> RegistryHarness:
    """Another relay, somewhere else."""
    return await RegistryHarness.open(tmp_path_factory.mktemp("other"))


def file(registry: RegistryHarness, name: str) -> Path:
    return registry.root / f"{name}.tar.zst"


def drop(source: Path, target: Path, seconds_ago: float = 0) -> None:
    shutil.copy(source, target)
    os.utime(target, (target.stat().st_mtime - seconds_ago,) * 2)


def listed_anew(registry: RegistryHarness) -> Catalog:
    """A catalog that has not listed the store yet."""
    return Catalog(registry.store, Naming("image-"))


async def root_of(catalog: Catalog, tag: Tag = V1, name: Name = APP) -> Digest | None:
    archive = await catalog.resolve(name, tag)
    return archive.index.root if archive else None


async def test_what_was_put_answers_at_once_by_tag_by_digest_and_in_listings(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")

    archive = await registry.catalog.resolve(APP, V1)

    assert archive is not None
    assert archive.index.root == manifest.digest
    assert await registry.catalog.find(APP, Digest.of(b"layer")) is archive
    assert await registry.catalog.tags(APP) == [V1]
    assert await registry.catalog.repositories() == [APP]
    assert await registry.catalog.all_archives() == [archive]


async def test_what_is_not_there_does_not_answer(registry: RegistryHarness) -> None:
    await registry.push_image()

    assert await registry.catalog.resolve(APP, V2) is None
    assert await registry.catalog.resolve(Name.parse("other"), V1) is None
    assert await registry.catalog.find(APP, Digest.of(b"?")) is None
    assert registry.catalog.lingering.find(Digest.of(b"?"), APP) is None
    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    assert archive.blob(Digest.of(b"?")) is None


async def test_of_several_artifacts_of_one_tag_the_newest_answers(registry: RegistryHarness) -> None:
    first = await registry.push_image(b"1")
    drop(file(registry, "image-app@v1"), file(registry, "image-app@v1~3"), 10)
    second = await registry.push_image(b"2")
    drop(file(registry, "image-app@v1"), file(registry, "image-app@v1~2"), -10)

    assert await root_of(listed_anew(registry)) == second.digest
    os.utime(file(registry, "image-app@v1~3"), (2**31, 2**31))
    assert await root_of(listed_anew(registry)) == first.digest


async def test_of_artifacts_of_the_same_second_the_higher_number_answers(registry: RegistryHarness) -> None:
    first = await registry.push_image(b"1")
    drop(file(registry, "image-app@v1"), file(registry, "image-app@v1~10"))
    await registry.push_image(b"2")
    drop(file(registry, "image-app@v1"), file(registry, "image-app@v1~9"))
    for path in registry.root.glob("*.tar.zst"):
        os.utime(path, (1000, 1000))

    assert await root_of(listed_anew(registry)) == first.digest


async def test_of_artifacts_of_the_same_second_and_number_the_greater_id_answers(registry: RegistryHarness) -> None:
    await registry.push_image()
    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    rivals = [replace(archive, artifact=replace(archive.artifact, id=each)) for each in ("11", "9", "10", "111")]

    assert [each.artifact.id for each in sorted(rivals, key=lambda each: order(each.artifact))] == [
        "9",
        "10",
        "11",
        "111",
    ]


@pytest.mark.parametrize("size", [0, 100, -1])
async def test_a_file_without_a_sound_index_is_named_and_no_older_one_answers(
    registry: RegistryHarness, size: int
) -> None:
    manifest = await registry.push_image()
    whole = file(registry, "image-app@v1").read_bytes()
    file(registry, "image-app@v1~2").write_bytes(whole[:size])
    file(registry, "image-app@v2").write_bytes(noise(MIB))
    catalog = listed_anew(registry)

    with pytest.raises(UnreadableArtifact, match="image-app@v1~2 cannot be read: "):
        await root_of(catalog)
    with pytest.raises(UnreadableArtifact, match=r"image-app@v2 cannot be read: .*the trailer is missing"):
        await root_of(catalog, V2)
    with pytest.raises(MayBeInside, match="cannot be read"):
        await catalog.find(APP, Digest.of(b"?"))
    assert await catalog.find_cached(APP, Digest.of(b"?")) is None
    assert await catalog.tags(APP) == [V1, V2]
    assert await catalog.all_archives() == []
    assert await root_of(catalog, V1, Name.parse("other")) is None
    file(registry, "image-app@v1~2").unlink()
    catalog.forget_listing()
    assert await root_of(catalog) == manifest.digest
    assert [each.artifact.name for each in catalog.unreadable()] == ["image-app@v2"]


async def test_a_file_of_a_newer_format_says_what_to_do(registry: RegistryHarness) -> None:
    await registry.push_image()
    whole = bytearray(file(registry, "image-app@v1").read_bytes())
    whole[-12] += 1
    file(registry, "image-app@v1").write_bytes(whole)

    with pytest.raises(
        UnreadableArtifact, match="format version 2, this image-relay reads version 1; update image-relay"
    ):
        await root_of(listed_anew(registry))


async def test_a_file_that_was_replaced_since_it_was_listed_answers(
    registry: RegistryHarness, other: RegistryHarness
) -> None:
    await registry.push_image(b"old")
    catalog = listed_anew(registry)
    await catalog.repositories()  # lists, and opens nothing
    manifest = await other.push_image(b"new")

    drop(file(other, "image-app@v1"), file(registry, "image-app@v1"))

    assert await root_of(catalog) == manifest.digest


async def test_hard_links_are_images_of_their_own(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")
    for name in ("image-app@v2", "image-web@v1", "image-app@v1~2"):
        file(registry, name).hardlink_to(file(registry, "image-app@v1"))
    catalog = listed_anew(registry)

    assert len(await catalog.all_archives()) == 3
    assert await root_of(catalog, V2) == await root_of(catalog, V1, Name.parse("web")) == manifest.digest
    await catalog.delete(APP, V2)
    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~2", "image-web@v1"]


async def test_a_name_that_ends_as_a_file_does_means_what_the_index_says(registry: RegistryHarness) -> None:
    ending = Tag.parse("v1.tar.zst")
    manifest = await registry.push_image(b"layer")
    file(registry, "image-app@v1").rename(file(registry, "image-app@v1~2.tar.zst"))
    other = await registry.push_image(b"other", tags=(ending,))
    catalog = listed_anew(registry)

    assert await root_of(catalog) == manifest.digest
    assert await root_of(catalog, ending) == other.digest
    assert await catalog.tags(APP) == [V1, ending]
    file(registry, "image-app@v1.tar.zst").write_bytes(b"damaged")
    catalog.forget_listing()
    with pytest.raises(UnreadableArtifact):
        await root_of(catalog, ending)
    await catalog.delete(APP, V1)
    assert await registry.artifacts() == []


async def test_files_of_others_are_no_images(registry: RegistryHarness) -> None:
    await registry.push_image()
    source = file(registry, "image-app@v1")
    for name in ("backup", "image-App@v1", "image-app", "IMAGE-app@v1", "image-" + "y" * 161 + "=" + "0" * 32):
        drop(source, file(registry, name))

    catalog = listed_anew(registry)

    assert await catalog.repositories() == [APP]
    assert len(await catalog.all_archives()) == 1


async def test_a_file_that_is_dropped_in_by_hand_is_served_within_the_life_of_a_listing(
    registry: RegistryHarness, other: RegistryHarness
) -> None:
    manifest = await other.push_image(noise(300_000))
    assert await registry.answering() is None

    drop(file(other, "image-app@v1"), file(registry, "image-app@v1"))

    async with asyncio.timeout(5):  # far more than the two seconds of a listing
        await until(registry.answering)
    assert await registry.pull(V1) == await other.pull(V1)
    assert await registry.answering() == manifest.digest


async def test_a_renamed_file_is_a_renamed_image(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer")
    file(registry, "image-app@v1").rename(file(registry, "image-team+other@^x1"))
    catalog = listed_anew(registry)

    assert await root_of(catalog) is None
    assert await root_of(catalog, Tag.parse("X1"), Name.parse("team/other")) == manifest.digest
    assert await catalog.repositories() == [Name.parse("team/other")]


async def test_a_file_that_is_removed_behind_its_back_is_gone_with_the_next_listing(registry: RegistryHarness) -> None:
    await registry.push_image()
    file(registry, "image-app@v1").unlink()
    registry.catalog.forget_listing()

    assert await registry.answering() is None
    assert registry.catalog._opener.archives.archives() == []


async def test_a_file_that_goes_between_listing_and_opening_is_passed_over(registry: RegistryHarness) -> None:
    await registry.push_image()
    catalog = listed_anew(registry)
    await catalog.repositories()  # lists, and opens nothing
    file(registry, "image-app@v1").unlink()

    assert await root_of(catalog) is None


async def test_shortened_names_answer_like_any_other(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(b"layer", name=LONG)
    (artifact,) = await registry.artifacts()
    assert (len(artifact), artifact[-33]) == (200, "=")
    catalog = listed_anew(registry)

    assert await root_of(catalog, V1, LONG) == manifest.digest
    assert await catalog.repositories() == [LONG]
    assert await catalog.tags(LONG) == [V1]
    assert await catalog.find(LONG, Digest.of(b"layer"))
    assert await catalog.find(APP, Digest.of(b"layer")) is None


async def test_a_shortened_name_has_to_be_that_of_a_reference_inside(registry: RegistryHarness) -> None:
    await registry.push_image(name=LONG)
    (artifact,) = await registry.artifacts()
    file(registry, artifact).rename(file(registry, artifact[:-1] + "x"))

    assert await listed_anew(registry).repositories() == []


async def test_a_replaced_archive_lingers_for_those_who_pull_from_it(registry: RegistryHarness) -> None:
    old = await registry.push_image(b"old layer")
    reader = await registry.lookup.blob(APP, Digest.of(b"old layer"))
    new = await registry.push_image(b"new layer")

    assert await registry.answering() == new.digest
    assert [archive.index.root for archive in await registry.catalog.archives_in(APP)] == [new.digest]
    assert await plain(reader) == b"old layer"
    lingering = registry.catalog.lingering.find(old.digest, APP)
    assert lingering is not None
    assert registry.catalog.lingering.find(old.digest, Name.parse("other")) is None


async def test_a_replaced_archive_that_nobody_asks_for_is_let_go(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, limits=Limits(replaced_kept=0.0))
    old = await registry.push_image(b"old layer")
    await registry.push_image(b"new layer")

    assert registry.catalog.lingering.find(old.digest, APP) is None
    assert len(registry.catalog.lingering) == 0


async def test_an_archive_of_another_number_is_not_replaced(registry: RegistryHarness) -> None:
    await registry.push_image(b"1")
    drop(file(registry, "image-app@v1"), file(registry, "image-app@v1~2"), 10)
    registry.catalog.forget_listing()
    second = await registry.push_image(b"2")

    assert await registry.answering() == second.digest
    assert len(registry.catalog.lingering) == 1


async def test_deleting_removes_all_artifacts_of_a_tag_and_no_other(registry: RegistryHarness) -> None:
    await registry.push_image(b"1")
    for name in ("image-app@v1~2", "image-app@v1~3", "image-app@v2"):
        drop(file(registry, "image-app@v1"), file(registry, name), 10)
    catalog = listed_anew(registry)
    archive = await catalog.resolve(APP, V1)
    assert archive is not None

    await catalog.delete(APP, V1)

    assert await registry.artifacts() == ["image-app@v2"]
    assert await root_of(catalog) is None
    assert await catalog.tags(APP) == [V2]


class PushEvents(MemoryStore):
    """A store that notes what is deleted, and may fail at it."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[str] = []
        self.patience = 99

    async def delete(self, artifact: Artifact) -> bool:
        if len(self.deleted) == self.patience:
            raise OSError("the other side has hung up")
        self.deleted.append(artifact.name)
        return await super().delete(artifact)


async def test_the_oldest_artifact_of_a_tag_is_deleted_first_so_that_none_resurfaces(tmp_path: Path) -> None:
    store = PushEvents()
    registry = await RegistryHarness.open(tmp_path, store)
    newest = [await registry.push_image(str(number).encode()) for number in range(12)][-1]
    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    store.patience = 5

    with pytest.raises(OSError, match="hung up"):
        await registry.catalog.delete(APP, V1)
    assert await root_of(listed_anew(registry)) == newest.digest

    store.patience = 99
    await registry.catalog.delete(APP, V1)
    assert store.deleted == ["image-app@v1", *(f"image-app@v1~{number}" for number in range(2, 13))]
    assert await registry.answering() is None


async def test_where_names_are_given_once_a_second_push_answers_and_the_first_stays(tmp_path: Path) -> None:
    registry = await RegistryHarness.open(tmp_path, MemoryStore())
    await registry.push_image(b"1")
    second = await registry.push_image(b"2")

    assert await registry.artifacts() == ["image-app@v1", "image-app@v1~2"]
    assert await registry.answering() == second.digest
    assert await root_of(listed_anew(registry)) == second.digest
    assert len(registry.catalog.lingering) == 0


class Overtaken(DirectoryStore):
    """A store whose listings and deletions can be held up after they were made."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.listing, self.deleting = asyncio.Event(), asyncio.Event()
        self.listing.set()
        self.listings = 0

    async def listed(self) -> list[Artifact]:
        found = await super().listed()
        self.listings += 1
        await self.listing.wait()
        return found

    async def delete(self, artifact: Artifact) -> bool:
        await self.deleting.wait()
        return await super().delete(artifact)


class Whole(Bytes):
    """The bytes of an archive."""

    @property
    def index(self) -> Index:
        return decode(b"".join(self._parts), self.size)


class Waiting(Whole):
    """A body that is given when the test says so."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.gate = asyncio.Event()

    async def parts(self) -> AsyncIterator[bytes]:
        await self.gate.wait()
        async for part in super().parts():
            yield part

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()


@pytest.mark.parametrize("what", ["put", "delete"])
async def test_a_listing_that_is_older_than_a_change_never_undoes_it(
    tmp_path: Path, other: RegistryHarness, what: str
) -> None:
    store = Overtaken(tmp_path)
    await store.prepare()
    registry = await RegistryHarness.open(tmp_path, store)
    await registry.push_image(b"old")
    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    manifest = await other.push_image(b"new")
    body = Waiting(file(other, "image-app@v1").read_bytes())
    change = (
        partial(registry.catalog.put, APP, V1, body) if what == "put" else partial(registry.catalog.delete, APP, V1)
    )
    changing: asyncio.Task[object] = asyncio.create_task(change())
    await asyncio.sleep(0.01)  # it has looked at a fresh listing, and waits for the store

    registry.catalog.forget_listing()
    store.listing.clear()
    listing, before = asyncio.create_task(registry.catalog.repositories()), store.listings
    await until(lambda: store.listings > before)
    body.gate.set()
    store.deleting.set()
    await changing
    store.listing.set()
    await listing

    assert await registry.answering() == (manifest.digest if what == "put" else None)


class Vanishing(DirectoryStore):
    """A folder from which every new file disappears at once."""

    async def put(self, name: str, body: object, claim: Claim = NOBODYS) -> Artifact:
        artifact = await super().put(name, body, claim)  # type: ignore[arg-type] # only passed on
        await self.delete(artifact)
        return artifact


async def test_an_artifact_that_vanishes_is_not_stored(tmp_path: Path, other: RegistryHarness) -> None:
    store = Vanishing(tmp_path)
    await store.prepare()
    await other.push_image()

    with pytest.raises(ArtifactGone):
        await Catalog(store, Naming("image-")).put(APP, V1, Whole(file(other, "image-app@v1").read_bytes()))


async def test_metadata_larger_than_the_tail_are_read_by_a_second_exact_read(registry: RegistryHarness) -> None:
    manifests = [image(config=b"{}", annotations={"text": noise(100_000, seed).hex()}) for seed in range(6)]
    await registry.upload(b"{}")
    for manifest in manifests:
        await registry.put(manifest)
    root = index(*manifests)
    await registry.put(root, V1)
    catalog = listed_anew(registry)

    assert await root_of(catalog) == root.digest
    archive = await catalog.resolve(APP, V1)
    assert archive is not None
    assert set(archive.index.blobs) >= {manifest.digest for manifest in manifests}


async def test_a_file_of_ours_without_a_sound_index_is_named_once_in_the_log_and_others_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = await RegistryHarness.open(tmp_path, limits=Limits(listing_fresh=0.0))
    await registry.push_image(b"layer")
    whole = file(registry, "image-app@v1").read_bytes()
    file(registry, "image-app@v1").write_bytes(whole[:-1])
    file(registry, "somebody-elses").write_bytes(whole[:-1])

    for _ in range(3):
        assert await registry.catalog.all_archives() == []

    (line,) = [record for record in caplog.records if record.name == "proxy.catalog.opener"]
    assert line.levelname == "WARNING"
    assert line.getMessage().startswith("image-app@v1 cannot be read: ")
    assert line.getMessage().endswith("; try again in a minute, or push it again")


class CountingNaming(Naming):
    """Counts how many names are looked at."""

    looked: list[str] = []  # noqa: RUF012 - of all instances

    def decode(self, artifact: str) -> tuple[Name, Tag | Digest] | None:
        self.looked.append(artifact)
        return super().decode(artifact)


async def test_a_list_of_everything_looks_at_each_name_a_few_times_however_many_there_are(
    registry: RegistryHarness,
) -> None:
    await registry.push_image()
    for number in range(50):
        drop(file(registry, "image-app@v1"), file(registry, f"image-app{number}@v1"))
    catalog = Catalog(registry.store, CountingNaming("image-"))
    CountingNaming.looked.clear()

    found = await catalog.all_archives()

    assert len(found) == 51
    assert found == sorted(found, key=lambda archive: archive.name)
    assert len(CountingNaming.looked) <= 4 * 51


async def test_everything_is_listed_by_name_and_of_each_name_the_newest_first(registry: RegistryHarness) -> None:
    await registry.push_image(b"1", tags=(V1,), name=LONG)
    await registry.push_image(b"2", tags=(V1,))
    await registry.push_image(b"3", tags=(V2,))
    await registry.push_image(b"4", tags=(V2,), name=LONG)
    for seconds_ago, path in enumerate(sorted(registry.root.glob("*.tar.zst"))):
        os.utime(path, (path.stat().st_mtime - 10 * seconds_ago,) * 2)

    found = await listed_anew(registry).all_archives()

    assert [each.name for each in found] == [APP, APP, LONG, LONG]
    assert [order(each.artifact) for each in found[:2]] == sorted((order(e.artifact) for e in found[:2]), reverse=True)
    assert [order(each.artifact) for each in found[2:]] == sorted((order(e.artifact) for e in found[2:]), reverse=True)
