"""Blob storage: blocks up, ranges down, over the emulator's proxy in front of Azurite, and on servers that append."""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from yarl import URL

from proxy.archive.pieces import PieceDamaged
from proxy.artifacts.actions import block_upload, blocks
from proxy.artifacts.actions.remote_file import RemoteFile, Tails
from proxy.artifacts.base import ArtifactGone, StoreRefused
from proxy.runtime import files
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer, Delay, RangeIgnored, Reset, UploadCorrupt
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.fakes.memory_store import Bytes
from tests.registry_harness import noise
from tests.unit.artifacts.service import MIB, opened


async def test_blocks_are_sent_side_by_side_in_one_size_under_ids_of_one_length(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate(check_digest=True)
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.1), times=6)

    async with opened(actions, tmp_path) as store:
        await store.put("x", Bytes(*(noise(3 * MIB, seed) for seed in range(8))))

    assert actions.traffic.calls[kinds.PUT_BLOCK] == 7  # 24 MiB and the zip
    assert actions.traffic.peak[kinds.PUT_BLOCK] > 2


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA])
async def test_where_blocks_are_appended_one_follows_the_other(
    emulate: Emulate, tmp_path: Path, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)

    async with opened(actions, tmp_path) as store:
        await store.put("x", Bytes(noise(10 * MIB)))

    assert actions.traffic.peak[kinds.PUT_BLOCK] == 1


async def test_a_connection_that_drops_never_makes_a_block_arrive_twice(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.ACT)
    actions.plan.play(kinds.PUT_BLOCK, Reset(effect=True), skip=1)

    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(noise(10 * MIB)))
        source = await store.open(artifact)

        assert artifact.name == "x~2"
        assert await source.read(0, 10 * MIB, hashlib.sha256) is not None
        assert await source.read(0, 11 * MIB, len) == 10 * MIB
    assert actions.traffic.calls[kinds.PUT_BLOCK] == 5  # two of the first upload, three of the second


async def test_a_server_that_takes_no_more_says_so_in_a_sentence(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.FORGEJO)
    actions.plan.play(kinds.PUT_BLOCK, Answer(413, "Quota exceeded"))

    async with opened(actions, tmp_path) as store:
        with pytest.raises(StoreRefused, match="used up"):
            await store.put("x", Bytes(b"content"))


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", float("inf")),
        ("se=soon", float("inf")),
        ("st=2026-01-01T00:00:00Z&se=2026-01-01T00:00:01Z", float("inf")),
        ("st=2026-01-01T00:00:00Z&se=2026-01-01T01:00:05Z", 3540),
        ("st=2026-01-01T00:00:00&se=2026-01-01T00:00:15", 9),
        ("se=2020-01-01T00:00:00Z", float("inf")),
    ],
)
def test_a_url_is_good_for_as_long_as_it_lives_whatever_the_time_is_here(query: str, seconds: float) -> None:
    deadline = block_upload._deadline(URL(f"https://host/x?{query}"))

    assert deadline == pytest.approx(time.monotonic() + seconds, abs=1)


async def test_blocks_are_cut_wherever_the_parts_end() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for size in (0, 1, blocks.BLOCK, 2 * blocks.BLOCK + 5, 0):
            yield b"x" * size

    assert [sum(map(len, block)) async for block in blocks.blocks(parts())] == [blocks.BLOCK] * 3 + [6]


async def test_an_end_is_held_until_others_were_read_more_recently() -> None:
    tails = Tails(limit=10)
    one, two, three = (object.__new__(RemoteFile) for _ in range(3))
    tails.keep(one, b"12345")
    tails.keep(two, b"123")
    assert tails.of(one) == b"12345"

    tails.keep(three, b"1234")

    assert (tails.of(one), tails.of(two), tails.of(three)) == (b"12345", b"", b"1234")
    tails.drop(one)
    tails.keep(three, b"1234567890")
    assert tails.of(three) == b"1234567890"


