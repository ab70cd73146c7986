"""Answers that are bad, in every way, once, twice, for a while and always: never an older image, never a 404.

When all is well again, so is the answer, within a moment (a minute, outside of tests); and nothing else in the
repository suffers meanwhile.
"""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from proxy.archive.container import OVERHEAD
from proxy.archive.index import TAIL
from proxy.oci.manifest import OCI_INDEX
from proxy.runtime.limits import Limits, Policy, Rereading, Timeouts
from tests.actions_store import foreign_images
from tests.actions_store.relays import QUICK, Relays, pulled
from tests.api.relay import MIB, Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import (
    Answer,
    Corrupt,
    Fault,
    RangeIgnored,
    Reset,
    Truncated,
    WrongContentRange,
    edge_page,
    twirp_error,
)
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise

REST = 0.2  # seconds for which a failure is remembered
TEMPO = Timeouts(
    QUICK,
    QUICK,
    Rereading(Policy(3, 0.01), REST),
    connect=5,
    call=2,
    finalize=2,
    commit=5,
    transfer=5,
    stall=0.5,
    rest=REST,
)
LONGER = 12  # requests; more than a first answer makes
PAGE = "<!DOCTYPE html><html><body>Unicorn!</body></html>"
LARGE = noise(MIB)


class Bad(NamedTuple):
    """Which requests are answered badly, and how, in view of what there is."""

    kind: str
    fault: Callable[[Emulator], Fault]


def always(fault: Fault) -> Callable[[Emulator], Fault]:
    return lambda _: fault


def flipped(before_end: int) -> Callable[[Emulator], Fault]:
    """Change a byte so far before the end of the newest artifact, in an answer that has its end."""

    def fault(actions: Emulator) -> Fault:
        size = actions.ledger.records[-1].size
        return Corrupt(min(size, TAIL + OVERHEAD) - before_end)

    return fault


def listed(change: Callable[[list[dict[str, object]]], object]) -> Callable[[Emulator], Fault]:
    """Answer a listing that is changed."""

    def fault(actions: Emulator) -> Fault:
        entries: list[dict[str, object]] = [
            {
                "workflow_run_backend_id": each.run,
                "workflow_job_run_backend_id": each.job,
                "database_id": str(each.id),
                "name": each.name,
                "size": str(each.size),
                "created_at": "2026-01-02T03:04:05Z",
                "digest": each.digest,
            }
            for each in actions.ledger.records
        ]
        return Answer(200, json.dumps({"artifacts": change(entries)}), "application/json")

    return fault


def without(key: str) -> Callable[[list[dict[str, object]]], object]:
    return lambda entries: [{name: value for name, value in each.items() if name != key} for each in entries]


def of_other_bytes(actions: Emulator) -> Fault:
    """Answer with as many bytes as were asked for, in the right place: of something else."""
    size = actions.ledger.records[-1].size
    start = max(0, size - TAIL - OVERHEAD)
    headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
    return Answer(206, "x" * (size - start), "application/zip", headers)


def packed(actions: Emulator) -> Fault:
    size = actions.ledger.records[-1].size
    start = max(0, size - TAIL - OVERHEAD)
    body = gzip.compress(b"x" * (size - start)).decode("latin-1")
    headers = {"Content-Encoding": "gzip", "Content-Range": f"bytes {start}-{size - 1}/{size}"}
    return Answer(206, body, "application/octet-stream", headers)


