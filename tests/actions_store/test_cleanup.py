"""Images that are not needed any more: all of a run, or what was replaced; and nothing that somebody else stored."""

import asyncio
import re
from collections.abc import Callable, Coroutine

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.actions_store.foreign_images import store
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB, Pushed, Relay, described, document, eventually, pushed_image, pushed_index
from tests.api.relay import Answer as Reply
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Answer, Delay
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

FLAVOURS = list(Flavour)
_OTHER_CONFIG = b'{"os":"linux","architecture":"amd64","config":{}}'
_LAYER = noise(1_200_000)


async def fill(relay: Relay, long: int = 40) -> dict[str, Pushed]:
    """Push what a run has at its end: a tag thrice, an index, a digest alone, a signature, a cache, a long name."""
    for number in range(2):
        await relay.push_image("ci", layers=[f"layer {number}".encode()])
    moved = await relay.push_image("ci", layers=[b"the newest"])
    children = [await relay.push_image(layers=[f"child {number}".encode()]) for number in range(2)]
    both = await relay.push(pushed_index(*(each.descriptor() for each in children)), "both")
    alone = await relay.push_image(name="alone")
    signature = pushed_image(b"{}", b"signed", subject=moved.descriptor())
    for content in (b"{}", b"signed"):
        await relay.push_blob(content)
    await relay.push(signature, f"sha256-{moved.digest.hex}")
    cache = described(b"{}", "application/vnd.buildkit.cacheconfig.v0")
    await relay.push(document(config=cache, layers=[described(b"signed")]), "cache")
    await relay.push_image("v1", name="a/" + "long/" * long + "name")
    assert (await relay.flush()).status == 200
    return {"moved": moved, "both": both, "alone": alone}


def names(actions: Emulator) -> list[str]:
    """List what GitHub's service has."""
    return sorted(record.name for record in actions.ledger.records)


async def ours(actions: Emulator, relays: Relays) -> list[str]:
    """List what a relay sees that has just begun, on every server."""
    fresh = await relays.start(actions, actions.job("look"))
    return sorted(each.name for each in await fresh.services.lookup.catalog.ours())


