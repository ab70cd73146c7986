"""Layers on their way through the spool: shared, kept while there is room, and never half of one."""

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from tests.actions_store.faulty import IMPATIENT
from tests.actions_store.relays import HASTY, Relays, blob_of, pulled
from tests.api.relay import MIB, Relay, connected, eventually, request
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Corrupt, Delay
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

LAYER = noise(9 * MIB)
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"


async def pushed(emulate: Emulate, relays: Relays, *layers: bytes) -> Emulator:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1", layers=layers or [LAYER])
    return actions


async def puller(relays: Relays, actions: Emulator, **settings: Any) -> Relay:
    """Start a relay that knows what is in the tag."""
    relay = await relays.start(actions, actions.job("deploy"), **settings)
    assert (await relay.get("v1")).status == 200
    actions.traffic.reset()
    return relay


async def test_clients_of_one_layer_share_one_download(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions)

    found = await asyncio.gather(*(blob_of(relay, DIGEST) for _ in range(4)))

    assert [each.body for each in found] == [LAYER] * 4
    assert actions.traffic.sent[kinds.GET_RANGE] < 1.02 * len(LAYER)


async def test_who_waits_for_slow_storage_keeps_nobody_waiting(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    tempo = replace(HASTY, stall=30, transfer=30)
    relay = await puller(relays, actions, tempo=tempo, memory_budget=16 * MIB, download_concurrency=1)
    near = await relay.push_blob(b"of this job")
    actions.plan.play(kinds.GET_RANGE, Delay(20), skip=1)
    async with AsyncExitStack() as stack, asyncio.timeout(15):
        for _ in range(8):  # as many as there are turns
            reader, _ = await stack.enter_async_context(
                connected(relay.port, request("GET", f"/v2/app/blobs/{DIGEST}"))
            )
            await reader.readexactly(4 * MIB)  # what came with the first range
        await asyncio.sleep(0.2)  # now each wants what is not there

        found = await blob_of(relay, near)

    assert found.body == b"of this job"


async def test_what_was_downloaded_is_not_downloaded_again(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions)
    await blob_of(relay, DIGEST)
    await eventually(lambda: relay.files("uploads") == [])
    actions.traffic.reset()

    assert (await blob_of(relay, DIGEST)).body == LAYER

    assert actions.traffic.blob_requests == 0


async def test_a_layer_that_does_not_fit_the_cache_is_handed_through(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions, spool_limit=MIB)

    assert (await blob_of(relay, DIGEST)).body == LAYER

    assert relay.files("uploads") == relay.files("blobs") == []
    assert actions.traffic.peak[kinds.GET_RANGE] > 1


async def test_the_cache_keeps_what_was_used_last_within_its_limit(emulate: Emulate, relays: Relays) -> None:
    layers = [noise(2 * MIB, seed) for seed in range(4)]
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    actions = await pushed(emulate, relays, *layers)
    relay = await puller(relays, actions, spool_limit=5 * MIB)

    for digest in (*digests[:2], digests[0], *digests[2:3]):
        await blob_of(relay, digest)
        await eventually(lambda: relay.files("uploads") == [])

    await eventually(
        lambda: sorted(relay.files("blobs/sha256")) == sorted(each[7:] for each in (digests[0], digests[2]))
    )
    assert (await blob_of(relay, digests[1])).body == layers[1]


async def test_a_pushed_layer_stays_as_cache_and_what_is_not_durable_is_never_given_up(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions, spool_limit=MIB)
    open_layer = await relay.push_blob(noise(3 * MIB, 7))

    await relay.push_image("v1", layers=[noise(2 * MIB, 8)])

    assert open_layer.hex in "".join(relay.files("blobs"))
    small = await relays.start(actions)
    await small.push_image("v2", layers=[noise(2 * MIB, 8)])
    assert len(small.files("blobs/sha256")) == 2  # layer and config


async def test_a_download_that_fails_cuts_its_readers_and_leaves_no_file(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions, tempo=replace(IMPATIENT, rest=0.0))
    actions.plan.play(kinds.GET_RANGE, Answer(503), times=None, skip=1)

    for found in await asyncio.gather(*(blob_of(relay, DIGEST) for _ in range(3)), return_exceptions=True):
        assert isinstance(found, aiohttp.ClientPayloadError) or (
            not isinstance(found, BaseException) and found.status > 400
        )
    actions.plan.clear()

    await eventually(lambda: relay.files("uploads") == [])
    assert relay.files("blobs") == []
    assert (await blob_of(relay, DIGEST)).body == LAYER


async def test_a_piece_that_comes_damaged_every_time_is_never_served(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions)
    actions.plan.play(kinds.GET_RANGE, Corrupt(1000), times=None)

    answer = await blob_of(relay, DIGEST)
    asked_by_a_push = await relay.ask("HEAD", f"/v2/app/blobs/{DIGEST}")
    actions.plan.clear()

    assert answer.error == (500, "UNKNOWN")
    assert asked_by_a_push.status == 404
    assert (await blob_of(relay, DIGEST)).body == LAYER
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 200


async def test_what_is_damaged_in_storage_is_healed_by_pushing_again(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions)
    actions.plan.play(kinds.GET_RANGE, Corrupt(1000), times=None)
    assert (await blob_of(relay, DIGEST)).status == 500

    await relay.push_image("v1", layers=[LAYER])
    actions.plan.clear()

    (image,) = (await relay.ask("GET", "/relay/images")).json["images"]
    assert image["artifact"] == "image-app@v1~2"
    assert (await pulled(await puller(relays, actions), "v1"))[DIGEST] == LAYER


async def test_a_client_that_leaves_harms_nobody_else(emulate: Emulate, relays: Relays) -> None:
    actions = await pushed(emulate, relays)
    relay = await puller(relays, actions)
    actions.plan.play(kinds.GET_RANGE, Delay(0.3))
    leaving = asyncio.create_task(blob_of(relay, DIGEST))
    staying = asyncio.create_task(blob_of(relay, DIGEST))
    await eventually(lambda: actions.traffic.calls[kinds.GET_RANGE] > 0)

    leaving.cancel()

    assert (await staying).body == LAYER


@pytest.mark.parametrize("budget", [8 * MIB, 64 * MIB])
async def test_transfers_stay_within_the_one_budget_and_give_all_of_it_back(
    emulate: Emulate, relays: Relays, budget: int
) -> None:
    layers = [noise(20 * MIB, seed) for seed in range(2)]
    actions = await pushed(emulate, relays, *layers)
    relay = await puller(relays, actions, memory_budget=budget)

    await pulled(relay, "v1")

    memory = relay.services.memory
    await eventually(lambda: memory._free == budget)  # the client may have all before the answer has ended here
    assert relay.services.spool.root.exists()


async def test_what_is_deleted_during_a_pull_is_told_and_comes_from_another_artifact_that_has_it(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v2", layers=[LAYER])
    await writer.push_image("v1", layers=[LAYER])
    relay = await relays.start(actions, actions.job("deploy"))
    assert (await relay.get("v1")).status == 200
    assert (await writer.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    actions.expire_urls()

    refused = await blob_of(relay, DIGEST)

    assert refused.status == 404
    assert refused.message.startswith("image-app@v1 was deleted, or has expired, while it was read; pull again")
    assert (await blob_of(relay, DIGEST)).body == LAYER
