"""What every artifact store promises (`proxy.artifacts.base`); a new store joins with one line in `BACKENDS`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.results import ResultsService
from proxy.artifacts.actions.session import read
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.base import Artifact, ArtifactGone, ArtifactStore, StoreRefused
from proxy.artifacts.directory import DirectoryStore
from proxy.artifacts.naming import numbered
from proxy.runtime.files import Source
from proxy.runtime.memory import MemoryBudget
from tests.actions_store.relays import HASTY
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.fixtures import azurite, emulate
from tests.fakes.actions.options import Flavour
from tests.fakes.memory_store import Bytes, MemoryStore
from tests.registry_harness import noise

__all__ = ["azurite", "emulate"]

Backend = Callable[[Path], Awaitable[ArtifactStore]]
MIB = 1024 * 1024
NAMES = [
    "image-app@v1",
    "image-team+app@^r^c1",
    "image-app@sha256+" + "0" * 64,
    "image-" + "a" * 161 + "=" + "f" * 32,  # 200 characters
    "with a blank, ünd more",
]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What a store needs until the end of the test."""
    async with AsyncExitStack() as stack:
        yield stack


async def directory(folder: Path) -> ArtifactStore:
    store = DirectoryStore(folder / "data")
    await store.prepare()
    return store


async def memory(_: Path) -> ArtifactStore:
    return MemoryStore(room=8 * MIB)


async def actions(emulator: Emulator, stack: AsyncExitStack, folder: Path) -> ArtifactStore:
    http = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
    storage = BlobStorage(http, MemoryBudget(64 * MIB), timeouts=HASTY)
    store = ActionsStore(storage, TrustedHosts(frozenset(emulator.trusted_hosts.split(","))), folder)
    session = read(emulator.job().token, emulator.origin)
    store.open_with(ResultsService(http, session, HASTY))
    return store


BACKENDS: dict[str, Backend | Flavour] = {
    "directory": directory,
    "memory": memory,
    "actions": Flavour.GITHUB,
    "act": Flavour.ACT,
    "gitea": Flavour.GITEA,
    "forgejo": Flavour.FORGEJO,
}


@pytest.fixture
def backend(request: pytest.FixtureRequest, which: str) -> Backend:
    found = BACKENDS[which]
    if not isinstance(found, Flavour):
        return found
    emulator = request.getfixturevalue("emulate")(flavour=found)
    return partial(actions, emulator, request.getfixturevalue("stack"))


