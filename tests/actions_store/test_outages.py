"""A service or storage that stays dead, hangs or trickles: each request has an end, and the next is told at once."""

import asyncio
from dataclasses import replace

import pytest

from tests.actions_store.faulty import IMPATIENT, OF_CALLS, OF_RANGES
from tests.actions_store.relays import Relays, blob_of, pulled
from tests.api.relay import MIB, Relay, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, BodyTrickle, Delay, Fault
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

LAYER = noise(3 * MIB)
SOON = 20.0  # seconds; without an end to the tries it would be minutes
WEARY = replace(IMPATIENT, call=0.6, finalize=0.6, commit=0.6, stall=0.4, answer=0.6, patience=0.5, rest=3600.0)
CALLS = [
    (kind, fault)
    for kind in (kinds.LIST, kinds.SIGN)
    for fault in OF_CALLS
    if (kind, fault) != (kinds.LIST, "reset")  # so act says that there is nothing
]
CURED = {"whole", "no place", "other place"}  # the artifact is read as a whole instead


async def refused(relay: Relay, path: str) -> str:
    async with asyncio.timeout(SOON):
        answer = await relay.ask("GET", path)
    assert answer.error == (403, "DENIED")
    return answer.message


async def asked_for(actions: Emulator, kind: str) -> int:
    """Return how often something was asked for; what was given up may be counted after the answer."""
    asked, looks = -1, 0
    while looks < 20:
        await asyncio.sleep(0.01)
        before, asked = asked, actions.traffic.calls[kind]
        looks = looks + 1 if asked == before else 0
    return asked


@pytest.mark.parametrize(("kind", "fault"), CALLS)
async def test_a_call_that_never_goes_well_is_told_and_then_at_once(
    emulate: Emulate, relays: Relays, kind: str, fault: str
) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1")
    relay = await relays.start(actions, actions.job("deploy"), WEARY)
    actions.plan.play(kind, OF_CALLS[fault], times=None)

    first = await refused(relay, "/v2/app/manifests/v1")
    asked = await asked_for(actions, kind)
    second = await refused(relay, "/v2/app/manifests/v1")

    assert first == second
    assert actions.traffic.calls[kind] == asked


@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/app/tags/list", "/relay/images", "/relay/images/app:v1"])
async def test_whatever_is_read_is_told_at_once_what_has_failed(emulate: Emulate, relays: Relays, path: str) -> None:
    actions = emulate()
    relay = await relays.start(actions, tempo=WEARY)
    actions.plan.play(kinds.LIST, Answer(503), times=None)
    await refused(relay, "/v2/app/manifests/v1")
    asked = actions.traffic.calls[kinds.LIST]

    await refused(relay, path)

    assert actions.traffic.calls[kinds.LIST] == asked


