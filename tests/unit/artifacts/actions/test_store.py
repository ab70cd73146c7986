"""The Actions store below the catalog: names, refusals, and what other servers say yes to."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from yarl import URL

from proxy.artifacts.actions.azure import BlobStorage, content_headers
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.base import Artifact, ArtifactGone, StoreRefused
from proxy.runtime.memory import MemoryBudget
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer, Delay, twirp_error
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.fakes.memory_store import Bytes
from tests.registry_harness import noise
from tests.unit.artifacts.service import MIB, connected, opened

SOME = Artifact("image-app@v1", "1", datetime.now(UTC), 5, "run:job")


class Huge(Bytes):
    """A body that is larger than any artifact."""

    size = 50_000 * 4 * MIB


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[ActionsStore]:
    """A store that no session has opened."""
    async with connected() as http:
        yield ActionsStore(BlobStorage(http, MemoryBudget(0)), TrustedHosts(frozenset()), tmp_path)


async def test_without_a_session_it_is_empty_and_says_what_is_missing(closed: ActionsStore) -> None:
    assert await closed.listed() == []
    assert closed.may_replace(SOME)
    with pytest.raises(ArtifactGone):
        await closed.open(SOME)
    for attempt in (closed.put("x", Bytes(b"x")), closed.delete(SOME)):
        with pytest.raises(StoreRefused, match="there is no session"):
            await attempt
    assert closed.closed == "there is no session"


async def test_what_has_more_blocks_than_storage_takes_is_refused_before_anything_is_created(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        with pytest.raises(StoreRefused, match="an artifact takes 209715200000"):
            await store.put("x", Huge())

    assert actions.traffic.results_calls == 0


async def test_names_that_are_all_taken_are_told(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    taken = twirp_error(409, "already_exists", "an artifact with this name already exists on the workflow run")
    actions.plan.play(kinds.CREATE, taken, times=50)

    async with opened(actions, tmp_path) as store:
        with pytest.raises(StoreRefused, match="50 names of this image are taken"):
            await store.put("x", Bytes(b"x"))


async def test_an_upload_that_breaks_under_every_name_is_told_with_its_last_reason(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate()
    actions.plan.play(kinds.PUT_BLOCK, Answer(503), times=24)

    async with opened(actions, tmp_path) as store:
        with pytest.raises(StoreRefused, match=r"\(blob storage answered 503\); try again later"):
            await store.put("x", Bytes(b"x"))

    assert actions.traffic.calls[kinds.CREATE] == 3


async def test_a_url_that_is_refused_at_once_is_tried_as_patiently_as_a_call(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    actions.plan.play(kinds.PUT_BLOCK, Answer(403), times=6)

    async with opened(actions, tmp_path) as store:
        assert (await store.put("x", Bytes(b"x"))).name == "x~7"

        actions.plan.play(kinds.PUT_BLOCK, Answer(403), times=None)
        with pytest.raises(StoreRefused, match=r"\(blob storage does not accept the URL for it\); try again later"):
            await store.put("y", Bytes(b"y"))
    actions.plan.clear()


async def test_a_server_that_appends_is_given_as_many_tries_as_a_call(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.ACT)
    actions.plan.play(kinds.PUT_BLOCK, Answer(503), times=7)

    async with opened(actions, tmp_path) as store:
        with pytest.raises(StoreRefused, match="blob storage answered 503"):
            await store.put("x", Bytes(b"x"))


@pytest.mark.parametrize("status", [400, 404, 409])
async def test_a_finish_that_is_refused_for_good_gives_the_name_up(
    emulate: Emulate, tmp_path: Path, status: int
) -> None:
    actions = emulate()
    actions.plan.play(kinds.FINALIZE, Answer(status))

    async with opened(actions, tmp_path) as store:
        assert (await store.put("x", Bytes(b"x"))).name == "x~2"


@pytest.mark.parametrize("status", [400, 409])
async def test_unless_it_was_finished_all_the_same(emulate: Emulate, tmp_path: Path, status: int) -> None:
    actions = emulate()
    actions.plan.play(kinds.FINALIZE, Answer(status, effect=True))

    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(b"x"))
        assert await store.listed() == [artifact]

    assert artifact.name == "x"


async def test_forgejo_says_yes_to_what_it_did_not_finish_and_is_not_believed(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.FORGEJO)
    actions.plan.play(kinds.PUT_BLOCK, Answer(201), skip=1)  # taken, and lost

    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(noise(5 * MIB)))
        source = await store.open(artifact)

        assert artifact.name == "x~2"
        assert await source.read(0, 6 * MIB, bytes) == noise(5 * MIB)


async def test_act_says_yes_to_everything_and_is_read_back(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.ACT)
    actions.plan.play(kinds.PUT_BLOCK, Answer(201), skip=1)  # taken, and lost

    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(noise(5 * MIB)))
        source = await store.open(artifact)

        assert artifact.name == "x~2"
        assert await source.read(0, 6 * MIB, bytes) == noise(5 * MIB)


async def test_a_url_that_leads_elsewhere_is_not_followed(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(noise(MIB)))
    async with opened(actions, tmp_path, trusted="elsewhere.test") as store:
        with pytest.raises(StoreRefused, match="is not trusted"):
            await store.put("y", Bytes(b"y"))
        with pytest.raises(StoreRefused, match="is not trusted"):
            await store.open(artifact)

    assert actions.traffic.calls[kinds.PUT_BLOCK] == 1


async def test_what_was_stored_is_ready_for_its_first_reader_and_forgotten_if_none_comes(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        store.kept = 1
        first, second = [await store.put(name, Bytes(b"content")) for name in ("x", "y")]
        actions.traffic.reset()

        assert await (await store.open(second)).read(0, 9, bytes) == b"content"
        assert actions.traffic.calls == {}
        assert await (await store.open(first)).read(0, 9, bytes) == b"content"
        assert actions.traffic.calls == {kinds.SIGN: 1, kinds.GET_RANGE: 1}


async def test_creation_goes_on_in_order_when_the_clock_of_the_service_is_set_back(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        actions.options.ahead = 9 * 86400.0
        first = await store.put("x", Bytes(b"1"))
        actions.options.ahead = 0.0
        await store.listed()  # which tells the time

        second = await store.put("x", Bytes(b"2"))

    assert second.created >= first.created
    assert second.name == "x~2"


async def test_what_blob_storage_is_told_of_a_bare_archive_can_be_a_header() -> None:
    told = content_headers('image-ü"\r\n@v1.tar.zst', is_raw=True)["x-ms-blob-content-disposition"]

    assert told.isascii()
    assert told.isprintable()
    assert told.endswith("filename*=UTF-8''image-%C3%BC%22%0D%0A%40v1.tar.zst")


async def test_an_artifact_of_act_that_is_there_and_cannot_be_read_is_not_called_gone(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate(flavour=Flavour.ACT)
    async with opened(actions, tmp_path) as store:
        await store.put("x", Bytes(b"content"))
        store._own.clear()
        (artifact,) = await store.listed()
        actions.plan.play("get_*", Answer(503), times=8)

        with pytest.raises(StoreRefused, match="cannot be read"):
            await store.open(artifact)


async def test_a_deletion_that_changes_nothing_ends(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(b"content"))
        actions.plan.play(kinds.DELETE, Answer(404), times=8)

        with pytest.raises(StoreRefused, match="does not know x yet; delete it again in a minute"):
            await store.delete(artifact)

        assert actions.traffic.calls[kinds.DELETE] == 8
        assert await store.delete(artifact)


async def test_what_reads_otherwise_may_take_its_place(closed: ActionsStore) -> None:
    class Other:
        by_name = False
        undeletable = "kept"

        async def listed(self) -> list[Artifact]:
            return [SOME]

        def expire(self) -> None:
            pass

        async def sign(self, artifact: Artifact) -> URL:
            return URL(f"https://elsewhere.example/{artifact.id}")

        async def delete(self, _: Artifact) -> bool:
            return True

    closed.read_with(Other(), "read-only")

    assert await closed.listed() == [SOME]
    assert closed.closed == "read-only"
    with pytest.raises(StoreRefused, match="kept"):
        await closed.delete(SOME)
    with pytest.raises(StoreRefused, match="is not trusted"):
        await closed.open(SOME)


async def test_a_put_that_is_cancelled_while_it_takes_its_name_is_not_listed(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.FORGEJO)
    async with opened(actions, tmp_path) as store:
        actions.plan.play(kinds.CREATE, Delay(30, effect=True))
        putting = asyncio.create_task(store.put("x", Bytes(b"content")))
        async with asyncio.timeout(10):
            while not await store.listed():
                pass

        putting.cancel()
        await asyncio.wait({putting})

        assert await store.listed() == []
