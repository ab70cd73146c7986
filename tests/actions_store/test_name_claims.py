"""Two jobs and one tag, step by step: who is told what, what is uploaded, and what stays."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.artifacts.actions.reserved_names import ReservedNames
from proxy.runtime.limits import Timeouts
from tests.actions_store import foreign_images
from tests.actions_store.relays import HASTY, Relays, pulled
from tests.api.relay import Pushed, Relay, described, document, eventually, pushed_image, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Delay, Reset
from tests.fakes.actions.fixtures import Emulate

REFUSAL = "app:v1 belongs to another job of this run; use another tag, or RELAY_OVERWRITE=run"
PATIENT = replace(HASTY, looks=(0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0))
CACHE = "application/vnd.buildkit.cacheconfig.v0"


async def ready(relay: Relay, layer: bytes) -> Pushed:
    """Push the blobs of an image, and return its manifest."""
    for content in (b"config", layer):
        await relay.push_blob(content)
    return pushed_image(b"config", layer)


async def two(
    emulate: Emulate, relays: Relays, tempo: Timeouts = HASTY, **options: object
) -> tuple[Emulator, Relay, Relay]:
    actions = emulate(**options)
    a, b = [await relays.start(actions, actions.job(each), tempo) for each in "ab"]
    return actions, a, b


async def test_who_comes_second_waits_for_the_first_and_uploads_nothing(emulate: Emulate, relays: Relays) -> None:
    actions, a, b = await two(emulate, relays, PATIENT)
    first, second = await ready(a, b"first"), await ready(b, b"second")
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.2))
    pushing = asyncio.ensure_future(a.put("v1", first.content))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 1)

    refused = await b.put("v1", second.content)

    assert (await pushing).status == 201
    assert (refused.error, refused.message) == ((403, "DENIED"), REFUSAL)
    assert actions.traffic.calls[kinds.PUT_BLOCK] == 1
    assert (await b.get("v1")).body == first.content


async def test_who_pushes_the_same_meanwhile_is_answered_without_an_upload(emulate: Emulate, relays: Relays) -> None:
    actions, a, b = await two(emulate, relays, PATIENT)
    first, second = await ready(a, b"same"), await ready(b, b"same")
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.2))
    pushing = asyncio.ensure_future(a.put("v1", first.content))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 1)

    assert (await b.put("v1", second.content)).status == 201
    assert (await pushing).status == 201
    assert len(actions.ledger.records) == 1


async def test_a_holder_that_is_too_slow_finds_the_tag_taken_and_finishes_nothing(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    actions, a, b = await two(emulate, relays)
    first, second = await ready(a, b"first"), await ready(b, b"second")
    actions.plan.play(kinds.PUT_BLOCK, Delay(1.5))
    pushing = asyncio.ensure_future(a.put("v1", first.content))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 1)

    assert (await b.put("v1", second.content)).status == 201
    assert (await pushing).message == REFUSAL

    assert [each.name for each in actions.ledger.finished()] == ["image-app@v1~1000"]
    assert "image-app@v1 is taken, but nobody has finished it" in caplog.text
    for relay in (a, b, await relays.start(actions, actions.job("c"))):
        assert (await relay.get("v1")).body == second.content


async def test_two_that_finish_at_once_both_withdraw_and_one_of_them_has_it_in_the_end(
    emulate: Emulate, relays: Relays
) -> None:
    actions, a, b = await two(emulate, relays)
    first, second = await ready(a, b"first"), await ready(b, b"second")
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.6))  # so that b passes a
    actions.plan.play(kinds.FINALIZE, Delay(0.6), times=2)  # after both have looked

    answers = await asyncio.gather(a.put("v1", first.content), b.put("v1", second.content))

    assert sorted(each.status for each in answers) == [201, 403]
    winner = first if answers[0].status == 201 else second
    fresh = await relays.start(actions, actions.job("c"))
    assert (await pulled(fresh, "v1"))["manifest"] == winner.content
    assert len({record.job for record in actions.ledger.finished()}) == 1


async def test_what_was_finished_without_an_answer_is_withdrawn_too(emulate: Emulate, relays: Relays) -> None:
    actions, a, b = await two(emulate, relays, listed_after=0.2)
    first, second = await ready(a, b"first"), await ready(b, b"second")
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.6))  # so that b passes a
    actions.plan.play(kinds.FINALIZE, Delay(0.3), times=1)
    actions.plan.play(kinds.FINALIZE, Reset(effect=True), times=1)

    answers = await asyncio.gather(a.put("v1", first.content), b.put("v1", second.content))

    assert sorted(each.status for each in answers) == [201, 403]
    await eventually(lambda: len({record.job for record in actions.ledger.finished()}) == 1)


async def test_what_cannot_be_withdrawn_is_told_and_answers_for_nothing(
    emulate: Emulate, relays: Relays, caplog: pytest.LogCaptureFixture
) -> None:
    actions, a, b = await two(emulate, relays)
    first, second = await ready(a, b"first"), await ready(b, b"second")
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.6))  # so that b passes a
    actions.plan.play(kinds.FINALIZE, Delay(0.5), skip=0)  # of b, which has looked by then
    actions.plan.play(kinds.DELETE, Answer(400))

    pushing = asyncio.ensure_future(a.put("v1", first.content))
    answers = await asyncio.gather(pushing, b.put("v1", second.content))

    assert "should have been deleted, since its tag belongs to another job" in caplog.text
    fresh = await relays.start(actions, actions.job("c"))
    found = (await fresh.get("v1")).body
    assert {found} == {each.content for each, told in zip((first, second), answers, strict=True) if told.status == 201}


async def test_a_relay_that_is_started_again_passes_over_its_own_name_at_once(
    emulate: Emulate, relays: Relays, tmp_path: Path
) -> None:
    actions, data = emulate(), tmp_path / "relay-again"
    job = actions.job()
    names = ReservedNames(data / "spool" / "reserved.json")
    names.begin(f"{job.run.backend_id}:{job.id}")
    await names.add("image-app@v1")
    await foreign_images.call(actions, job, kinds.CREATE, name="image-app@v1", version=4)
    relay = await relays.start(actions, job, data=data)

    await relay.push_image("v1")

    assert actions.traffic.calls[kinds.CREATE] == 3
    assert [each.name for each in actions.ledger.finished()] == ["image-app@v1~2"]


async def test_run_waits_for_nobody(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await foreign_images.call(actions, actions.job("dead"), kinds.CREATE, name="image-app@v1", version=4)
    relay = await relays.start(actions, overwrite="run")
    actions.traffic.reset()

    await relay.push_image("v1")

    assert actions.traffic.calls[kinds.LIST] == 2
    assert [each.name for each in actions.ledger.finished()] == ["image-app@v1~2"]


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom", "-anything"])
async def test_tags_that_are_made_to_be_appended_to_are_moved_by_any_job(
    emulate: Emulate, relays: Relays, suffix: str
) -> None:
    _, a, b = await two(emulate, relays)
    tag = f"sha256-{'0a' * 32}{suffix}"

    await a.push_image(tag, layers=[b"one"])
    pushed = await b.push_image(tag, layers=[b"one", b"two"])

    assert (await b.get(tag)).body == pushed.content


@pytest.mark.parametrize("tag", [f"sha256-{'0a' * 32}0", f"sha256-{'0A' * 32}.sig", "sha256-0a.sig", "cache"])
async def test_no_other_tag_is(emulate: Emulate, relays: Relays, tag: str) -> None:
    _, a, b = await two(emulate, relays)
    await a.push_image(tag, layers=[b"one"])
    pushed = await ready(b, b"two")

    assert (await b.put(tag, pushed.content)).error == (403, "DENIED")


async def cache(relay: Relay, layer: bytes, form: str) -> Pushed:
    """Make a build cache as BuildKit does, in either of its forms, with all blobs."""
    for content in (b"cache config", layer):
        await relay.push_blob(content)
    config = described(b"cache config", CACHE)
    if form == "image":
        return document(config=config, layers=[described(layer)])
    return pushed_index(described(layer), config)


@pytest.mark.parametrize("forms", [("index", "index"), ("image", "image"), ("index", "image")])
async def test_a_build_cache_is_replaced_by_one_of_any_job(
    emulate: Emulate, relays: Relays, forms: tuple[str, str]
) -> None:
    _, a, b = await two(emulate, relays)
    await a.push(await cache(a, b"one", forms[0]), "cache")
    moved = await b.push(await cache(b, b"two", forms[1]), "cache")

    assert (await b.get("cache")).body == moved.content
    back = await a.push(await cache(a, b"three", forms[1]), "cache")
    assert (await a.get("cache")).body == back.content


@pytest.mark.parametrize("first", ["image", "cache"])
async def test_a_build_cache_takes_no_image_over_and_no_image_a_cache(
    emulate: Emulate, relays: Relays, first: str
) -> None:
    _, a, b = await two(emulate, relays)
    made = [
        await ready(each, b"layer") if first == kind else await cache(each, b"layer", "index")
        for each, kind in ((a, "image"), (b, "cache"))
    ]
    await a.push(made[0], "v1")

    refused = await b.put("v1", made[1].content, made[1].media_type)

    assert refused.message == REFUSAL


async def test_a_refusal_with_a_long_reference_is_whole(emulate: Emulate, relays: Relays) -> None:
    _, a, b = await two(emulate, relays)
    name, tag = "organisation/" + "n" * 50, "t" * 26
    assert len(f"{name}:{tag}") == 90
    await a.push_image(tag, name=name, layers=[b"one"])
    for content in (b"config", b"two"):
        await b.push_blob(content, name)

    refused = await b.put(tag, pushed_image(b"config", b"two").content, name=name)

    assert len(refused.message) <= 200
    assert refused.message.startswith(f"{name}:{tag} ")
    assert refused.message.endswith("use another tag, or RELAY_OVERWRITE=run")