async def test_an_end_that_is_no_longer_held_is_read_again(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    content = noise(2 * MIB)
    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(content))
        source = await store.open(artifact)
        for name in ("y", "z"):
            other = await store.open(await store.put(name, Bytes(noise(4 * MIB + 1000))))
            await other.read(0, 4 * MIB + 1000, bytes)  # as metadata, which are held
        actions.traffic.reset()

        assert await source.read(MIB, MIB + 100, bytes) == content[MIB : MIB + 100]
        assert await source.read(2 * MIB - 100, 2 * MIB, bytes) == content[-100:]
    assert actions.traffic.calls[kinds.GET_RANGE] == 2


async def test_metadata_that_are_larger_than_usual_are_read_once(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    content = noise(2 * MIB)
    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(content))
        source = await store.open(artifact)

        for start in (MIB, MIB, MIB + 5):
            assert await source.read(start, 2 * MIB, bytes) == content[start:]
    assert actions.traffic.calls[kinds.GET_RANGE] == 1


@pytest.mark.parametrize("status", [404, 410, 412])
async def test_bytes_that_are_no_more_are_an_artifact_that_is_gone(
    emulate: Emulate, tmp_path: Path, status: int
) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(noise(MIB))))
        actions.plan.play(kinds.GET_RANGE, Answer(status))

        with pytest.raises(ArtifactGone):
            await source.read(0, 10, bytes)


async def test_bytes_that_changed_are_an_artifact_that_is_gone(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(noise(MIB))))
        await source.read(0, 10, bytes)
        await store.put("y", Bytes(noise(MIB, "other bytes")))
        actions.ledger.records[0].blob = actions.ledger.records[1].blob
        actions.expire_urls()

        with pytest.raises(ArtifactGone):
            await source.read(0, 10, bytes)


@pytest.mark.parametrize("status", [401, 403])
async def test_urls_that_are_refused_are_renewed_for_a_while_and_then_told(
    emulate: Emulate, tmp_path: Path, status: int
) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        content = noise(MIB)
        source = await store.open(await store.put("x", Bytes(content)))

        actions.plan.play(kinds.GET_RANGE, Answer(status), times=5)
        assert await source.read(0, 10, bytes) == content[:10]

        actions.plan.play(kinds.GET_RANGE, Answer(status), times=6)
        with pytest.raises(StoreRefused, match="refuses every URL"):
            await source.read(0, 10, bytes)


async def test_a_block_that_arrives_damaged_is_sent_again(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    content = noise(9 * MIB)
    actions.plan.play(kinds.PUT_BLOCK, UploadCorrupt(at=1_000_000), times=2)

    async with opened(actions, tmp_path) as store:
        stored = await store.put("x", Bytes(content))
        assert await (await store.open(stored)).read(0, len(content), bytes) == content

    assert actions.traffic.calls[kinds.PUT_BLOCK] == 3 + 2


async def test_storage_that_never_answers_is_told(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(noise(MIB))))
        actions.plan.play(kinds.GET_RANGE, Answer(503), times=8)

        with pytest.raises(StoreRefused, match="blob storage answered 503"):
            await source.read(0, 10, bytes)


@pytest.mark.parametrize("flavour", [Flavour.GITHUB, Flavour.GITEA])
async def test_a_server_that_gives_no_ranges_is_read_once_as_a_whole(
    emulate: Emulate, tmp_path: Path, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    content = noise(3 * MIB)
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(content)))
        if flavour is Flavour.GITHUB:
            actions.plan.play(kinds.GET_RANGE, RangeIgnored(), times=3)
        for start in (0, 100, MIB):
            assert await source.read(start, start + 10, bytes) == content[start : start + 10]

    assert list(tmp_path.glob("tmp*")) == []
    assert actions.traffic.calls[kinds.GET_RANGE] <= 3


