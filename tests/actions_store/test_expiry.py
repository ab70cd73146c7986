"""URLs that end before the transfer does, and bare archives."""

import asyncio

import pytest

from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays, blob_of, pulled
from tests.api.relay import MIB, Relay, eventually
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.faults import Answer, Delay
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise


async def hand_over(relay: Relay, actions: Emulator, job: Job) -> int:
    """Hand a session over; return the status."""
    session = {"token": job.token, "results_url": actions.origin}
    return (await relay.ask("PUT", "/relay/session", json=session)).status


@pytest.mark.parametrize("flavour", [Flavour.GITHUB, Flavour.GITEA])
async def test_an_upload_that_outlives_its_url_starts_again_under_another_name(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour, upload_lifetime=1.0)
    relay = await relays.start(actions)
    actions.plan.play(kinds.PUT_BLOCK, Delay(1.2))

    pushed = await relay.push_image("v1", layers=[noise(5 * MIB)])

    assert actions.traffic.calls[kinds.CREATE] == 2
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


async def test_a_url_that_is_about_to_end_is_not_used_any_more(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(upload_lifetime=1.0)
    relay = await relays.start(actions)
    actions.plan.play(kinds.PUT_BLOCK, Answer(503), times=6)

    answer = await relay.push_image("v1", layers=[b"layer"])

    assert answer.content
    assert (kinds.PUT_BLOCK, 403) not in actions.traffic.answers


async def test_a_push_that_outlives_its_token_goes_on_with_that_of_a_newer_session(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    builder = await relays.start(actions, actions.job("build", expires_in=3))
    actions.plan.play(kinds.PUT_BLOCK, Delay(3.5))
    pushing = asyncio.create_task(builder.push_image("v1", layers=[noise(2_000_000)]))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 1)

    assert await hand_over(builder, actions, actions.job("build")) == 204
    pushed = await pushing

    assert (await builder.ask("GET", "/relay/health")).json["session"] == "active"
    assert await hand_over(builder, actions, actions.job("build", run=7777)) == 409
    await builder.push_image("v2", layers=[noise(2_000_000, 1)])
    assert (await (await relays.start(actions, actions.job("test"))).get("v1")).body == pushed.content


async def test_a_listing_that_outlives_its_token_ends_no_newer_session(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relays.limits = Limits(listing_fresh=0.1)
    builder = await relays.start(actions, actions.job("build", expires_in=3))
    await builder.push_image("v1")
    await asyncio.sleep(0.2)  # until it is listed anew
    actions.traffic.reset()
    actions.plan.play(kinds.LIST, Delay(3))
    listing = asyncio.create_task(builder.ask("GET", "/v2/app/tags/list"))
    await eventually(lambda: actions.traffic.calls[kinds.LIST] > 0)

    assert await hand_over(builder, actions, actions.job("build")) == 204
    await listing

    assert (await builder.ask("GET", "/relay/health")).json["session"] == "active"


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_download_that_outlives_its_url_goes_on_with_a_new_one(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    await (await relays.start(actions)).push_image("v1", layers=[noise(9 * MIB)])
    relay = await relays.start(actions, actions.job("deploy"))
    assert (await relay.get("v1")).status == 200
    actions.expire_urls()

    await pulled(relay, "v1")


async def test_a_bare_archive_is_uploaded_with_its_type_and_read_like_any_other(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate(check_digest=True)
    relay = await relays.start(actions, artifact_format="raw")

    pushed = await relay.push_image("v1", layers=[noise(5 * MIB)])

    assert [record.mime_type for record in actions.ledger.records] == ["application/octet-stream"]
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("status", [400, 500])
async def test_a_server_without_bare_archives_gets_a_zip(emulate: Emulate, relays: Relays, status: int) -> None:
    actions = emulate()
    relay = await relays.start(actions, artifact_format="raw")
    actions.plan.play(kinds.CREATE, Answer(status))

    pushed = await relay.push_image("v1", layers=[noise(5 * MIB)])

    assert [record.mime_type for record in actions.ledger.records] == ["application/zip"]
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA, Flavour.FORGEJO])
async def test_and_so_do_the_servers_that_are_older_than_that(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    relay = await relays.start(actions, artifact_format="raw")

    pushed = await relay.push_image("v1", layers=[noise(5 * MIB)])

    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


async def test_a_create_that_fails_for_another_reason_is_made_again_as_it_was(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions, artifact_format="raw")
    actions.plan.play(kinds.CREATE, Answer(503))

    await relay.push_image("v1")

    assert [record.mime_type for record in actions.ledger.records] == ["application/octet-stream"]


@pytest.mark.parametrize(("days", "kept"), [(1, 1), (90, 90), (200, 90)])
async def test_an_artifact_is_kept_as_long_as_is_set_and_the_repository_allows(
    emulate: Emulate, relays: Relays, days: int, kept: int
) -> None:
    actions = emulate()
    relay = await relays.start(actions, retention_days=days)

    await relay.push_image("v1")

    (record,) = actions.ledger.records
    assert round((record.expires_at - record.created_at).total_seconds() / 86400) == kept


async def test_a_range_and_a_head_download_no_layer(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    layer = noise(9 * MIB)
    await (await relays.start(actions)).push_image("v1", layers=[layer])
    relay = await relays.start(actions, actions.job("deploy"))
    (descriptor,) = (await relay.get("v1")).json["layers"]
    actions.traffic.reset()

    head = await relay.ask("HEAD", f"/v2/app/blobs/{descriptor['digest']}")
    assert (head.status, actions.traffic.blob_requests) == (200, 0)
    part = await blob_of(relay, descriptor["digest"], Range="bytes=5000000-5000099")

    assert part.body == layer[5_000_000:5_000_100]
    assert actions.traffic.sent[kinds.GET_RANGE] < 5 * MIB
