"""What goes wrong between a relay and the service: an answered push is readable and exact, nothing wrong is served."""

import asyncio

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.faulty import IMPATIENT, OF_CALLS, OF_RANGES, WITH_EFFECT
from tests.actions_store.relays import AGAIN, Relays, pulled
from tests.api.relay import MIB
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer, Delay, Fault, UploadReset, burnt_name, no_storage_left, rate_limited
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

LAYER = noise(MIB)
CALLS = [kinds.LIST, kinds.CREATE, kinds.FINALIZE]
DONE = [kinds.CREATE, kinds.FINALIZE, kinds.PUT_BLOCK, kinds.PUT_BLOCK_LIST]


async def push_through(
    emulate: Emulate, relays: Relays, kind: str, fault: Fault, times: int = 1, flavour: Flavour = Flavour.GITHUB
) -> None:
    """Push with a fault on the way, and pull without one."""
    actions = emulate(flavour=flavour)
    relay = await relays.start(actions, tempo=IMPATIENT)
    actions.plan.play(kind, fault, times=times)

    pushed = await relay.push_image("v1", layers=[LAYER])

    found = await pulled(await relays.start(actions, actions.job("deploy")), "v1")
    assert found["manifest"] == pushed.content


@pytest.mark.parametrize("fault", OF_CALLS)
@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_that_fails_is_made_again(emulate: Emulate, relays: Relays, kind: str, fault: str) -> None:
    await push_through(emulate, relays, kind, OF_CALLS[fault])


@pytest.mark.parametrize("kind", [*CALLS, kinds.PUT_BLOCK, kinds.PUT_BLOCK_LIST])
async def test_a_burst_of_refusals_is_sat_out(emulate: Emulate, relays: Relays, kind: str) -> None:
    await push_through(emulate, relays, kind, Answer(503), times=5)


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
@pytest.mark.parametrize("kind", [*CALLS, kinds.PUT_BLOCK, kinds.PUT_BLOCK_LIST])
async def test_other_servers_fail_too(emulate: Emulate, relays: Relays, kind: str, flavour: Flavour) -> None:
    await push_through(emulate, relays, kind, Answer(503), flavour=flavour)


@pytest.mark.parametrize("fault", WITH_EFFECT)
@pytest.mark.parametrize("kind", DONE)
async def test_what_was_done_without_an_answer_is_not_done_wrongly_twice(
    emulate: Emulate, relays: Relays, kind: str, fault: str
) -> None:
    await push_through(emulate, relays, kind, WITH_EFFECT[fault])


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
@pytest.mark.parametrize("kind", DONE)
async def test_nor_where_blocks_are_appended_as_they_come(
    emulate: Emulate, relays: Relays, kind: str, flavour: Flavour
) -> None:
    await push_through(emulate, relays, kind, WITH_EFFECT["reset"], flavour=flavour)