@pytest.fixture(params=BACKENDS)
def which(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def store(backend: Backend, tmp_path: Path) -> ArtifactStore:
    return await backend(tmp_path)


@pytest.fixture(params=[directory, memory])
async def small_store(request: pytest.FixtureRequest, tiny_disk: Path) -> ArtifactStore:
    """A store with room for less than 8 MiB, where that is for us to find out; the others' quota is theirs to tell."""
    store: ArtifactStore = await request.param(tiny_disk)
    return store


async def content(source: Source, size: int) -> bytes:
    return await source.read(0, size + 1, bytes)


class Failing(Bytes):
    """A body that fails when it is half done."""

    async def parts(self) -> AsyncIterator[bytes]:
        yield noise(5 * MIB)
        raise OSError("the other side has hung up")

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()


class Endless(Bytes):
    """A body that stops half done, and waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waiting = asyncio.Event()

    async def parts(self) -> AsyncIterator[bytes]:
        yield noise(5 * MIB)
        self.is_waiting.set()
        await asyncio.Event().wait()

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()


async def test_a_new_store_is_empty(store: ArtifactStore) -> None:
    assert await store.listed() == []


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_put_is_listed_and_comes_back_exact(store: ArtifactStore, name: str) -> None:
    parts = [b"", noise(5 * MIB), b"x", noise(70_000, 1)]

    artifact = await store.put(name, Bytes(*parts))

    assert await store.listed() == [artifact]
    assert artifact.name == name
    source = await store.open(artifact)
    assert source.size == sum(map(len, parts))
    assert await content(source, source.size) == b"".join(parts)


@pytest.mark.parametrize("suffix", ["~2", "~17"])
async def test_numbered_names_are_names_of_their_own(store: ArtifactStore, suffix: str) -> None:
    plain = await store.put("image-app@v1", Bytes(b"plain"))
    numbered_one = await store.put("image-app@v1" + suffix, Bytes(b"numbered"))

    assert {each.name for each in await store.listed()} == {"image-app@v1", "image-app@v1" + suffix}
    assert await content(await store.open(plain), 99) == b"plain"
    assert await content(await store.open(numbered_one), 99) == b"numbered"


async def test_an_artifact_may_be_empty(store: ArtifactStore) -> None:
    artifact = await store.put("image-app@v1", Bytes())

    source = await store.open(artifact)
    assert source.size == 0
    assert await content(source, 0) == b""


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_any_range_is_exact_and_ends_where_the_artifact_ends(start: int, length: int) -> None:
    async def run() -> None:
        store = MemoryStore()
        source = await store.open(await store.put("a", Bytes(noise(2000))))
        assert await source.read(start, start + length, bytes) == noise(2000)[start : start + length]

    asyncio.run(run())


async def test_ranges_are_read_side_by_side(store: ArtifactStore) -> None:
    whole = noise(MIB)
    source = await store.open(await store.put("image-app@v1", Bytes(whole)))

    parts = await asyncio.gather(*(source.read(at, at + 1000, bytes) for at in range(0, MIB, 50_000)))

    assert parts == [whole[at : at + 1000] for at in range(0, MIB, 50_000)]


async def test_what_a_reader_makes_of_the_bytes_is_what_it_gets_also_if_that_fails(store: ArtifactStore) -> None:
    source = await store.open(await store.put("image-app@v1", Bytes(b"12345")))

    assert await source.read(1, 4, len) == 3
    with pytest.raises(ValueError, match="invalid literal"):
        await source.read(0, 5, lambda stored: int(bytes(stored), 5))


async def test_ids_and_times_tell_artifacts_apart(store: ArtifactStore) -> None:
    artifacts = [await store.put(f"image-app@v{number}", Bytes(b"same")) for number in range(5)]

    assert len({artifact.id for artifact in artifacts}) == 5
    assert all(artifact.created.tzinfo is not None for artifact in artifacts)
    assert sorted(artifacts, key=lambda each: each.created) == artifacts


async def test_a_body_that_fails_halfway_leaves_nothing(store: ArtifactStore) -> None:
    with pytest.raises(OSError, match="hung up"):
        await store.put("image-app@v1", Failing())

    assert await store.listed() == []


async def test_a_put_that_is_cancelled_halfway_leaves_nothing(store: ArtifactStore) -> None:
    body = Endless()
    putting = asyncio.create_task(store.put("image-app@v1", body))
    await body.is_waiting.wait()

    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert await store.listed() == []


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13])
async def test_a_put_that_is_cancelled_anywhere_leaves_a_whole_artifact_or_none(
    store: ArtifactStore, steps: int
) -> None:
    putting = asyncio.create_task(store.put("image-app@v1", Bytes(noise(5 * MIB), noise(5 * MIB, 1)[:MIB])))
    for _ in range(steps):
        await asyncio.sleep(0)

    putting.cancel()
    await asyncio.wait({putting})

    for artifact in await store.listed():
        assert len(await content(await store.open(artifact), 6 * MIB)) == 6 * MIB


async def test_while_it_is_put_an_artifact_is_not_there(store: ArtifactStore) -> None:
    body = Endless()
    putting = asyncio.create_task(store.put("image-app@v1", body))
    await body.is_waiting.wait()

    assert await store.listed() == []

    putting.cancel()
    await asyncio.wait({putting})


async def test_what_does_not_fit_is_refused_in_a_readable_sentence_and_leaves_the_rest_alone(
    small_store: ArtifactStore,
) -> None:
    kept = await small_store.put("image-app@v1", Bytes(noise(MIB)))

    with pytest.raises(StoreRefused, match=r"the disk is full|there is no room"):
        await small_store.put("image-app@v2", Bytes(noise(5 * MIB), noise(4 * MIB)))

    assert await small_store.listed() == [kept]
    assert await content(await small_store.open(kept), MIB) == noise(MIB)
    await small_store.put("image-app@v3", Bytes(noise(5 * MIB)))


async def test_a_second_artifact_of_one_name_takes_its_place_or_gets_the_next_number(store: ArtifactStore) -> None:
    old = await store.put("image-app@v1", Bytes(b"old"))
    reader = await store.open(old)
    new = await store.put("image-app@v1", Bytes(b"newer"))

    listed = await store.listed()
    if store.overwrites:
        assert listed == [new]
        with pytest.raises(ArtifactGone):
            await store.open(old)
    else:
        assert {each.id for each in listed} == {old.id, new.id}
        assert numbered(new.name) == ("image-app@v1", 2)
    assert new.id != old.id
    assert await content(reader, 99) == b"old"
    assert await content(await store.open(new), 99) == b"newer"


async def test_readers_of_an_artifact_that_is_replaced_again_and_again_finish_exact(store: ArtifactStore) -> None:
    contents = [noise(200_000, seed) for seed in range(5)]
    readers = [await store.open(await store.put("image-app@v1", Bytes(each))) for each in contents]

    found = await asyncio.gather(*(content(reader, 200_000) for reader in readers))

    assert found == contents


async def test_concurrent_puts_of_one_name_leave_whole_artifacts_only(store: ArtifactStore) -> None:
    contents = [noise(5 * MIB, seed)[:MIB] for seed in range(6)]

    await asyncio.gather(*(store.put("image-app@v1", Bytes(each)) for each in contents))

    for artifact in await store.listed():
        assert await content(await store.open(artifact), MIB) in contents


async def test_what_was_deleted_is_gone_but_for_its_readers(store: ArtifactStore) -> None:
    artifact = await store.put("image-app@v1", Bytes(b"content"))
    other = await store.put("image-app@v2", Bytes(b"other"))
    reader = await store.open(artifact)

    await store.delete(artifact)

    assert await store.listed() == [other]
    assert await content(reader, 99) == b"content"
    with pytest.raises(ArtifactGone):
        await store.open(artifact)


async def test_deleting_twice_is_no_error_and_never_hits_a_successor(store: ArtifactStore) -> None:
    old = await store.put("image-app@v1", Bytes(b"old"))
    await store.delete(old)
    new = await store.put("image-app@v1", Bytes(b"new"))

    await store.delete(old)

    assert await store.listed() == [new]


async def test_an_artifact_that_never_was_can_be_neither_opened_nor_deleted(store: ArtifactStore) -> None:
    real = await store.put("image-app@v1", Bytes(b"real"))
    other = Artifact("image-app@v0", "none", real.created, 4)

    with pytest.raises(ArtifactGone):
        await store.open(other)
    await store.delete(other)

    assert await store.listed() == [real]