IN_INDEX, IN_TRAILER, IN_CRC, IN_ZIP = 330, 300, 290, 10  # bytes before the end of an artifact, whose zip ends in 270
BAD: dict[str, Bad] = {
    "page with 200": Bad(kinds.GET_RANGE, always(edge_page(200))),
    "page with 206": Bad(kinds.GET_RANGE, always(Answer(206, PAGE, "text/html"))),
    "gzip": Bad(kinds.GET_RANGE, packed),
    "empty with 200": Bad(kinds.GET_RANGE, always(Answer(200))),
    "empty with 206": Bad(kinds.GET_RANGE, always(Truncated(0, agreed=True))),
    "bit of the index": Bad(kinds.GET_RANGE, flipped(IN_INDEX)),
    "bit of the trailer": Bad(kinds.GET_RANGE, flipped(IN_TRAILER)),
    "bit of the CRC": Bad(kinds.GET_RANGE, flipped(IN_CRC)),
    "bit of the zip": Bad(kinds.GET_RANGE, flipped(IN_ZIP)),
    "cut": Bad(kinds.GET_RANGE, always(Truncated(50))),
    "cut, as announced": Bad(kinds.GET_RANGE, always(Truncated(50, agreed=True))),
    "no place": Bad(kinds.GET_RANGE, always(WrongContentRange())),
    "other place": Bad(kinds.GET_RANGE, always(WrongContentRange("bytes 0-1/2"))),
    "other bytes": Bad(kinds.GET_RANGE, of_other_bytes),
    "whole": Bad(kinds.GET_RANGE, always(RangeIgnored())),
    "404": Bad(kinds.GET_RANGE, always(Answer(404))),
    "410": Bad(kinds.GET_RANGE, always(Answer(410))),
    "403": Bad(kinds.GET_RANGE, always(Answer(403))),
    "416": Bad(kinds.GET_RANGE, always(Answer(416))),
    "503": Bad(kinds.GET_RANGE, always(Answer(503))),
    "reset": Bad(kinds.GET_RANGE, always(Reset())),
    "sign: no address": Bad(kinds.SIGN, always(Answer(200, "{}", "application/json"))),
    "sign: 404": Bad(kinds.SIGN, always(Answer(404, '{"code":"not_found","msg":"?"}', "application/json"))),
    "sign: page": Bad(kinds.SIGN, always(edge_page(200))),
    "list: page": Bad(kinds.LIST, always(edge_page(200))),
    "list: 404": Bad(kinds.LIST, always(edge_page(404))),
    "list: cut": Bad(kinds.LIST, always(Answer(200, '{"artifacts":[{"name":', "application/json"))),
    "list: no list": Bad(kinds.LIST, listed(lambda _: "none")),
    "list: no entry": Bad(kinds.LIST, listed(lambda _: ["none"])),
    "list: no name": Bad(kinds.LIST, listed(without("name"))),
    "list: no id": Bad(kinds.LIST, listed(without("database_id"))),
    "list: no size": Bad(kinds.LIST, listed(without("size"))),
    "list: no time": Bad(kinds.LIST, listed(without("created_at"))),
    "list: no run": Bad(kinds.LIST, listed(without("workflow_run_backend_id"))),
}


async def well_again(relay: Relay, tag: str, content: bytes) -> None:
    """See a tag answered rightly as soon as a failure is no longer remembered."""
    async with asyncio.timeout(20 * REST + 2):
        while (answer := await relay.get(tag)).status != 200:
            assert answer.error == (403, "DENIED")
            await asyncio.sleep(REST / 4)
    assert answer.body == content