async def asked(relay: Relay, which: str, **query: str) -> tuple[list[str], dict[str, str]]:
    """Request a deletion; return the artifacts that were removed, and for those that were kept the reasons."""
    answer = await relay.ask("DELETE", "/relay/images", params={which: "", **query})
    assert answer.status == 200, answer.body
    kept = {each["artifact"] or each["reference"]: each["reason"] for each in answer.json["kept"]}
    return sorted(each["artifact"] for each in answer.json["removed"]), kept


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_at_the_end_of_a_run_nothing_of_ours_is_left(emulate: Emulate, relays: Relays, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    await fill(await relays.start(actions), long=4 if flavour is Flavour.ACT else 40)  # act names files so
    before = await ours(actions, relays)
    last = await relays.start(actions, actions.job("cleanup"))

    removed, kept = await asked(last, "all")

    assert kept == {}
    assert len(before) == 8
    assert removed == before
    assert await ours(actions, relays) == []
    assert (await last.get("ci")).status == 404
    assert (await last.ask("GET", "/v2/_catalog")).json == {"repositories": []}


async def test_what_others_stored_stays_whatever_it_is_called(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    job = actions.job("other")
    others = ["coverage", "image", "image-app", "image-app@v1 (1)", "image-report@html", "images", "alone@ci"]
    for name in others:
        await store(actions, job, name, name.encode())
    await fill(await relays.start(actions))

    _, kept = await asked(await relays.start(actions, actions.job("cleanup")), "all")

    assert names(actions) == sorted(others)
    assert kept.keys() == {"image-report@html"}  # which is called as ours are


@pytest.mark.parametrize("flavour", [Flavour.ACT, Flavour.FORGEJO])
async def test_an_upload_under_way_in_another_job_is_kept_and_named_where_it_is_listed(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate(flavour=flavour)
    writer, last = await relays.start(actions), await relays.start(actions, actions.job("cleanup"))
    await writer.push_image("old")
    actions.traffic.reset()
    actions.plan.play(kinds.PUT_BLOCK, Delay(1.0), skip=1)
    pushing = asyncio.create_task(writer.push_image("new", layers=[noise(5 * MIB)]))
    await eventually(lambda: actions.traffic.calls[kinds.PUT_BLOCK] == 2)

    removed, kept = await asked(last, "all")
    pushed = await pushing

    assert removed == ["image-app@old"]
    assert kept == {"image-app@new": "it is unfinished, or it is not an image that image-relay stored"}
    assert (await pulled(last, "new"))["manifest"] == pushed.content


async def test_a_dry_run_names_all_of_it_and_removes_nothing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    await fill(relay)
    before = names(actions)

    removed, kept = await asked(relay, "all", **{"dry-run": ""})

    assert (removed, kept) == (before, {})
    assert names(actions) == before


async def test_what_was_pushed_and_waits_goes_too(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    pushed = await relay.push_image()

    assert await asked(relay, "all", **{"dry-run": ""}) == ([""], {})  # which has no artifact yet
    removed, kept = await asked(relay, "all")

    assert (len(removed), kept) == (1, {})
    assert names(actions) == []
    assert (await relay.get(pushed.digest)).status == 404


async def test_two_jobs_that_clean_up_at_once_leave_nothing_and_do_not_fail(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await fill(await relays.start(actions))
    both = [await relays.start(actions, actions.job(name)) for name in ("one", "two")]

    done = await asyncio.gather(*(asked(each, "all") for each in both))

    assert names(actions) == []
    assert set(done[0][0]) | set(done[1][0]) != set()
    assert [kept for _, kept in done] == [{}, {}]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("which", ["all", "superseded"])
async def test_who_reads_an_image_that_goes_gets_all_of_it_or_an_error_that_says_so(
    emulate: Emulate, relays: Relays, which: str, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    layer = noise(12 * MIB)
    writer = await relays.start(actions)
    pushed = await writer.push_image("v1", layers=[layer])
    reader, last = await relays.start(actions, actions.job("test")), await relays.start(actions, actions.job("last"))
    assert (await reader.get("v1")).body == pushed.content
    digest = (await reader.get("v1")).json["layers"][0]["digest"]
    newer = await writer.push_image("v1", layers=[b"newer"])
    actions.plan.play(kinds.GET_RANGE, Delay(0.5), times=2)
    reading = asyncio.create_task(reader.ask("GET", f"/v2/app/blobs/{digest}"))
    await eventually(lambda: reading.done() or actions.traffic.under_way[kinds.GET_RANGE] > 0)

    removed, _ = await asked(last, which)

    assert "image-app@v1" in removed
    try:
        answer = await reading
    except OSError:
        pass  # cut: what came is not the whole, and the client knows
    else:
        assert answer.status == 404 or answer.body == layer
    left = await last.get("v1")
    assert (left.status, left.body) == (200, newer.content) if which == "superseded" else left.status == 404


async def test_what_the_service_does_not_delete_is_kept_with_the_reason_and_the_rest_goes(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    for tag in ("a", "b", "c"):
        await relay.push_image(tag)
    actions.plan.play(kinds.DELETE, Answer(400, '{"code":"invalid_argument","msg":"no"}', "application/json"), skip=2)

    removed, kept = await asked(relay, "all")

    assert list(kept.values()) == ["the artifact service refused (DeleteArtifact: 400)"]
    assert names(actions) == list(kept)
    assert sorted([*kept, *removed]) == ["image-app@a", "image-app@b", "image-app@c"]


@pytest.mark.parametrize("flavour", FLAVOURS)
async def test_what_newer_pushes_replaced_goes_and_every_tag_answers_as_before(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    writer = await relays.start(actions)
    there = await fill(writer, long=4)
    tidy = await relays.start(actions, actions.job("tidy"))

    removed, kept = await asked(tidy, "superseded")

    assert kept == {}
    assert len(removed) == 2
    reader = await relays.start(actions, actions.job("reader"))
    assert (await pulled(reader, "ci"))["manifest"] == there["moved"].content
    assert (await reader.get("both")).body == there["both"].content
    assert len(await pulled(reader, "both")) == 4  # a config, two layers, and the last manifest
    assert (await pulled(reader, there["alone"].digest, "alone"))["manifest"] == there["alone"].content
    assert await asked(tidy, "superseded") == ([], {})


async def test_what_was_replaced_is_named_by_its_digest(emulate: Emulate, relays: Relays) -> None:
    relay = await relays.start(emulate())
    replaced = await relay.push_image("ci", layers=[b"old"])
    await relay.push_image("ci", layers=[b"new"])

    for query in ({"dry-run": ""}, {}):
        answer = await relay.ask("DELETE", "/relay/images", params={"superseded": "", **query})
        assert [each["reference"] for each in answer.json["removed"]] == [f"app@{replaced.digest}"]


@pytest.mark.parametrize("path", ["/relay/images/app:v1", "/relay/images?all="])
async def test_the_summary_shows_how_to_pull_nothing_that_was_deleted(
    emulate: Emulate, relays: Relays, path: str
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v1")
    relay = await relays.start(actions, actions.job("last"))
    await pulled(relay, "v1")
    assert "docker pull" in (await relay.ask("GET", "/relay/summary")).body.decode()

    assert (await relay.ask("DELETE", path)).status in {200, 202}

    assert "docker pull" not in (await relay.ask("GET", "/relay/summary")).body.decode()
    await writer.push_image("v1", layers=[b"newer"])
    relay = await relays.start(actions, actions.job("after"))
    await pulled(relay, "v1")
    assert "docker pull" in (await relay.ask("GET", "/relay/summary")).body.decode()


async def test_a_push_that_was_refused_leaves_nothing_to_delete(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1", layers=[b"of another job"])
    relay = await relays.start(actions, actions.job("late"))
    image = pushed_image(b"{}", b"too late")
    for content in (b"{}", b"too late"):
        await relay.push_blob(content)
    assert (await relay.put("v1", image.content, image.media_type)).status == 403

    assert "failed" in (await relay.ask("GET", "/relay/images")).body.decode()

    assert await asked(relay, "all") == (["image-app@v1"], {})
    assert "failed" not in (await relay.ask("GET", "/relay/images")).body.decode()


async def test_a_digest_that_is_inside_of_a_tag_is_kept_once(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    child = await relay.push_image()
    assert (await relay.flush()).status == 200
    await relay.push(pushed_index(child.descriptor()), "v1")
    await relay.push(child, "v2")
    assert len(names(actions)) == 3

    removed, kept = await asked(relay, "superseded")

    assert kept == {}
    assert removed == [f"image-app@sha256+{child.digest.hex}"]
    reader = await relays.start(actions, actions.job("reader"))
    assert (await pulled(reader, child.digest))["manifest"] == child.content


async def test_a_relay_that_only_reads_removes_nothing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1")
    relay = await relays.start_without_session(actions)

    answer = await relay.ask("DELETE", "/relay/images", params={"all": ""})

    assert answer.error == (403, "DENIED")
    assert "session" in answer.message
    assert names(actions) == ["image-app@v1"]


async def test_what_another_job_has_deleted_answers_no_more_by_digest_once_the_run_was_listed(
    emulate: Emulate, relays: Relays
) -> None:
    relays.limits = Limits(listing_fresh=0.0)
    actions = emulate()
    writer, reader = await relays.start(actions), await relays.start(actions, actions.job("deploy"))
    pushed = await writer.push_image("v1")
    assert (await reader.get("v1")).body == pushed.content
    assert (await reader.get(pushed.digest)).body == pushed.content

    assert (await writer.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    assert (await reader.get("v1")).status == 404
    assert (await reader.get(pushed.digest)).status == 404


async def test_two_jobs_that_clean_up_at_once_have_each_image_once_and_keep_none(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    for number in range(6):
        await writer.push_image(f"v{number}")
    both = [await relays.start(actions, actions.job(each)) for each in "ab"]
    actions.plan.play(kinds.GET_RANGE, Delay(0.3), times=4)

    done = await asyncio.gather(*(asked(each, "all") for each in both), asked(both[0], "all"))

    assert names(actions) == []
    assert sorted(name for removed, _ in done for name in removed) == [f"image-app@v{number}" for number in range(6)]
    assert [kept for _, kept in done] == [{}] * 3
    told = [(await each.ask("GET", "/relay/summary")).body.decode() for each in both]
    assert sum(int(number) for text in told for number in re.findall(r"(\d+) images? deleted", text)) == 6


async def test_what_was_pushed_a_moment_before_goes_too(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer, last = await relays.start(actions), await relays.start(actions, actions.job("last"))
    await writer.push_image("v1")
    assert (await last.get("v1")).status == 200
    await writer.push_image("v2")

    removed, kept = await asked(last, "all")

    assert (removed, kept) == (["image-app@v1", "image-app@v2"], {})
    assert names(actions) == []


@pytest.mark.parametrize("which", ["all", "superseded"])
async def test_a_name_that_is_another_image_by_now_is_not_deleted(emulate: Emulate, relays: Relays, which: str) -> None:
    actions = emulate()
    writer, last = await relays.start(actions), await relays.start(actions, actions.job("last"))
    for layer in (b"one", b"two"):
        await writer.push_image("v1", layers=[layer])
    await writer.push_image("other", name="web")
    actions.plan.play(kinds.GET_RANGE, Delay(1.0), skip=2)  # of the third that it reads
    cleaning = asyncio.create_task(asked(last, which))
    await eventually(lambda: actions.traffic.calls[kinds.GET_RANGE] >= 3)
    assert (await writer.ask("DELETE", "/relay/images/app:v1")).status == 200
    pushed = await writer.push_image("v1", layers=[b"three"])

    _, kept = await cleaning

    assert kept == {}
    assert (await pulled(await relays.start(actions, actions.job("look")), "v1"))["manifest"] == pushed.content


async def deletes_by_tag_and_digest(relay: Relay, old: Pushed) -> Reply:
    return await relay.ask("DELETE", f"/relay/images/app:v1@{old.digest}")


async def deletes_by_digest(relay: Relay, old: Pushed) -> Reply:
    return await relay.ask("DELETE", f"/v2/app/manifests/{old.digest}")


async def deletes_by_tag(relay: Relay, old: Pushed) -> Reply:
    return await relay.ask("DELETE", "/v2/app/manifests/v1")


@pytest.mark.parametrize("delete", [deletes_by_tag_and_digest, deletes_by_digest, deletes_by_tag])
@pytest.mark.parametrize("is_read", [True, False])
async def test_what_is_pushed_while_an_older_image_is_deleted_stays(
    emulate: Emulate, relays: Relays, delete: Callable[[Relay, Pushed], Coroutine[None, None, Reply]], *, is_read: bool
) -> None:
    actions = emulate()
    relays.limits = Limits(listing_fresh=0.2)
    builder, cleaner = [await relays.start(actions, actions.job(name)) for name in ("build", "cleanup")]
    old = await builder.push_image("v1", layers=[_LAYER])
    if is_read:  # what the cleaner needs of it is slow to come
        actions.plan.play(kinds.GET_RANGE, Delay(1))
    else:  # what the cleaner keeps of it is slow to be stored
        await cleaner.get("v1")
        assert (await cleaner.ask("HEAD", f"/v2/app/blobs/{Digest.of(_LAYER)}")).status == 200
        await cleaner.push_blob(_OTHER_CONFIG)
        await cleaner.push(pushed_image(_OTHER_CONFIG, _LAYER))
        actions.plan.play(kinds.FINALIZE, Delay(1))

    deleting = asyncio.create_task(delete(cleaner, old))
    await asyncio.sleep(0.4)
    new = await builder.push_image("v1", layers=[b"new"])

    assert (await deleting).status in {200, 202}
    reader = await relays.start(actions, actions.job("test"))
    assert (await reader.get("v1")).body == new.content
    assert (await reader.get(str(old.digest))).status == 404


async def test_what_was_deleted_is_told_though_it_is_not_listed_after(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    relay = await relays.start(actions)
    await relay.push_image("v1")
    assert (await relay.get("v1")).status == 200
    actions.plan.play(kinds.LIST, Answer(503), times=8, skip=2)  # beginning with the one after the deletion

    removed, kept = await asked(relay, "all")

    assert names(actions) == []
    assert (removed, kept) == (["image-app@v1"], {})
