"""Clients that give up when the headers of an answer do not come: they are told to come again, and join their work."""

from dataclasses import replace

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.relays import HASTY, Relays
from tests.api.relay import MIB, Answer, Relay, pushed_image
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer as Answered
from tests.fakes.actions.faults import Delay
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

LAYER = noise(5 * MIB)
SLOW = Delay(0.3)
PATIENCE = 0.05  # seconds
STEADY = replace(HASTY, stall=5)  # a busy machine is slow as well, and that is no stall


async def followed(relay: Relay, method: str, path: str, **more: object) -> tuple[Answer, int]:
    """Request something, again as often as that is wanted; return the answer, and how often that was."""
    for hops in range(100):
        answer = await relay.ask(method, path, **more)
        if answer.status != 307:
            return answer, hops
        path = answer.headers["Location"]
    raise AssertionError("it never ends")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("kind", [kinds.LIST, kinds.SIGN, kinds.GET_RANGE])
async def test_who_asks_for_a_manifest_is_not_kept_waiting(
    emulate: Emulate, relays: Relays, method: str, kind: str
) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1")
    relay = await relays.start(actions, actions.job("deploy"), STEADY, limits=Limits(first_answer=PATIENCE))
    actions.traffic.reset()
    actions.plan.play(kind, SLOW)

    answer, hops = await followed(relay, method, "/v2/app/manifests/v1")

    assert answer.status == 200
    assert answer.headers["Docker-Content-Digest"] == str(pushed.digest)
    assert hops > 0
    assert actions.traffic.calls[kind] == 1


async def test_who_asks_for_a_layer_is_not_kept_waiting_and_it_is_downloaded_once(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"), STEADY, limits=Limits(first_answer=PATIENCE))
    digest = (await followed(relay, "GET", f"/v2/app/manifests/{pushed.digest}"))[0].json["layers"][0]["digest"]
    actions.traffic.reset()
    actions.plan.play(kinds.GET_RANGE, SLOW, times=2)  # of each range

    answer, hops = await followed(relay, "GET", f"/v2/app/blobs/{digest}")

    assert answer.body == LAYER
    assert hops > 0
    assert actions.traffic.calls[kinds.GET_RANGE] == 2


async def test_who_pushes_by_digest_is_not_kept_waiting(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(listing_fresh=0.0, first_answer=PATIENCE))
    await relay.push_blob(b"config")
    pushed = pushed_image(b"config", b"a layer that may be in an artifact")
    actions.plan.play(kinds.LIST, SLOW)

    path, headers = f"/v2/app/manifests/{pushed.digest}", {"Content-Type": pushed.media_type}
    answer, hops = await followed(relay, "PUT", path, data=pushed.content, headers=headers)

    assert answer.error == (400, "MANIFEST_BLOB_UNKNOWN")
    assert hops > 0


async def test_what_fails_in_the_end_is_told_to_who_waited(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(first_answer=PATIENCE))
    actions.plan.play(kinds.LIST, Answered(503), times=8)

    answer, hops = await followed(relay, "GET", "/v2/app/manifests/v1")

    assert answer.error == (403, "DENIED")
    assert "try again later" in answer.message
    assert hops > 0
    assert actions.traffic.calls[kinds.LIST] == 8


async def test_who_asks_anew_sees_what_was_pushed_meanwhile(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, limits=Limits(first_answer=PATIENCE))
    actions.plan.play(kinds.LIST, Delay(1.0, effect=True))
    early = await relay.get("v1")

    await relay.push_blob(b"config")
    pushed = pushed_image(b"config")
    headers = {"Content-Type": pushed.media_type}
    assert (await followed(relay, "PUT", "/v2/app/manifests/v1", data=pushed.content, headers=headers))[0].status == 201

    assert early.status == 307
    assert (await followed(relay, "GET", "/v2/app/manifests/v1"))[0].body == pushed.content
