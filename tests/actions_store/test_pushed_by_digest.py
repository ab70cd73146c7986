"""What was pushed by digest and is in no artifact yet: at a flush, at the next push, and after a restart."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB, pushed_image
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.faults import Answer, Delay
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise, until

CONFIG = b'{"os":"linux","architecture":"amd64"}'
IMAGE = pushed_image(CONFIG, b"layer")


async def test_a_flush_tells_nothing_of_what_comes_while_it_works(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    other = pushed_image(CONFIG, b"another layer")
    for content in (CONFIG, b"layer", b"another layer"):
        await relay.push_blob(content)
    await relay.push(IMAGE)
    actions.plan.play(kinds.CREATE, Delay(0.5), times=1)

    flushing = asyncio.create_task(relay.flush())
    await until(lambda: actions.traffic.under_way[kinds.CREATE] > 0)
    await relay.push(other)
    first, second = await flushing, await relay.flush()

    assert (first.status, first.json) == (200, {"failed": []})
    assert (second.status, second.json) == (200, {"failed": []})
    late = await relays.start(actions, actions.job("late"))
    for image in (IMAGE, other):
        assert (await pulled(late, image.digest))["manifest"] == image.content


async def test_what_cannot_be_stored_keeps_no_tag_from_being_pushed(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    await relay.push_image("v1", layers=[b"layer"])
    await relay.push_blob(b"own")
    doomed = await relay.push(pushed_image(CONFIG, b"layer", b"own"))
    await asyncio.to_thread(damage, relay.data / "spool" / "blobs" / "sha256" / Digest.of(b"own").hex)

    newer = await relay.push_image("v1", layers=[b"newer"])

    assert (await relay.get("v1")).body == newer.content
    failed = (await relay.flush()).json["failed"]
    assert [each["reference"] for each in failed] == [f"app@{doomed.digest}"]
    assert failed[0]["problem"]


async def test_what_needs_a_layer_of_a_deleted_image_is_told_with_what_to_do(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first, relay = await relays.start(actions), await relays.start(actions, actions.job("test"))
    await first.push_image("base", layers=[b"layer"])
    await relay.push_blob(CONFIG)
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(b'layer')}")).status == 200
    await relay.push(IMAGE)
    assert (await first.ask("DELETE", "/relay/images/app:base")).status == 200
    relay.services.lookup.catalog.forget_listing()

    flushed = await relay.flush()

    problem = "a layer that it needs was deleted since with the image that had it; push it again"
    assert flushed.json == {"failed": [{"reference": f"app@{IMAGE.digest}", "problem": problem}]}
    for content in (CONFIG, b"layer"):
        await relay.push_blob(content)
    await relay.push(IMAGE)
    assert (await relay.flush()).status == 200


def damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(b"x" + content[1:])


async def test_what_a_killed_relay_had_is_told_until_its_session_comes_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    job = actions.job("build")
    before = await relays.start_without_session(actions)
    assert (await before.ask("PUT", "/relay/session", data=offer(actions, job))).status == 204
    for content in (CONFIG, b"layer"):
        await before.push_blob(content)
    await before.push(IMAGE)

    again = await relays.start_without_session(actions, data=before.data)

    reference = f"app@{IMAGE.digest}"
    failed = (await again.ask("GET", "/relay/health")).json["failed"]
    assert [each["reference"] for each in failed] == [reference]
    flushed = await again.flush()
    assert (flushed.status, flushed.json["failed"][0]["reference"]) == (503, reference)
    assert flushed.json["failed"][0]["problem"] == (
        "this relay was started again since, and has no session of that run: use the action again in a later step"
    )
    assert (await again.ask("PUT", "/relay/session", data=offer(actions, job))).status == 204
    assert (await again.flush()).status == 200
    late = await relays.start(actions, actions.job("late"))
    assert (await pulled(late, IMAGE.digest))["manifest"] == IMAGE.content


def offer(actions: Emulator, job: Job) -> str:
    environment = actions.environment(job)
    return json.dumps(
        {
            "token": environment["ACTIONS_RUNTIME_TOKEN"],
            "results_url": environment["ACTIONS_RESULTS_URL"],
            "run_id": "1",
        }
    )


@pytest.mark.parametrize("broken", [False, True])
async def test_a_deletion_copies_only_what_no_other_image_has(
    emulate: Emulate, relays: Relays, *, broken: bool
) -> None:
    actions = emulate()
    writer, relay = await relays.start(actions), await relays.start(actions, actions.job("test"))
    base, own = noise(2 * MIB, 1), noise(2 * MIB, 2)
    await writer.push_image("v1", layers=[base, own])
    await writer.push_image("v2", layers=[base])
    for tag in ("v1", "v2"):
        await relay.get(tag)
    for layer in (base, own) if broken else (base,):
        assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(layer)}")).status == 200
    actions.traffic.reset()
    if broken:
        actions.plan.play(kinds.GET_RANGE, Answer(500), times=None)

    assert (await relay.ask("DELETE", "/relay/images/app:v1")).status == 200

    assert broken or actions.traffic.calls[kinds.GET_RANGE] == 0
