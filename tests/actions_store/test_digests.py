"""A run with sixty artifacts, a tenth of a second for each request: what a lookup by digest and a listing cost."""

import asyncio
from collections.abc import Mapping

import pytest

from proxy.archive.index import HINT
from proxy.archive.layout import Image, lay_out
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.registry.sealing import SealedBody, gather
from proxy.runtime.limits import Timeouts
from tests.actions_store.relays import Relays
from tests.api.relay import Answer, Pushed, Relay, pushed_image, pushed_index
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Delay, twirp_error
from tests.fakes.actions.fixtures import Emulate

_MANY = 40
_EACH = 0.1  # seconds for a request
_READING = (kinds.LIST, kinds.SIGN, kinds.GET_RANGE)


async def filled(actions: Emulator, relays: Relays) -> list[Pushed]:
    """Push images under a tag each, from the oldest to the newest."""
    writer = await relays.start(actions)
    return [await writer.push_image(f"v{number}") for number in range(_MANY)]


async def slow_reader(actions: Emulator, relays: Relays) -> Relay:
    """Start the relay of a later job; from now on requests are slow, and counted."""
    reader = await relays.start(actions, actions.job("deploy"), tempo=Timeouts())  # none is made twice
    for kind in _READING:
        actions.plan.play(kind, Delay(_EACH), times=None)
    actions.traffic.reset()
    return reader


async def counted(relay: Relay, actions: Emulator, path: str) -> tuple[Answer, int]:
    """Ask, and return how many requests were made for it."""
    answer = await relay.ask("GET", path)
    return answer, actions.traffic.total(*_READING)