@pytest.mark.parametrize("flavour", [Flavour.GITHUB, Flavour.FORGEJO])
async def test_who_asks_for_all_needs_no_server_with_ranges(emulate: Emulate, tmp_path: Path, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    content = noise(10_000)
    async with opened(actions, tmp_path) as store:
        artifact = await store.put("x", Bytes(content))
    actions.plan.play(kinds.GET_RANGE, RangeIgnored(), times=None)
    async with opened(actions, tmp_path) as another:
        source = await another.open(artifact)

        assert await source.read(0, len(content), bytes) == content
        assert isinstance(source, RemoteFile)
        assert not source.entire  # no file of this machine is open for it
    assert actions.traffic.calls[kinds.GET_RANGE] == 1


@pytest.mark.parametrize(("fault", "error"), [(Answer(503), StoreRefused), (Answer(404), ArtifactGone)])
async def test_a_whole_that_can_not_be_read_is_told(
    emulate: Emulate, tmp_path: Path, fault: Answer, error: type[Exception]
) -> None:
    actions = emulate(flavour=Flavour.GITEA)
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(noise(3 * MIB))))
        actions.plan.play(kinds.GET_RANGE, fault, times=None, skip=1)

        with pytest.raises(error):
            await source.read(0, 10, bytes)
    actions.plan.clear()


async def test_a_url_for_the_whole_may_be_refused_and_renewed(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate(flavour=Flavour.GITEA)
    content = noise(3 * MIB)
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(content)))
        actions.plan.play(kinds.GET_RANGE, Answer(401), skip=1)

        assert await source.read(0, 10, bytes) == content[:10]


async def test_a_url_whose_life_is_over_is_not_asked(emulate: Emulate, tmp_path: Path) -> None:
    actions = emulate()
    url = URL(f"{actions.blob_origin}/x?st=2026-01-01T00:00:00Z&se=2026-01-01T00:00:05.000001Z")

    async with opened(actions, tmp_path) as store:
        upload = block_upload.BlockUpload(store._storage, url, {})
        with pytest.raises(block_upload.UploadLost, match="took longer than the URL"):
            await upload.send(Bytes(b"content").parts(), 0)

    assert actions.traffic.blob_requests == 0


async def test_nothing_at_all_has_no_block() -> None:
    assert [block async for block in blocks.blocks(Bytes().parts())] == []


def damaged_once() -> Callable[[files.Bytes], bytes]:
    """Find what is read first damaged."""
    found: list[bytes] = []

    def then(stored: files.Bytes) -> bytes:
        found.append(bytes(stored))
        if len(found) == 1:
            raise PieceDamaged("as a test wants it")
        return found[-1]

    return then


@pytest.mark.parametrize("flavour", [Flavour.GITHUB, Flavour.GITEA])
@pytest.mark.parametrize("start", [0, 3 * MIB - 100])
async def test_what_is_found_damaged_is_read_again_from_the_service(
    emulate: Emulate, tmp_path: Path, flavour: Flavour, start: int
) -> None:
    actions = emulate(flavour=flavour)
    content = noise(3 * MIB)
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(content)))
        if start:
            await source.read(0, 5, bytes)
        before = actions.traffic.calls[kinds.GET_RANGE]

        assert await source.read(start, start + 50, damaged_once()) == content[start : start + 50]

    assert actions.traffic.calls[kinds.GET_RANGE] - before <= 3


async def test_readers_of_a_whole_that_is_damaged_do_not_throw_away_a_newer_copy(
    emulate: Emulate, tmp_path: Path
) -> None:
    actions = emulate(flavour=Flavour.GITEA)
    content = noise(3 * MIB)
    async with opened(actions, tmp_path) as store:
        source = await store.open(await store.put("x", Bytes(content)))
        await source.read(0, 5, bytes)
        actions.traffic.reset()
        failing, is_late, may_fail = damaged_once(), threading.Event(), threading.Event()

        def fail_late(stored: files.Bytes) -> bytes:
            is_late.set()
            may_fail.wait()
            return failing(stored)

        late = asyncio.create_task(source.read(0, 50, fail_late))
        await asyncio.to_thread(is_late.wait)
        assert await source.read(0, 50, damaged_once()) == content[:50]
        may_fail.set()

        assert await late == content[:50]
    assert actions.traffic.calls == {kinds.GET_RANGE: 2}  # which finds that there are no ranges, and all bytes