@pytest.mark.parametrize("fault", ["reset", "500", "408", "stall"])
@pytest.mark.parametrize("kind", [kinds.PUT_BLOCK, kinds.PUT_BLOCK_LIST])
async def test_a_block_that_does_not_arrive_is_sent_again(
    emulate: Emulate, relays: Relays, kind: str, fault: str
) -> None:
    await push_through(emulate, relays, kind, OF_RANGES[fault])


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_block_that_breaks_halfway_is_whole_in_the_end(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    await push_through(emulate, relays, kinds.PUT_BLOCK, UploadReset(300_000), flavour=flavour)


@pytest.mark.parametrize("fault", OF_CALLS)
@pytest.mark.parametrize("kind", [kinds.LIST, kinds.SIGN])
async def test_a_pull_whose_calls_fail_ends_well(emulate: Emulate, relays: Relays, kind: str, fault: str) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"), tempo=IMPATIENT)
    actions.plan.play(kind, OF_CALLS[fault])

    assert (await pulled(relay, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("skip", [0, 1], ids=["of the index", "of a layer"])
@pytest.mark.parametrize("fault", OF_RANGES)
async def test_a_pull_whose_reads_fail_ends_well(emulate: Emulate, relays: Relays, fault: str, skip: int) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER, noise(5 * MIB)])
    relay = await relays.start(actions, actions.job("deploy"), tempo=IMPATIENT)
    actions.plan.play(kinds.GET_RANGE, OF_RANGES[fault], skip=skip)

    assert (await pulled(relay, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
@pytest.mark.parametrize("fault", ["reset", "503", "broken", "ended early", "first byte", "other bytes", "401"])
async def test_other_servers_fail_at_reads_too(emulate: Emulate, relays: Relays, fault: str, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"), tempo=IMPATIENT)
    actions.plan.play("get_*", OF_RANGES[fault], times=1)

    assert (await pulled(relay, "v1"))["manifest"] == pushed.content


async def test_a_name_that_a_failed_create_took_is_given_up(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    actions.plan.play(kinds.CREATE, burnt_name())

    await relay.push_image("v1", layers=[LAYER])

    assert [record.name for record in actions.ledger.finished()] == ["image-app@v1~2"]
    await pulled(await relays.start(actions, actions.job("deploy")), "v1")


async def test_an_artifact_that_the_service_does_not_finish_is_stored_under_another_name(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    actions.plan.play(kinds.FINALIZE, Answer(403), times=7)

    pushed = await relay.push_image("v1", layers=[LAYER])

    assert [record.name for record in actions.ledger.finished()] == ["image-app@v1~2"]
    assert (await pulled(relay, "v1"))["manifest"] == pushed.content


async def test_the_answer_to_finalize_is_lost_and_only_one_artifact_is_made(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    actions.plan.play(kinds.FINALIZE, WITH_EFFECT["reset"])

    await relay.push_image("v1", layers=[LAYER])

    assert len(list(actions.ledger.finished())) == 1


async def test_used_up_storage_is_told_at_once_and_the_next_push_goes_on(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    pushed = await relay.push_image("other", layers=[LAYER])
    actions.traffic.reset()
    actions.plan.play(kinds.CREATE, no_storage_left())

    long = "v" * 86  # with the name 90 characters
    answer = await relay.put(long, pushed.content)

    assert answer.error == (403, "DENIED")
    assert answer.message.endswith("is used up; raise the account's budget, or wait for next month")
    assert len(answer.message) <= 200
    assert actions.traffic.calls[kinds.CREATE] == 1
    assert (await relay.put(long, pushed.content)).status == 201


async def test_a_service_that_never_recovers_is_told_and_the_tag_stays_what_it_was(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    before = await relay.push_image("v1", layers=[LAYER])
    after = await relay.push_image("v2", layers=[noise(1000)])
    actions.plan.play(kinds.CREATE, Answer(503), times=8)

    answer = await relay.put("v1", after.content)

    assert answer.error == (403, "DENIED")
    assert "try again later" in answer.message
    assert (await relay.get("v1")).body == before.content


async def test_who_asks_for_patience_gets_it(emulate: Emulate, relays: Relays) -> None:
    await push_through(emulate, relays, kinds.CREATE, rate_limited(1))


async def test_an_artifact_that_cannot_be_read_never_lets_an_older_one_answer(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await relays.start(actions)
    await first.push_image("v1", layers=[b"old"])
    newer = await first.push_image("v1", layers=[b"new"])
    relay = await relays.start(actions, actions.job("deploy"))
    actions.plan.play(kinds.GET_RANGE, Answer(404), times=4)

    refused = await relay.get("v1")

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("image-app@v1~2 cannot be read: it is listed, and its bytes are not there; ")
    await asyncio.sleep(AGAIN.rest)
    assert (await relay.get("v1")).body == newer.content


async def test_a_stall_of_a_whole_push_ends_in_a_redirect_and_the_client_comes_again(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(first_answer=0.05))
    pushed = await (await relays.start(actions)).push_image("other", layers=[LAYER])
    for content in (b'{"os":"linux","architecture":"amd64"}', LAYER):
        await relay.push_blob(content)
    actions.plan.play(kinds.PUT_BLOCK_LIST, Delay(0.5))

    statuses = []
    while (answer := await relay.put("v1", pushed.content)).status == 307:
        statuses.append(answer.status)

    assert statuses
    assert answer.status == 201
