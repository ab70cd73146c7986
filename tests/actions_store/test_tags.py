"""Which artifact answers for a tag: over pushes, jobs, attempts and servers that list what is not finished."""

import asyncio

import pytest

from proxy.runtime.limits import Limits, Timeouts
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB, eventually, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Delay
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

FLAVOURS = list(Flavour)


@pytest.mark.parametrize("size", [10, 5000])
async def test_a_tag_that_was_deleted_and_pushed_again_is_found_at_once_by_who_knows_the_listing_before(
    emulate: Emulate, relays: Relays, size: int
) -> None:
    """The new artifact has the name of the old one, by which its bytes are asked for."""
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v1", layers=[noise(1000)])
    reader = await relays.start(actions, actions.job("deploy"), tempo=Timeouts())
    assert (await reader.get("other")).status == 404
    assert (await writer.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    newer = await writer.push_image("v1", layers=[noise(size)])

    async with asyncio.timeout(10):  # patience with an answer that is wrong takes a minute
        answer = await reader.get("v1")

    assert answer.body == newer.content


@pytest.mark.parametrize("by_digest", [True, False])
async def test_what_another_job_pushed_a_moment_before_is_deleted_too(
    emulate: Emulate, relays: Relays, by_digest: bool
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    first = await writer.push_image("v1", layers=[b"first"])
    other = await relays.start(actions, actions.job("deploy"), overwrite="run")
    assert (await other.get("other")).status == 404
    await writer.push_image("v1", layers=[b"second"])
    await writer.push(first, "v1")

    deleted = await other.ask("DELETE", f"/v2/app/manifests/{first.digest if by_digest else 'v1'}")

    assert deleted.status == 202
    assert (await (await relays.start(actions, actions.job("after"))).get("v1")).status == 404


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_the_last_push_of_a_tag_answers_in_every_relay(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(flavour=flavour)
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))

    for number in range(4):
        pushed = await writer.push_image("v1", layers=[f"layer {number}".encode()])
        assert (await pulled(writer, "v1"))["manifest"] == pushed.content
        assert (await pulled(reader, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_a_deleted_tag_is_gone_and_may_be_pushed_again(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(flavour=flavour)
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    for number in range(3):
        await writer.push_image("v1", layers=[f"layer {number}".encode()])
    assert (await reader.get("v1")).status == 200

    assert (await writer.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    assert (await writer.get("v1")).status == (await reader.get("v1")).status == 404
    pushed = await writer.push_image("v1", layers=[b"again"])
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


async def test_what_another_job_deleted_after_the_last_listing_is_stored_again(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relays.limits = Limits(listing_fresh=3600.0)
    await (await relays.start(actions)).push_image("v1")
    writer, other = await relays.start(actions), await relays.start(actions, actions.job("other"))
    assert (await writer.get("v1")).status == 200  # it has listed the artifact

    assert (await other.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    pushed = await writer.push_image("v1")

    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.FORGEJO])
async def test_what_is_listed_unfinished_is_passed_over_and_answers_when_it_is_finished(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(flavour=flavour)
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    old = await writer.push_image("v1", layers=[b"old"])
    actions.traffic.reset()
    actions.plan.play(kinds.PUT_BLOCK, Delay(1.0), skip=1)
    pushing = asyncio.create_task(writer.push_image("v1", layers=[noise(5 * MIB)]))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 2)

    during = await reader.get("v1")
    new = await pushing

    assert during.body == old.content
    assert (await reader.get("v1")).body == new.content


async def test_a_tag_of_another_job_is_not_taken_over(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await (await relays.start(actions)).push_image("v1", layers=[b"first"])
    relay = await relays.start(actions, actions.job("other"))
    second = await relay.push_image("v2", layers=[b"second"])

    refused = await relay.put("v1", second.content)

    assert refused.error == (403, "DENIED")
    assert "app:v1 belongs to another job of this run" in refused.message
    assert (await relay.get("v1")).body == first.content


async def test_the_same_image_may_be_pushed_by_every_job(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1", layers=[b"same"])

    await (await relays.start(actions, actions.job("other"))).push_image("v1", layers=[b"same"])

    assert len(actions.ledger.records) == 1


async def test_any_job_may_take_a_tag_over_where_that_is_allowed(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1", layers=[b"first"])
    relay = await relays.start(actions, actions.job("other"), overwrite="run")

    second = await relay.push_image("v1", layers=[b"second"])

    assert (await relay.get("v1")).body == second.content


@pytest.mark.parametrize("unique", [False, True])
async def test_a_later_attempt_sees_and_replaces_what_an_earlier_one_left(
    emulate: Emulate, relays: Relays, unique: bool
) -> None:
    actions = emulate(unique_across_attempts=unique)
    before = await (await relays.start(actions)).push_image("v1", layers=[b"first attempt"])
    relay = await relays.start(actions, actions.job("build", attempt=2))
    assert (await relay.get("v1")).body == before.content

    after = await relay.push_image("v1", layers=[b"second attempt"])

    reader = await relays.start(actions, actions.job("deploy", attempt=2))
    assert (await pulled(reader, "v1"))["manifest"] == after.content


async def test_a_name_that_is_taken_unseen_is_passed_over(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(unique_across_attempts=True)
    await (await relays.start(actions)).push_image("v1", layers=[b"first attempt"])
    job = actions.job("build", attempt=2)
    job.run.sees_earlier = False
    relay = await relays.start(actions, job)

    pushed = await relay.push_image("v1", layers=[b"second attempt"])

    assert (await relay.get("v1")).body == pushed.content
    assert {record.name for record in actions.ledger.records} == {"image-app@v1", "image-app@v1~1000"}


async def test_a_push_is_there_at_once_although_the_service_lists_it_later(emulate: Emulate, relays: Relays) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(listed_after=3600.0)
    relay = await relays.start(actions)

    first = await relay.push_image("v1", layers=[b"first"])
    second = await relay.push_image("v1", layers=[b"second"])

    assert (await relay.get("v1")).body == second.content
    assert (await relay.get(first.digest)).body == first.content


async def test_twins_of_a_finish_that_was_repeated_answer_as_one(emulate: Emulate, relays: Relays) -> None:
    actions = emulate(listed_after=3600.0)  # so that looking does not help
    relay = await relays.start(actions)
    actions.plan.play(kinds.FINALIZE, Delay(30, effect=True), times=2)

    pushed = await relay.push_image("v1", layers=[b"layer"])
    actions.options.listed_after = 0.0

    assert len(actions.ledger.records) == 3
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content
    assert (await reader.ask("DELETE", "/v2/app/manifests/v1")).status == 202
    assert actions.ledger.records == []


async def test_an_index_over_images_of_the_run_holds_them_and_outlives_their_artifacts(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    first, second = await relays.start(actions), await relays.start(actions, actions.job("other"))
    amd64 = await first.push_image("amd64", layers=[noise(2 * MIB, 1)])
    arm64 = await second.push_image("arm64", layers=[noise(2 * MIB, 2)])
    merger = await relays.start(actions, actions.job("merge"))
    for child in (amd64, arm64):  # what a client does before it puts an index together
        assert (await merger.get(child.digest)).body == child.content

    both = await merger.push(pushed_index(amd64.descriptor(), arm64.descriptor()), "v1")

    for tag in ("amd64", "arm64"):
        assert (await merger.ask("DELETE", f"/v2/app/manifests/{tag}")).status == 202
    reader = await relays.start(actions, actions.job("deploy"))
    found = await pulled(reader, "v1")
    assert len(found) == 4  # the index, two layers and the config that both have
    assert (await reader.get("v1")).body == both.content


async def test_a_digest_is_found_in_whatever_artifact_of_its_repository_has_it(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    pushed = [await writer.push_image(f"v{number}", layers=[f"{number}".encode()]) for number in range(5)]
    reader = await relays.start(actions, actions.job("deploy"))

    for each in pushed:
        assert (await pulled(reader, each.digest))["manifest"] == each.content
    assert (await reader.get(pushed[0].digest, name="other")).status == 404


async def test_a_listing_that_was_made_before_a_push_ended_never_undoes_it(emulate: Emulate, relays: Relays) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate()
    relay = await relays.start(actions)
    actions.plan.play(kinds.PUT_BLOCK, Delay(0.3))
    actions.plan.play(kinds.LIST, Delay(0.8, effect=True), skip=1)
    pushing = asyncio.create_task(relay.push_image("v1"))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 1)

    assert (await relay.get("v2")).status == 404
    pushed = await pushing

    assert (await relay.get("v1")).body == pushed.content


async def test_a_push_of_what_another_job_has_deleted_meanwhile_is_stored_again(
    emulate: Emulate, relays: Relays
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate()
    first, second = await relays.start(actions), await relays.start(actions, actions.job("clean-up"))
    pushed = await first.push_image("v1")
    assert (await second.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    await first.push_image("v1")

    late = await relays.start(actions, actions.job("late"))
    assert (await late.get("v1")).body == pushed.content


async def test_a_push_under_several_tags_fails_if_the_tag_of_its_path_is_another_jobs(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    first, second = await relays.start(actions), await relays.start(actions, actions.job("other"))
    held = await first.push_image("v1", layers=[b"of the first"])
    pushed = await second.push_image(layers=[b"of the second"])

    headers = {"Content-Type": pushed.media_type}
    path = "/v2/app/manifests/v1?tag=v2"
    answer = await second.ask("PUT", path, data=pushed.content, headers=headers)

    assert answer.error == (403, "DENIED")
    assert (await first.get("v1")).body == held.content
    assert (await second.get("v2")).body == pushed.content