async def test_the_summary_of_many_images_waits_once_for_a_service_that_is_away(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    limits = replace(relays.limits, listing_fresh=0.0)  # each look is a new one
    relay, other = [await relays.start(actions, actions.job(name), WEARY, limits) for name in ("build", "other")]
    for tag in ("v1", "v2", "v3"):
        await relay.push_image(tag)
    actions.plan.play(kinds.LIST, Answer(503), times=None)
    before = await asked_for(actions, kinds.LIST)
    await refused(other, "/v2/app/tags/list")
    once = await asked_for(actions, kinds.LIST) - before

    answer = await relay.ask("GET", "/relay/summary")

    assert all(f"app:{tag}" in answer.body.decode() for tag in ("v1", "v2", "v3"))
    assert await asked_for(actions, kinds.LIST) - before - once <= once + 1


@pytest.mark.parametrize(("accept", "tries_again"), [("a/1, a/2, */*", False), ("a/1, */*", True), ("a/1", True)])
async def test_the_head_of_a_pull_is_told_at_once_and_that_of_a_push_tries(
    emulate: Emulate, relays: Relays, accept: str, tries_again: bool
) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1")
    relay = await relays.start(actions, actions.job("deploy"), WEARY)
    actions.plan.play(kinds.LIST, OF_CALLS["500"], times=None)

    asked = []
    for _ in range(2):
        async with asyncio.timeout(SOON):
            answer = await relay.ask("HEAD", "/v2/app/manifests/v1", headers={"Accept": accept})
        assert answer.status == 403
        asked.append(actions.traffic.calls[kinds.LIST])

    assert (asked[1] > asked[0]) is tries_again


@pytest.mark.parametrize("fault", sorted(OF_RANGES.keys() - CURED - {"first byte", "other bytes"}))
async def test_a_layer_that_never_comes_is_told_and_then_at_once(emulate: Emulate, relays: Relays, fault: str) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"), WEARY, spool_limit=0)
    digest = (await relay.get(pushed.digest)).json["layers"][0]["digest"]
    actions.plan.play(kinds.GET_RANGE, OF_RANGES[fault], times=None)

    async with asyncio.timeout(SOON):
        assert [(await blob_of(relay, digest)).status for _ in range(2)] == [403] * 2  # two ranges are read
        asked = await asked_for(actions, kinds.GET_RANGE)
        assert (await blob_of(relay, digest)).status == 403

    assert actions.traffic.calls[kinds.GET_RANGE] == asked


@pytest.mark.parametrize("fault", ["first byte", "other bytes"])
async def test_a_layer_that_always_comes_damaged_is_told(emulate: Emulate, relays: Relays, fault: str) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"), WEARY, spool_limit=0)
    digest = (await relay.get(pushed.digest)).json["layers"][0]["digest"]
    actions.plan.play(kinds.GET_RANGE, OF_RANGES[fault], times=None)

    answer = await blob_of(relay, digest)

    assert answer.status >= 500, answer.body
    assert "damaged" in answer.message


@pytest.mark.parametrize("kind", [kinds.CREATE, kinds.FINALIZE, kinds.PUT_BLOCK, kinds.PUT_BLOCK_LIST])
@pytest.mark.parametrize("fault", ["stall", "trickle", "503", "reset"])
async def test_a_push_that_never_goes_well_is_told_in_time(
    emulate: Emulate, relays: Relays, kind: str, fault: str
) -> None:
    actions = emulate()
    relay = await relays.start(actions, tempo=WEARY)
    pushed = await (await relays.start(actions, actions.job("other"))).push_image("v1", layers=[LAYER])
    for content in (b'{"os":"linux","architecture":"amd64"}', LAYER):
        await relay.push_blob(content)
    actions.plan.play(kind, OF_CALLS[fault], times=None)

    async with asyncio.timeout(SOON):
        answer = await relay.put("v2", pushed.content)

    assert answer.error == (403, "DENIED")
    assert "try again later" in answer.message


async def test_a_push_is_tried_while_reads_are_refused_and_ends_that(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, tempo=WEARY)
    actions.plan.play(kinds.LIST, Answer(503), times=None)
    await refused(relay, "/v2/app/tags/list")
    actions.plan.clear()

    await relay.push_image("v1")

    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v1"]


async def test_an_index_is_stored_although_a_read_of_what_it_names_has_just_failed(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    child = await (await relays.start(actions)).push_image("v1")
    relay = await relays.start(actions, actions.job("deploy"), WEARY)
    actions.plan.play(kinds.SIGN, Answer(503), times=None)
    await refused(relay, f"/v2/app/manifests/{child.digest}")
    actions.plan.clear()

    await relay.push(pushed_index(child.descriptor()), "v2")

    assert (await relay.get(child.digest)).body == child.content


async def test_one_read_finds_out_that_all_is_well_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1")
    relay = await relays.start(actions, actions.job("deploy"), replace(WEARY, rest=0.0))
    actions.plan.play(kinds.LIST, Answer(503), times=None)
    await refused(relay, "/v2/app/manifests/v1")
    asked = actions.traffic.calls[kinds.LIST]
    await refused(relay, "/v2/app/manifests/v1")
    assert actions.traffic.calls[kinds.LIST] == asked + 1  # it tries once
    actions.plan.clear()

    assert (await relay.get("v1")).status == 200


@pytest.mark.parametrize("pause", [Delay(0.7), Delay(0.7, effect=True)])
async def test_a_push_whose_bytes_move_takes_as_long_as_it_takes(
    emulate: Emulate, relays: Relays, pause: Fault
) -> None:
    actions = emulate()
    tempo = replace(WEARY, patience=2, answer=2, commit=2)
    relay = await relays.start(actions, tempo=tempo, upload_concurrency=1)
    actions.plan.play(kinds.PUT_BLOCK, pause, times=None)

    await relay.push_image("v1", layers=[noise(12 * MIB)])  # of which no block is sent beside another

    actions.plan.clear()
    assert len(await pulled(await relays.start(actions, actions.job("deploy")), "v1")) == 3


async def test_a_layer_that_trickles_in_is_read_as_long_as_it_comes(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    tempo = replace(WEARY, patience=2, transfer=0.2)
    relay = await relays.start(actions, actions.job("deploy"), tempo, spool_limit=0)
    digest = (await relay.get(pushed.digest)).json["layers"][0]["digest"]
    actions.plan.play(kinds.GET_RANGE, BodyTrickle(2 * MIB, 0.0), times=1)

    assert (await blob_of(relay, digest)).body == LAYER
