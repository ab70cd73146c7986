"""What artifacts of the run have is known to a relay with an empty disk when a push begins: nothing is sent twice."""

import asyncio
import json

import pytest

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.runtime.limits import Limits
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB, Answer, Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Delay, twirp_error
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

_NOBODY_HAS = f"sha256:{'0' * 64}"


async def head(relay: Relay, digest: object, name: str = "app") -> int:
    return (await relay.ask("HEAD", f"/v2/{name}/blobs/{digest}")).status


async def mount(relay: Relay, digest: object, source: str, name: str = "other") -> Answer:
    return await relay.ask("POST", f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")


@pytest.mark.parametrize("flavour", [Flavour.GITHUB, Flavour.FORGEJO])
async def test_a_later_job_need_not_send_any_blob_of_any_artifact(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    writer = await relays.start(actions)
    images = [await writer.push_image(f"v{number}", layers=[f"{number}".encode()]) for number in range(9)]
    blobs = [each["digest"] for image in images for each in (await writer.get(image.digest)).json["layers"]]
    later = await relays.start(actions, actions.job("deploy"))

    assert [await head(later, digest) for digest in blobs] == [200] * 9
    assert await head(later, _NOBODY_HAS) == 404
    assert await head(later, blobs[0], name="other") == 404  # what may be seen stays per repository


async def test_a_mount_makes_known_what_the_other_repository_has(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    layer = noise(MIB)
    image = await writer.push_image("v1", layers=[layer])
    named = (await writer.get("v1")).json
    blobs = [named["config"]["digest"], named["layers"][0]["digest"]]
    later = await relays.start(actions, actions.job("deploy"))

    assert [(await mount(later, digest, "app")).status for digest in blobs] == [201, 201]
    assert (await mount(later, _NOBODY_HAS, "app")).status == 202
    actions.traffic.reset()
    await later.push(image, "v2", name="other")
    assert actions.traffic.total(kinds.SIGN) == 0  # the artifact is known, and no other is looked for

    reader = await relays.start(actions, actions.job("reader"))
    assert (await pulled(reader, "v2", "other"))[blobs[1]] == layer


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_what_was_mounted_stays_though_the_tag_of_its_source_moves(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    writer = await relays.start(actions)
    config, layer = b'{"os":"linux","architecture":"amd64"}', noise(MIB)
    image = await writer.push_image("v1", layers=[layer])
    blobs = [Digest.of(config), Digest.of(layer)]
    later = await relays.start(actions, actions.job("deploy"))
    assert [(await mount(later, digest, "app")).status for digest in blobs] == [201, 201]

    await writer.push_image("v1", layers=[b"another layer"])
    later.services.lookup.catalog.forget_listing()
    await later.ask("GET", "/v2/_catalog")

    assert [await head(later, digest, "other") for digest in blobs] == [200, 200]
    await later.push(image, "v2", name="other")
    reader = await relays.start(actions, actions.job("reader"))
    assert (await pulled(reader, "v2", "other"))[str(blobs[1])] == layer


async def test_a_whole_push_looks_once_and_a_later_one_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await relays.start(actions)
    await first.push_image("v1")
    later = await relays.start(actions, actions.job("deploy"))
    actions.traffic.reset()

    assert {await head(later, _NOBODY_HAS) for _ in range(20)} == {404}
    assert actions.traffic.calls == {kinds.LIST: 1, kinds.SIGN: 1, kinds.GET_RANGE: 1}
    over = await relays.start(actions, actions.job("over"), limits=Limits(prefetch_good=0.0))
    assert await head(over, _NOBODY_HAS) == 404

    await first.push_image("v2", layers=[b"newer"])
    newer = (await first.get("v2")).json["layers"][0]["digest"]
    assert await head(later, newer) == 404
    for each in (later, over):
        each.services.lookup.catalog.forget_listing()
    assert await head(later, newer) == 404
    assert await head(over, newer) == 200  # where what was read is good no more


async def test_nobody_waits_long_for_a_slow_service_and_what_comes_late_is_known_then(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v1")
    digest = (await writer.get("v1")).json["layers"][0]["digest"]
    later = await relays.start(actions, actions.job("deploy"), limits=Limits(prefetch_wait=0.3))
    actions.plan.play(kinds.SIGN, Delay(3.0))

    assert {await head(later, digest) for _ in range(5)} == {404}  # all together, not each of them
    reading = later.services.lookup.prefetch._readings[Name.parse("app")].task
    assert not reading.done()
    await asyncio.wait({reading})
    assert await head(later, digest) == 200


async def test_what_cannot_be_read_stops_no_push_and_hides_nothing_else(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v1", layers=[b"old"])
    digest = (await writer.get("v1")).json["layers"][0]["digest"]
    await writer.push_image("v2", layers=[b"new"])
    later = await relays.start(actions, actions.job("deploy"))
    actions.plan.play(kinds.SIGN, twirp_error(400, "malformed", "no"))  # of the newest, which comes first

    assert await head(later, digest) == 200
    assert await head(later, _NOBODY_HAS) == 404
    await later.push_image("v3", layers=[b"third"])
    assert (await later.get("v3")).status == 200


async def test_a_service_that_cannot_be_asked_makes_clients_send_all(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    actions.plan.play(kinds.LIST, twirp_error(400, "malformed", "no"))

    assert await head(relay, _NOBODY_HAS) == 404
    assert (await relay.push_image("v1")).content == (await relay.get("v1")).body


async def test_the_first_push_after_a_session_has_come_knows_what_there_is(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1")
    digest = (await relays.started[0].get("v1")).json["layers"][0]["digest"]
    job = actions.job("deploy")
    later = await relays.start_without_session(actions)

    assert await head(later, digest) == 404
    session = {"token": job.token, "results_url": f"{actions.origin}/"}
    assert (await later.ask("PUT", "/relay/session", data=json.dumps(session).encode())).status == 204
    assert await head(later, digest) == 200


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.GITEA])
async def test_of_a_server_without_ranges_one_artifact_is_read_ahead_and_no_more(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    writer = await relays.start(actions)
    for number in range(4):
        await writer.push_image(f"v{number}", layers=[noise(MIB, number)])  # more than one read of its end
    digest = (await writer.get("v3")).json["layers"][0]["digest"]
    later = await relays.start(actions, actions.job("deploy"))
    actions.traffic.reset()

    assert await head(later, digest) == 200
    assert await head(later, _NOBODY_HAS) == 404
    assert actions.traffic.calls[kinds.SIGN] == 1
