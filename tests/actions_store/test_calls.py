"""How many requests a push and a pull cost: the service is slow, and shared by all jobs."""

from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB
from tests.fakes.actions import kinds
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise


async def test_a_push_is_five_calls_and_the_same_push_again_is_at_most_one_without_a_block(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)

    await relay.push_image("v1", layers=[noise(5 * MIB)])
    first = dict(actions.traffic.calls)
    actions.traffic.reset()
    await relay.push_image("v1", layers=[noise(5 * MIB)])

    assert first == {kinds.LIST: 3, kinds.CREATE: 1, kinds.PUT_BLOCK: 2, kinds.PUT_BLOCK_LIST: 1, kinds.FINALIZE: 1}
    assert actions.traffic.results_calls <= 1
    assert actions.traffic.blob_requests == 0


async def test_a_cold_pull_of_a_tag_is_two_calls_and_one_ranged_read_before_the_manifest_is_answered(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[noise(5 * MIB), b"small"])
    relay = await relays.start(actions, actions.job("deploy"))
    actions.traffic.reset()

    answer = await relay.get("v1")

    assert answer.body == pushed.content
    assert actions.traffic.calls == {kinds.LIST: 1, kinds.SIGN: 1, kinds.GET_RANGE: 1}


async def test_metadata_larger_than_usual_take_one_read_more(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    layers = [noise(60_000, seed) for seed in range(10)]
    pushed = await (await relays.start(actions)).push_image("v1", layers=layers)
    relay = await relays.start(actions, actions.job("deploy"))
    actions.traffic.reset()

    found = await pulled(relay, "v1")

    assert found["manifest"] == pushed.content
    assert actions.traffic.calls == {kinds.LIST: 1, kinds.SIGN: 1, kinds.GET_RANGE: 2}


async def test_a_push_that_takes_its_time_is_seven_calls(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(listing_fresh=0.0))
    await relay.get("v1")  # clients ask whether it is there, and push when that listing is no longer fresh

    await relay.push_image("v2", layers=[noise(5 * MIB)])

    # For the clients' question, as the push begins and ends, before it is finished and after.
    assert actions.traffic.calls[kinds.LIST] <= 6
    assert actions.traffic.calls[kinds.CREATE] == actions.traffic.calls[kinds.FINALIZE] == 1


async def test_the_heads_of_all_blobs_of_a_push_are_one_listing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(listing_fresh=0.0))

    answers = [await relay.ask("HEAD", f"/v2/app/blobs/sha256:{number:064}") for number in range(20)]

    assert {answer.status for answer in answers} == {404}
    assert actions.traffic.calls == {kinds.LIST: 1}


async def test_of_a_tag_that_was_pushed_often_only_the_newest_artifact_is_read(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    for number in range(5):
        await writer.push_image("v1", layers=[f"{number}".encode()])
    relay = await relays.start(actions, actions.job("deploy"))
    actions.traffic.reset()

    assert (await relay.get("v1")).status == 200
    assert actions.traffic.calls == {kinds.LIST: 1, kinds.SIGN: 1, kinds.GET_RANGE: 1}
