"""Listings that lack for a while what is there: an answer that was right once does not become wrong again."""

import asyncio
import json

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store import foreign_images
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import eventually
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Delay
from tests.fakes.actions.fixtures import Emulate


@pytest.fixture(autouse=True)
def listed_each_time(relays: Relays) -> None:
    relays.limits = Limits(listing_fresh=0.0)


async def listing(actions: Emulator) -> Answer:
    """What the service says now, to be said again later."""
    return Answer(200, json.dumps(await foreign_images.call(actions, actions.job(), kinds.LIST)), "application/json")


@pytest.mark.parametrize("times", [1, 3])
async def test_a_tag_never_falls_back_because_a_listing_lacks_its_artifact(
    emulate: Emulate, relays: Relays, times: int
) -> None:
    actions = emulate()
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    await writer.push_image("v1", layers=[b"old"])
    half = await listing(actions)
    pushed = await writer.push_image("v1", layers=[b"new"])
    for each in (writer, reader):
        assert (await each.get("v1")).body == pushed.content
    actions.plan.play(kinds.LIST, half, times=2 * times)

    for each in (writer, reader) * times:
        assert (await each.get("v1")).body == pushed.content
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


async def test_what_somebody_deleted_is_gone_at_once_and_the_older_one_answers(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    old = await writer.push_image("v1", layers=[b"old"])
    new = await writer.push_image("v1", layers=[b"new"])
    assert (await reader.get("v1")).body == new.content

    await foreign_images.call(actions, actions.job(), kinds.DELETE, name="image-app@v1~2")

    assert (await reader.get("v1")).body == old.content
    assert (await reader.get(new.digest)).status == 404


async def test_what_is_deleted_between_its_listing_and_its_opening_is_passed_over(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    old = await writer.push_image("v1", layers=[b"old"])
    await writer.push_image("v1", layers=[b"new"])
    actions.plan.play(kinds.SIGN, Delay(0.3))
    asking = asyncio.ensure_future(reader.get("v1"))
    await eventually(lambda: actions.traffic.calls[kinds.SIGN] == 1)

    await foreign_images.call(actions, actions.job(), kinds.DELETE, name="image-app@v1~2")

    assert (await asking).body == old.content


async def test_what_was_stored_a_moment_ago_can_be_deleted_before_it_is_listed(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    empty = await listing(actions)
    actions.plan.play(kinds.LIST, empty, times=None)
    await relay.push_image("v1")

    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    actions.plan.clear()
    assert (await relay.get("v1")).status == 404
    assert actions.ledger.records == []


async def test_what_a_listing_lacks_is_deleted_all_the_same(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    empty = await listing(actions)
    await relay.push_image("v1", layers=[b"old"])
    await relay.push_image("v1", layers=[b"new"])
    assert (await relay.get("v1")).status == 200
    actions.plan.play(kinds.LIST, empty, times=None)

    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    actions.plan.clear()
    assert actions.ledger.records == []


async def test_a_deletion_that_is_not_known_to_have_worked_is_no_success(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(listed_after=3600.0)
    relay = await relays.start(actions)
    pushed = await relay.push_image("v1")

    refused = await relay.ask("DELETE", "/v2/app/manifests/v1")

    assert refused.error == (403, "DENIED")
    assert refused.message.endswith("does not know image-app@v1 yet; delete it again in a minute")
    assert (await relay.get("v1")).body == pushed.content
    actions.options.listed_after = 0.0
    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    assert (await relay.get("v1")).status == 404


async def test_what_was_deleted_is_gone_although_listings_still_show_it(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    await relay.push_image("v1", layers=[b"old"])
    actions.plan.play(kinds.LIST, await listing(actions), times=None)

    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    assert (await relay.get("v1")).status == 404
    pushed = await relay.push_image("v1", layers=[b"new"])
    assert (await relay.get("v1")).body == pushed.content
