"""Pulls that wait for an image which another job is about to push (RELAY_WAIT)."""

import asyncio

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import Answer, Relay, eventually
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Answer as Other
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour

QUICK = Limits(listing_fresh=0.0, wait_pauses=(0.05, 0.1))
TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")
CONTAINERD = {"Accept": ", ".join([*TYPES, "*/*"]), "User-Agent": "containerd/2.1.9"}
GRAPH_STORE = {"Accept": ", ".join([*TYPES, "text/plain"]), "User-Agent": "docker/20.10.24+dfsg1"}


async def ask(relay: Relay, method: str, tag: str = "v1", **headers: str) -> Answer:
    """Ask for a manifest as a client does that follows redirects."""
    return await relay.ask(method, f"/v2/app/manifests/{tag}", headers=headers, allow_redirects=True)


async def waited_for(relay: Relay, tags: int = 1) -> None:
    await eventually(lambda: len(relay.services.pull_wait.tags) == tags)


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_pull_waits_until_the_image_is_there(emulate: Emulate, relays: Relays, flavour: Flavour) -> None:
    relays.limits = QUICK
    actions = emulate(flavour=flavour)
    producer, consumer = await relays.start(actions), await relays.start(actions, actions.job("test"), wait=30)
    pulling = asyncio.create_task(ask(consumer, "GET"))
    await waited_for(consumer)

    pushed = await producer.push_image("v1")

    assert (await pulling).body == pushed.content
    assert (await pulled(consumer, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("headers", [CONTAINERD, GRAPH_STORE], ids=["containerd", "classic store"])
async def test_an_engine_that_begins_with_a_head_waits_too(
    emulate: Emulate, relays: Relays, headers: dict[str, str]
) -> None:
    relays.limits = QUICK
    actions = emulate()
    producer, consumer = await relays.start(actions), await relays.start(actions, actions.job("test"), wait=30)
    pulling = asyncio.create_task(ask(consumer, "HEAD", **headers))
    await waited_for(consumer)

    pushed = await producer.push_image("v1")

    answer = await pulling
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, str(pushed.digest))


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": f"{TYPES[0]}, */*", "User-Agent": "docker/28.5.2 containerd-client/2.1.9"},
        {"Accept": ",".join([*TYPES, "text/plain"]), "User-Agent": "crane/v0.20 go-containerregistry/v0.20"},
        {"Accept": ",".join([*TYPES, "text/plain"]), "User-Agent": "regclient/regctl (v0.11)"},
        {},
    ],
    ids=["containerd", "crane", "regctl", "curl"],
)
async def test_who_looks_before_a_push_is_answered_at_once(
    emulate: Emulate, relays: Relays, headers: dict[str, str]
) -> None:
    relay = await relays.start(emulate(), wait=3600)

    async with asyncio.timeout(30):
        assert (await ask(relay, "HEAD", **headers)).status == 404


async def test_a_client_is_redirected_to_itself_while_it_waits(emulate: Emulate, relays: Relays) -> None:
    limits = Limits(listing_fresh=0.0, wait_pauses=(0.05,), first_answer=0.2)
    actions = emulate()
    consumer = await relays.start(actions, wait=30, limits=limits)

    told = await consumer.get("v1")

    assert told.status == 307
    assert told.headers["Location"].startswith("/v2/app/manifests/v1?waiting=")


async def test_when_time_is_up_the_refusal_says_so_and_nobody_waits_again_at_once(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    relays.limits = QUICK
    actions = emulate()
    relay = await relays.start(actions, wait=0.5)
    await relay.push_image("v2")

    refused = await ask(relay, "GET")
    again = [await ask(relay, method, **CONTAINERD) for method in ("HEAD", "GET") * 3]

    assert refused.error == (404, "MANIFEST_UNKNOWN")
    assert "it has: app:v2" in refused.message
    assert refused.message.endswith("It did not appear within 0.50 s (RELAY_WAIT)")
    assert {each.status for each in again} == {404}
    assert caplog.text.count("is not there yet: a pull waits for it") == 1
    assert caplog.text.count("app:v1 did not appear within 0.50 s (RELAY_WAIT)\n") == 1


async def test_those_who_wait_share_the_looks_and_the_pauses_grow(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(listing_fresh=0.0, wait_pauses=(0.05, 0.05, 0.05, 600.0))
    actions = emulate()
    consumer = await relays.start(actions, actions.job("test"), wait=3600, limits=limits)
    pulling = [asyncio.create_task(ask(consumer, "GET", tag)) for tag in ("a", "b", "c", "a", "b", "c")]
    await waited_for(consumer, 3)
    looked = -1
    async with asyncio.timeout(60):  # until 600 seconds have begun for all of them
        while looked != actions.traffic.calls[kinds.LIST]:
            looked = actions.traffic.calls[kinds.LIST]
            await asyncio.sleep(2)

    assert looked > 3
    assert caplog.text.count("is not there yet: a pull waits for it") == 3
    for each in pulling:
        each.cancel()


async def test_an_outage_of_the_service_is_waited_out(emulate: Emulate, relays: Relays) -> None:
    relays.limits = QUICK
    actions = emulate()
    producer, consumer = await relays.start(actions), await relays.start(actions, actions.job("test"), wait=60)
    pushed = await producer.push_image("v1")
    actions.plan.play(kinds.LIST, Other(503), times=12)

    assert (await ask(consumer, "GET")).body == pushed.content


async def test_without_the_setting_nobody_waits(emulate: Emulate, relays: Relays) -> None:
    relay = await relays.start(emulate())

    async with asyncio.timeout(30):
        assert (await ask(relay, "GET")).status == 404
        assert (await ask(relay, "HEAD", **CONTAINERD)).status == 404