async def test_what_was_pushed_by_digest_is_found_by_its_name_as_fast_as_a_tag(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = await (await relays.start(actions)).push_image()
    assert (await relays.started[0].flush()).status == 200
    await filled(actions, relays)
    reader = await slow_reader(actions, relays)

    answer, calls = await counted(reader, actions, f"/v2/app/manifests/{pushed.digest}")

    assert answer.body == pushed.content
    assert calls == 3  # as many as for a tag: a listing, a signature, a range


@pytest.mark.timeout(180)
async def test_the_digest_of_an_older_tag_costs_at_most_two_calls_more_than_a_tag(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = await filled(actions, relays)

    for number, most in ((_MANY - 1, 3), (_MANY - 2, 5), (_MANY // 2, 5), (0, 5)):
        reader = await slow_reader(actions, relays)
        answer, calls = await counted(reader, actions, f"/v2/app/manifests/{pushed[number].digest}")

        assert answer.body == pushed[number].content
        assert calls <= most  # a tag costs 3: a listing, a signature, a range


@pytest.mark.timeout(240)  # forty pushes through ten relays, more on a busy machine
async def test_jobs_that_followed_each_other_know_of_what_the_earlier_ones_stored(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = []
    for job in range(10):
        writer = await relays.start(actions, actions.job(f"build-{job}"))
        pushed += [await writer.push_image(f"v{job}-{number}") for number in range(_MANY // 10)]

    for wanted in (pushed[0], pushed[_MANY // 2], pushed[-2]):
        reader = await slow_reader(actions, relays)
        answer, calls = await counted(reader, actions, f"/v2/app/manifests/{wanted.digest}")

        assert answer.body == wanted.content
        assert calls <= 5


async def test_a_child_of_an_index_is_found_by_what_the_newest_artifact_says(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    child = await writer.push_image()
    await writer.push(pushed_index(child.descriptor()), "many")
    for number in range(20):
        await writer.push_image(f"v{number}")

    reader = await slow_reader(actions, relays)
    answer, calls = await counted(reader, actions, f"/v2/app/manifests/{child.digest}")

    assert answer.body == child.content
    assert calls <= 5


async def store_that_says(relay: Relay, siblings: Mapping[str, tuple[str, ...]]) -> None:
    """Store an image as `app:liar`, whose index says this of other artifacts."""
    lookup, name = relay.services.lookup, Name.parse("app")
    pushed = await relay.push_image(layers=[b"of the liar"])
    found = await lookup.find(name, pushed.digest)
    assert found
    tree = await gather(lookup, name, pushed.digest, await lookup.parsed(found))
    plan = lay_out(Image(name, Tag.parse("liar"), pushed.digest, tree.contents, (), siblings))
    body = SealedBody(plan, tree.blobs, relay.services.memory, lookup.catalog.copies)
    await lookup.catalog.put(name, Tag.parse("liar"), body)


@pytest.mark.parametrize(
    ("names", "about"),
    [
        ([], "wanted"),
        (["image-app@gone"], "wanted"),
        (["image-app@v5"], "wanted"),
        ([f"image-app@v{number}" for number in range(1, 10)], "wanted"),
        (["image-app@v0"], "another"),
    ],
)
async def test_what_an_archive_says_of_others_is_never_believed(
    emulate: Emulate, relays: Relays, names: list[str], about: str
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    wanted, *_ = [await writer.push_image(f"v{number}") for number in range(10)]
    said = wanted.digest if about == "wanted" else Digest.of(b"another")
    await store_that_says(writer, dict.fromkeys(names, (said.hex[:HINT],)))
    reader = await slow_reader(actions, relays)

    answer, calls = await counted(reader, actions, f"/v2/app/manifests/{wanted.digest}")

    assert answer.body == wanted.content
    assert calls <= 1 + 2 * 11
    absent = await reader.get(said if about == "another" else Digest.of(b"absent"))
    assert absent.error == (404, "MANIFEST_UNKNOWN")


async def test_what_answers_for_a_tag_is_looked_into_before_what_was_replaced(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    wanted = await writer.push_image("stable")
    for number in range(20):
        await writer.push_image("latest", layers=[f"{number}".encode()])
    reader = await slow_reader(actions, relays)

    answer, calls = await counted(reader, actions, f"/v2/app/manifests/{wanted.digest}")

    assert answer.body == wanted.content
    assert calls <= 10  # of 43: the first was in vain, the second it was, and few were begun beside it


async def test_tags_and_repositories_are_listed_by_one_request(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await filled(actions, relays)
    reader = await slow_reader(actions, relays)

    tags, _ = await counted(reader, actions, "/v2/app/tags/list")
    catalog, calls = await counted(reader, actions, "/v2/_catalog")

    assert tags.json["tags"] == sorted(f"v{number}" for number in range(_MANY))
    assert catalog.json["repositories"] == ["app"]
    assert calls == actions.traffic.calls[kinds.LIST] == 1


async def test_what_refers_to_an_image_is_looked_for_in_several_artifacts_at_once(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    pushed = await filled(actions, relays)
    signature = pushed_image(b"{}", subject=pushed[0].descriptor())
    await relays.started[0].push_blob(b"{}")
    await relays.started[0].push(signature)
    reader = await slow_reader(actions, relays)

    answer, calls = await counted(reader, actions, f"/v2/app/referrers/{pushed[0].digest}")

    assert [each["digest"] for each in answer.json["manifests"]] == [str(signature.digest)]
    assert calls <= 1 + 2 * (_MANY + 1)
    assert 8 <= actions.traffic.peak[kinds.SIGN] <= 16


async def test_only_shortened_names_that_may_be_of_the_repository_are_read_for_its_tags(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    long = "team/" + "long-" * 40 + "name"
    for name in (long, long[:-1], "other/" + long):
        await writer.push_image("v1", name=name)
    await writer.push_image("v2")
    reader = await slow_reader(actions, relays)

    short, of_short = await counted(reader, actions, "/v2/app/tags/list")
    tags, of_long = await counted(reader, actions, f"/v2/{long}/tags/list")

    assert short.json["tags"] == ["v2"]
    assert of_short == 1
    assert tags.json["tags"] == ["v1"]
    assert of_long == 1 + 2 * 2


async def test_an_artifact_that_cannot_be_read_hides_nothing_but_what_it_may_have(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    wanted, newest = await writer.push_image("v1"), await writer.push_image("v2")
    reader = await relays.start(actions, actions.job("deploy"))

    actions.plan.play(kinds.SIGN, twirp_error(400, "malformed", "no"))  # of the newest, which is looked into first
    assert (await reader.get(wanted.digest)).body == wanted.content

    reader = await relays.start(actions, actions.job("deploy"))
    catalog = reader.services.lookup.catalog
    archive = await catalog.resolve(Name.parse("app"), Tag.parse("v1"))
    assert archive
    archive.findings.corrupt.add(wanted.digest)  # it may come whole next time, if nobody else has it
    actions.plan.play(kinds.SIGN, twirp_error(400, "malformed", "no"))
    assert (await reader.get(wanted.digest)).body == wanted.content

    reader = await relays.start(actions, actions.job("deploy"))
    actions.plan.play(kinds.SIGN, twirp_error(400, "malformed", "no"), times=None)
    refused = await reader.get(newest.digest)
    assert refused.error == (403, "DENIED")
    actions.plan.clear()
    async with asyncio.timeout(10):  # a failure is remembered for a moment
        while (await reader.get(newest.digest)).body != newest.content:  # noqa: ASYNC110 - it is a server's
            await asyncio.sleep(0.05)
