"""How many requests a push and a pull cost: the service is slow, and shared by all jobs."""

from tests.actions.relays import Relays
from tests.fakes.actions import kinds
from tests.fakes.actions.fixtures import Emulate
from tests.front.relay import MIB, noise


async def test_a_push_is_three_calls_and_the_same_push_again_is_at_most_one_without_a_block(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)

    await relay.push_image("v1", layers=[noise(5 * MIB)])
    first = dict(actions.traffic.calls)
    actions.traffic.reset()
    await relay.push_image("v1", layers=[noise(5 * MIB)])

    assert first == {kinds.LIST: 1, kinds.CREATE: 1, kinds.PUT_BLOCK: 2, kinds.PUT_BLOCK_LIST: 1, kinds.FINALIZE: 1}
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