@pytest.mark.parametrize("artifacts", [1, 2])
@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_answer_is_neither_absence_nor_an_older_image(
    emulate: Emulate, relays: Relays, bad: str, artifacts: int
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    pushed = await writer.push_image("v0", layers=[b"another"])
    for number in range(artifacts):  # of two, each is more than what is read of its end
        pushed = await writer.push_image("v1", layers=[str(number).encode(), LARGE[: (artifacts - 1) * MIB]])
    for times in (1, 2, LONGER, None):
        relay = await relays.start(actions, actions.job("deploy"), tempo=TEMPO)
        actions.plan.play(BAD[bad].kind, BAD[bad].fault(actions), times=times)

        answers = [await relay.get("v1") for _ in range(2)]
        actions.plan.clear()

        told = [(each.status, each.body if each.status == 200 else each.error[1]) for each in answers]
        assert set(told) <= {(200, pushed.content), (403, "DENIED")}
        if times in {1, 2}:
            assert told[0][0] == 200  # it was read again before the answer
        await well_again(relay, "v1", pushed.content)
        assert (await pulled(relay, "v1"))["manifest"] == pushed.content
        assert (await relay.ask("GET", "/relay/health")).json["unreadable"] == []


@pytest.fixture
async def two(emulate: Emulate, relays: Relays) -> tuple[Emulator, Relay]:
    """A relay that cannot read `app:v1`, the newer of two, but has read `app:v2`."""
    actions = emulate()
    writer = await relays.start(actions)
    for number in range(2):
        await writer.push_image("v1", layers=[str(number).encode(), LARGE])
    await writer.push_image("v2", layers=[b"other"])
    relay = await relays.start(actions, tempo=TEMPO)
    assert (await relay.get("v2")).status == 200
    actions.plan.play(kinds.GET_RANGE, edge_page(200), times=None)
    assert (await relay.get("v1")).error == (403, "DENIED")
    return actions, relay


async def test_what_cannot_be_read_is_told_everywhere(
    two: tuple[Emulator, Relay], caplog: pytest.LogCaptureFixture
) -> None:
    actions, relay = two
    reason = "the artifact cannot be read (an answer was not the range that was asked for); try again later"

    answers = [await relay.get("v1"), await relay.ask("GET", "/relay/images/app:v1")]
    health = (await relay.ask("GET", "/relay/health")).json
    summary = (await relay.ask("GET", "/relay/summary")).body.decode()
    images = (await relay.ask("GET", "/relay/images")).json["images"]

    assert [each.message for each in answers] == [f"image-app@v1~2: {reason}"] * 2
    assert health["unreadable"] == [{"artifact": "image-app@v1~2", "problem": reason}]
    assert f"**Cannot be read**, and tried again with the next pull:\n\n- `image-app@v1~2`: `{reason}`" in summary
    assert {each["references"][0]: each["state"] for each in images} == {"app:v1": "unreadable", "app:v2": "durable"}
    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v1", "v2"]
    records = [*caplog.get_records("setup"), *caplog.records]
    told = [record for record in records if record.name == "proxy.catalog.opener"]
    assert [(each.levelname, each.getMessage()) for each in told] == [("WARNING", f"image-app@v1~2: {reason}")]
    actions.plan.clear()
    await asyncio.sleep(REST)
    assert (await relay.get("v1")).status == 200
    assert "image-app@v1~2 can be read again" in caplog.text


async def test_everything_else_in_the_repository_goes_on(two: tuple[Emulator, Relay]) -> None:
    actions, relay = two

    pushed = await relay.push_image("v3", layers=[b"new", LARGE])
    by_digest = await relay.push_image(layers=[b"by digest"])
    missing = await relay.ask("HEAD", "/v2/app/blobs/sha256:" + "0" * 64)
    deleted = await relay.ask("DELETE", "/v2/app/manifests/v2")

    assert (await relay.get("v3")).body == pushed.content
    assert (await relay.get(by_digest.digest)).body == by_digest.content
    assert missing.status == 404
    assert deleted.status == 202
    assert (await relay.get("v2")).status == 404
    actions.plan.clear()


async def test_what_may_be_inside_is_not_called_absent_but_to_who_pushes(two: tuple[Emulator, Relay]) -> None:
    actions, relay = two
    manifest, blob = ("/v2/app/" + each + "/sha256:" + "0" * 64 for each in ("manifests", "blobs"))
    pushing = {"Accept": "application/vnd.oci.image.manifest.v1+json, */*"}

    for path in (manifest, blob):
        assert (await relay.ask("GET", path)).error == (403, "DENIED")
        assert (await relay.ask("GET", path.replace("/app/", "/other/"))).status == 404
        assert (await relay.ask("DELETE", path)).error == (403, "DENIED")
    assert (await relay.ask("HEAD", manifest)).status == 403
    for path in (manifest, "/v2/app/manifests/v1"):
        assert (await relay.ask("HEAD", path, headers=pushing)).status == 404
    actions.plan.clear()


async def test_the_tag_itself_can_be_pushed_anew(two: tuple[Emulator, Relay]) -> None:
    actions, relay = two

    pushed = await relay.push_image("v1", layers=[b"anew"])

    assert (await relay.get("v1")).body == pushed.content
    actions.plan.clear()
    assert (await relay.get("v1")).body == pushed.content


async def test_the_tag_itself_can_be_deleted_with_all_of_its_artifacts(two: tuple[Emulator, Relay]) -> None:
    actions, relay = two

    assert (await relay.ask("DELETE", "/v2/app/manifests/v1")).status == 202

    actions.plan.clear()
    assert [each.name for each in actions.ledger.finished()] == ["image-app@v2"]
    assert (await relay.get("v1")).status == 404


async def test_a_digest_that_names_an_artifact_can_be_deleted_unread(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    pushed = await writer.push_image(layers=[b"by digest"])
    await writer.flush()
    relay = await relays.start(actions, tempo=TEMPO)
    actions.plan.play(kinds.GET_RANGE, Answer(503), times=None)

    refused = await relay.get(pushed.digest)
    referrers = await relay.ask("GET", f"/v2/app/referrers/{pushed.digest}")
    deleted = await relay.ask("DELETE", f"/v2/app/manifests/{pushed.digest}")

    assert refused.error == referrers.error == (403, "DENIED")
    assert deleted.status == 202
    assert list(actions.ledger.finished()) == []
    actions.plan.clear()


async def test_the_image_of_another_job_that_cannot_be_read_is_not_taken_over(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await (await relays.start(actions)).push_image("v1", layers=[LARGE])
    relay = await relays.start(actions, actions.job("deploy"), tempo=TEMPO)
    actions.plan.play(kinds.GET_RANGE, edge_page(200), times=None)  # before a push makes the relay read what is there
    pushed = await relay.push_image("v2", layers=[b"other"])

    refused = await relay.put("v1", pushed.content)

    assert refused.error == (403, "DENIED")
    assert "app:v1 belongs to another job of this run, and image-app@v1: the artifact cannot be read" in refused.message
    actions.plan.clear()
    await asyncio.sleep(REST)
    assert "belongs to another job of this run; use" in (await relay.put("v1", pushed.content)).message


async def test_an_index_is_not_sealed_without_a_child_that_may_be_inside_of_what_cannot_be_read(
    two: tuple[Emulator, Relay],
) -> None:
    actions, relay = two
    children = [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + "0" * 64, "size": 7}]
    content = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}

    refused = await relay.put("sparse", json.dumps(content).encode(), OCI_INDEX)

    assert refused.error == (403, "DENIED")
    assert "cannot be read" in refused.message
    actions.plan.clear()
    async with asyncio.timeout(10):  # a failure is remembered for a moment
        while (await relay.put("sparse", json.dumps(content).encode(), OCI_INDEX)).status != 201:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("flavour", Flavour)
async def test_a_run_that_has_artifacts_is_never_taken_for_an_empty_one(
    emulate: Emulate, relays: Relays, flavour: Flavour
) -> None:
    actions = emulate(flavour=flavour)
    relay = await relays.start(actions, tempo=TEMPO, limits=Limits(listing_fresh=0.0))
    pushed = await relay.push_image("v1", layers=[b"layer"])
    actions.plan.play(kinds.LIST, Reset(), times=None)

    answer = await relay.get("v1")

    assert answer.error == (403, "DENIED")
    actions.plan.clear()
    await well_again(relay, "v1", pushed.content)


async def test_bytes_of_an_older_artifact_of_the_tag_are_not_believed(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    await writer.push_image("v1", layers=[noise(MIB, 1)])
    old = actions.ledger.records[-1]
    pushed = await writer.push_image("v1", layers=[noise(MIB, 2)])
    relay = await relays.start(actions, actions.job("deploy"), tempo=TEMPO)
    signed = await foreign_images.call(actions, actions.job(), kinds.SIGN, name=old.name)
    actions.plan.play(kinds.SIGN, Answer(200, json.dumps(signed), "application/json"), times=None)

    answer = await relay.get("v1")

    assert answer.error == (403, "DENIED")
    actions.plan.clear()
    await well_again(relay, "v1", pushed.content)


async def test_what_was_not_opened_before_the_session_ended_is_named_beside_what_was(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    writer = await relays.start(actions)
    opened, unopened = await writer.push_image("v1"), await writer.push_image("v2", layers=[b"other"])
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await reader.get("v1")).body == opened.content
    actions.plan.play(kinds.SIGN, twirp_error(401, "unauthenticated", "no"), times=None)

    images = await reader.ask("GET", "/relay/images")
    referrers = await reader.ask("GET", f"/v2/app/referrers/{opened.digest}")

    assert images.status == 200
    found = {each["references"][0]: each for each in images.json["images"]}
    assert {reference: each["state"] for reference, each in found.items()} == {
        "app:v1": "durable",
        "app:v2": "unreadable",
    }
    assert "session of this job has expired" in found["app:v2"]["problem"]
    assert referrers.error == (403, "DENIED")

    actions.plan.clear()
    healed = await reader.ask("GET", "/relay/images")
    assert {each["digest"] for each in healed.json["images"]} == {str(opened.digest), str(unopened.digest)}
    assert (await reader.ask("GET", "/relay/health")).json["unreadable"] == []
