"""A relay that is handed over to another run, or started again in one: what was pushed in a run stays in that run."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from config import job as job_module
from config.job import Job as Environment
from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.actions_store.relays import HASTY, Relays, blob_of, pulled
from tests.api.relay import MIB, Answer, Pushed, Relay, connected, eventually, request, running
from tests.api.test_images import image_of
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.faults import Answer as Answered
from tests.fakes.actions.faults import Delay, no_storage_left
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.upstream import upstream
from tests.registry_harness import noise
from tests.tarballs import legacy_save, sample, zipped
from tests.unit.fakes.caller import Caller

LIMITS = Limits(service=HASTY)
PASSWORD = "one for all runs"  # noqa: S105
AUTHORIZATION = "Basic " + base64.b64encode(f"relay:{PASSWORD}".encode()).decode()
LAYER = b"a layer of the first run"
CONFIG = b'{"os":"linux","architecture":"amd64"}'
FIRST, SECOND = "run 1001 of octo/relay", "run 2 of octo/relay"


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


def fields(actions: Emulator, job: Job) -> dict[str, object]:
    return {
        "token": job.token,
        "results_url": f"{actions.origin}/",
        "repository": actions.options.repository,
        "run_id": job.run.number,
    }


async def hand_over(relay: Relay, actions: Emulator, job: Job, **more: object) -> Answer:
    return await relay.ask("PUT", "/relay/session", data=json.dumps(fields(actions, job) | more).encode())


@asynccontextmanager
async def relay_in(
    actions: Emulator, data: Path, job: Job | None, limits: Limits = LIMITS, **settings: Any
) -> AsyncIterator[Relay]:
    """A relay with a password in the environment of a job, or without a session."""
    environment = job_module.read(actions.environment(job)) if job else Environment()
    chosen = {"store": "actions", "trusted_hosts": actions.trusted_hosts, "password": PASSWORD, **settings}
    async with running(data, environment, limits, **chosen) as relay:
        relay.session.headers["Authorization"] = AUTHORIZATION
        yield relay


@pytest.fixture
async def relay(actions: Emulator, tmp_path: Path) -> AsyncIterator[Relay]:
    """A relay of the first run."""
    async with relay_in(actions, tmp_path / "relay", actions.job()) as relay:
        yield relay


async def let_expire(relay: Relay, actions: Emulator) -> None:
    """Let the service refuse the session from now on, whatever its token says."""
    actions.plan.play(kinds.CREATE, Answered(401))
    assert (await relay.put("refused", b'{"schemaVersion":2}')).status == 403
    assert (await relay.ask("GET", "/relay/health")).json["session"] == "expired"


def stored_in(actions: Emulator, job: Job) -> list[str]:
    return [each.name for each in actions.ledger.records if each.run == job.run.backend_id]


async def assert_unknown(relay: Relay, pushed: Pushed) -> None:
    """Assert that the run of now knows nothing of an image of the one before."""
    for reference in ("v1", pushed.digest):
        assert (await relay.get(reference)).status == 404
        assert (await relay.ask("HEAD", f"/v2/app/manifests/{reference}")).status == 404
    for content in (LAYER, CONFIG):
        assert (await blob_of(relay, Digest.of(content))).status == 404
        for query in (f"mount={Digest.of(content)}", f"mount={Digest.of(content)}&from=app"):
            assert (await relay.ask("POST", f"/v2/other/blobs/uploads/?{query}")).status == 202
    assert (await relay.put(pushed.digest, pushed.content)).error == (400, "MANIFEST_BLOB_UNKNOWN")
    assert (await relay.ask("GET", "/v2/_catalog")).json == {"repositories": []}
    assert (await relay.flush()).json == {"failed": []}
    told = (await relay.ask("GET", "/relay/health")).json
    assert (told["pending"], told["failed"]) == ([], [])


async def test_a_push_by_digest_is_stored_in_its_run_before_another_one_is_accepted(
    actions: Emulator, relays: Relays, relay: Relay
) -> None:
    second = actions.job(run=2)
    pushed = await relay.push_image(layers=[LAYER])

    assert (await hand_over(relay, actions, second)).status == 204

    await assert_unknown(relay, pushed)
    assert (len(stored_in(actions, actions.job())), stored_in(actions, second)) == (1, [])
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, pushed.digest))["manifest"] == pushed.content


async def test_what_cannot_be_stored_in_its_run_is_lost_and_the_answer_names_it(
    actions: Emulator, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    second = actions.job(run=2)
    pushed = await relay.push_image(layers=[LAYER])
    await let_expire(relay, actions)

    answer = await hand_over(relay, actions, second)

    problem = "the session of this job has expired; push earlier in the job, or split it"
    lost = {"reference": f"app@{pushed.digest}", "run": FIRST, "problem": problem}
    assert (answer.status, answer.json) == (200, {"lost": [lost]})
    assert answer.body.endswith(b"\n")  # as all answers in JSON
    assert f"app@{pushed.digest} of {FIRST} is lost: {problem}; push it again in that run, by a tag" in caplog.text
    await assert_unknown(relay, pushed)
    assert actions.ledger.records == []
    again = await relay.push_image("v1", layers=[LAYER])
    assert (await relay.get("v1")).body == again.content
    assert stored_in(actions, second) == ["image-app@v1"]


async def test_what_storage_refuses_to_store_is_lost_too(actions: Emulator, relay: Relay) -> None:
    pushed = await relay.push_image(layers=[LAYER])
    actions.plan.play(kinds.CREATE, no_storage_left())

    answer = await hand_over(relay, actions, actions.job(run=2))

    (lost,) = answer.json["lost"]
    assert (lost["reference"], lost["run"]) == (f"app@{pushed.digest}", FIRST)
    assert "the storage for artifacts is used up" in lost["problem"]
    await assert_unknown(relay, pushed)
    assert actions.ledger.records == []


async def test_a_disk_that_fails_while_a_run_is_forgotten_keeps_the_relay_in_that_run(
    actions: Emulator, relay: Relay
) -> None:
    second = actions.job(run=2)
    pushed = [await relay.push_image(layers=[LAYER, bytes([number])]) for number in range(3)]
    actions.plan.play(kinds.CREATE, no_storage_left(), times=None)
    (_, broken, _) = sorted((relay.data / "spool" / "pending").rglob("*"), key=lambda path: path.is_file())[-3:]
    broken.unlink()
    broken.mkdir()

    refused = await hand_over(relay, actions, second)

    assert refused.error == (403, "DENIED")
    assert "cannot write to" in refused.message
    actions.plan.clear()
    await relay.push_image("v1", layers=[LAYER])
    assert (stored_in(actions, actions.job()), stored_in(actions, second)) == (["image-app@v1"], [])
    broken.rmdir()
    answer = await hand_over(relay, actions, second)
    assert {each["reference"] for each in answer.json["lost"]} == {f"app@{each.digest}" for each in pushed}
    for each in pushed:
        await assert_unknown(relay, each)


async def test_what_a_flush_has_stored_is_not_lost_when_the_session_has_expired(
    actions: Emulator, relay: Relay
) -> None:
    pushed = await relay.push_image(layers=[LAYER])
    await relay.flush()
    await let_expire(relay, actions)

    assert (await hand_over(relay, actions, actions.job(run=2))).status == 204
    await assert_unknown(relay, pushed)


async def test_a_tag_is_of_its_run_alone_and_the_next_run_begins_with_its_own_names(
    actions: Emulator, relay: Relay
) -> None:
    second = actions.job(run=2)
    pushed = await relay.push_image("v1", layers=[LAYER])
    for _ in range(3):
        assert (await relay.get("v1")).body == pushed.content

    assert (await hand_over(relay, actions, second)).status == 204

    await assert_unknown(relay, pushed)
    await relay.push_image("v1", layers=[b"another layer"])
    assert stored_in(actions, second) == ["image-app@v1"]


@pytest.mark.parametrize("query", ["", "?mount={digest}&from=app"])
async def test_blobs_without_a_manifest_are_not_seen_by_the_next_run(
    actions: Emulator, relay: Relay, query: str
) -> None:
    digest = await relay.push_blob(LAYER)
    if query:
        answer = await relay.ask("POST", f"/v2/mounted/blobs/uploads/{query.format(digest=digest)}")
        assert answer.status == 201

    assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

    for name in ("app", "mounted"):
        assert (await blob_of(relay, digest, name)).status == 404
        assert (await relay.ask("POST", f"/v2/third/blobs/uploads/?mount={digest}&from={name}")).status == 202
    assert (await relay.ask("POST", f"/v2/third/blobs/uploads/?mount={digest}")).status == 202


async def test_an_upload_of_one_run_is_unknown_in_the_next(actions: Emulator, relay: Relay) -> None:
    location = await relay.open_upload()
    assert (await relay.ask("PATCH", location, data=LAYER)).status == 202

    assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

    finished = await relay.ask("PUT", location, params={"digest": str(Digest.of(LAYER))})
    assert finished.error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert relay.files("uploads") == []


async def test_a_tag_that_is_being_stored_is_stored_in_its_run(actions: Emulator, relay: Relay) -> None:
    second = actions.job(run=2)
    pushed = await relay.push_image(layers=[LAYER])
    actions.plan.play(kinds.FINALIZE, Delay(0.5))
    push = asyncio.ensure_future(relay.put("v1", pushed.content))
    await eventually(lambda: kinds.CREATE in actions.traffic.calls)

    assert (await hand_over(relay, actions, second)).status == 204

    assert (await push).status == 201
    assert "image-app@v1" in stored_in(actions, actions.job())
    assert stored_in(actions, second) == []
    await assert_unknown(relay, pushed)


async def test_a_tag_that_takes_too_long_to_store_is_refused_and_in_no_run(actions: Emulator, tmp_path: Path) -> None:
    second, limits = actions.job(run=2), Limits(between_runs=0.2, service=HASTY)
    async with relay_in(actions, tmp_path / "relay", actions.job(), limits) as relay:
        pushed = await relay.push_image(layers=[LAYER])
        await relay.flush()
        actions.plan.play(kinds.CREATE, Answered(503), times=None)
        push = asyncio.ensure_future(relay.put("v1", pushed.content))
        await eventually(lambda: actions.traffic.calls[kinds.CREATE] > 1)

        assert (await hand_over(relay, actions, second)).status == 204

        refused = await push
        assert refused.error == (403, "DENIED")
        await assert_unknown(relay, pushed)
    assert stored_in(actions, second) == []


async def test_a_layer_that_is_being_sent_is_refused_at_once(actions: Emulator, relay: Relay) -> None:
    location = await relay.open_upload()
    head = {"Authorization": AUTHORIZATION, "Content-Length": str(4 * MIB)}
    async with connected(relay.port, request("PATCH", location, head, noise(MIB))) as (reader, _):
        await eventually(lambda: not relay.services.requests.is_idle)

        assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"}]}")
    assert b" 403 " in answer.splitlines()[0]
    assert b"this relay has been handed over to another run" in answer
    assert relay.files("uploads") == []


Again = Callable[[Emulator], Job]


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(lambda actions: actions.job(), id="the same job"),
        pytest.param(lambda actions: actions.job("deploy"), id="another job"),
        pytest.param(lambda actions: actions.job(attempt=2), id="another attempt"),
    ],
)
async def test_a_session_of_the_same_run_changes_nothing(actions: Emulator, relay: Relay, again: Again) -> None:
    pushed = await relay.push_image(layers=[LAYER])
    location = await relay.open_upload()
    assert (await relay.ask("PATCH", location, data=b"half")).status == 202
    assert (await relay.get("v9")).status == 404

    assert (await hand_over(relay, actions, again(actions))).status == 204

    assert actions.ledger.records == []
    assert (await relay.get(pushed.digest)).body == pushed.content
    assert (await blob_of(relay, Digest.of(LAYER))).body == LAYER
    told = (await relay.ask("GET", "/relay/health")).json
    assert told["pending"] == [f"app@{pushed.digest}"]
    assert [each["path"] for each in told["missing"]] == ["/v2/app/manifests/v9"]
    finished = await relay.ask("PUT", location, params={"digest": str(Digest.of(b"half"))})
    assert finished.status == 201
    assert (await relay.flush()).json == {"failed": []}
    assert stored_in(actions, again(actions)) != []


async def test_what_was_refused_awaited_or_done_in_a_run_is_not_told_of_the_next(
    actions: Emulator, tmp_path: Path
) -> None:
    limits = Limits(service=HASTY, wait_pauses=(0.05,))
    async with relay_in(actions, tmp_path / "relay", actions.job(), limits, wait=0.3) as relay:
        await relay.push_image("v1")
        await relay.get("v1")
        assert "RELAY_WAIT" in (await relay.get("v2")).message
        assert (await relay.put(Digest.of(b"other"), b"{}")).status == 400

        assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

        told = (await relay.ask("GET", "/relay/health")).json
        assert (told["refused"], told["missing"]) == ([], [])
        assert "app" not in (await relay.ask("GET", "/relay/summary")).body.decode()
        assert "RELAY_WAIT" in (await relay.get("v2")).message  # it was waited for, again


async def test_the_newest_run_to_read_besides_is_chosen_anew(actions: Emulator, tmp_path: Path) -> None:
    async def push_in(number: int) -> Pushed:
        job = actions.job("main", run=number)
        async with relay_in(actions, tmp_path / str(number), job) as writer:
            pushed = await writer.push_image("base", layers=[f"layer {number}".encode()])
        job.run.status, job.run.conclusion = "completed", "success"
        return pushed

    old = await push_in(7)
    asking: dict[str, Any] = {"from": ("build.yml@main",)}
    async with relay_in(actions, tmp_path / "relay", actions.job(), **asking) as relay:
        assert (await relay.get("base")).body == old.content
        new = await push_in(8)

        assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

        assert (await relay.get("base")).body == new.content


async def test_an_image_in_an_artifact_of_others_is_not_served_in_the_next_run(actions: Emulator, relay: Relay) -> None:
    image = sample(b"foreign")
    tarball = zipped({"image.tar": legacy_save(image, "image:latest")})
    assert (await Caller(actions, actions.job("other")).upload("image", tarball)).json["ok"]
    assert await image_of(relay, "latest", "image") == image
    found = (await relay.get("latest", "image")).json

    assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

    assert (await relay.get("latest", "image")).status == 404
    assert (await blob_of(relay, found["config"]["digest"], "image")).status == 404


async def test_a_tarball_that_is_being_sent_is_refused_and_its_artifact_never_finished(
    actions: Emulator, relay: Relay
) -> None:
    tarball = legacy_save(sample(noise(20 * MIB), count=1), "app:v1")
    head = {"Authorization": AUTHORIZATION, "Content-Length": str(len(tarball))}
    async with connected(relay.port, request("PUT", "/relay/images/app:v1", head, tarball[:-MIB])) as (reader, _):
        await eventually(lambda: kinds.CREATE in actions.traffic.calls)

        assert (await hand_over(relay, actions, actions.job(run=2))).status == 204

        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"}]}")
    assert b"this relay has been handed over to another run" in answer
    assert [each.name for each in actions.ledger.records if each.finished] == []
    pushed = await relay.push_image("v1")
    assert (await relay.get("v1")).body == pushed.content


async def test_what_is_pulled_of_a_registry_is_kept_in_the_run_that_pulls_it(actions: Emulator, tmp_path: Path) -> None:
    second, path = actions.job(run=2), "/v2/docker.io/library/alpine"
    async with upstream() as there:
        image = there.add_image("library/alpine", "3", layers=(LAYER,))
        asking: dict[str, Any] = {"upstreams": (f"docker.io={there.host}",), "upstream_keep": True}
        async with relay_in(actions, tmp_path / "relay", actions.job(), **asking) as relay:
            for job in (actions.job(), second):
                assert (await hand_over(relay, actions, job)).status == 204
                assert relay.services.mirror.pulled() == [], "nothing was pulled in this run"
                assert (await relay.ask("GET", f"{path}/manifests/3")).body == image.content
                assert (await relay.ask("GET", f"{path}/blobs/{Digest.of(LAYER)}")).body == LAYER
                await eventually(lambda job=job: stored_in(actions, job) != [])  # type: ignore[misc]


# Started again with the same data folder


async def left_pending(actions: Emulator, data: Path) -> Pushed:
    """Let a relay of the first run end before it could store a push by digest."""
    async with relay_in(actions, data, actions.job()) as relay:
        pushed = await relay.push_image(layers=[LAYER])
        actions.plan.play(kinds.CREATE, no_storage_left(), times=None)
    actions.plan.clear()
    assert actions.ledger.records == []
    return pushed


Started = Callable[[Relay], Awaitable[object]]


async def test_a_relay_that_starts_again_in_its_run_stores_what_was_left(actions: Emulator, tmp_path: Path) -> None:
    pushed = await left_pending(actions, tmp_path / "relay")

    async with relay_in(actions, tmp_path / "relay", actions.job("later")) as relay:
        assert (await relay.get(pushed.digest)).body == pushed.content
        assert (await relay.flush()).json == {"failed": []}

    assert len(stored_in(actions, actions.job())) == 1


async def test_a_relay_that_starts_again_without_a_session_has_what_was_left_once_it_is_of_that_run(
    actions: Emulator, tmp_path: Path
) -> None:
    pushed = await left_pending(actions, tmp_path / "relay")

    async with relay_in(actions, tmp_path / "relay", None) as relay:
        assert (await relay.get(pushed.digest)).status == 404
        assert (await blob_of(relay, Digest.of(LAYER))).status == 404
        assert (await hand_over(relay, actions, actions.job("later"))).status == 204
        assert (await relay.get(pushed.digest)).body == pushed.content
        assert (await blob_of(relay, Digest.of(LAYER))).body == LAYER
        assert (await relay.flush()).json == {"failed": []}

    assert len(stored_in(actions, actions.job())) == 1


@pytest.mark.parametrize("is_handed_over", [False, True])
async def test_a_relay_that_starts_again_in_another_run_has_nothing_of_the_first(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_handed_over: bool
) -> None:
    pushed, second = await left_pending(actions, tmp_path / "relay"), actions.job(run=2)

    async with relay_in(actions, tmp_path / "relay", None if is_handed_over else second) as relay:
        if is_handed_over:
            (lost,) = (await hand_over(relay, actions, second)).json["lost"]
            assert (lost["reference"], lost["run"]) == (f"app@{pushed.digest}", FIRST)
        await assert_unknown(relay, pushed)

    assert f"app@{pushed.digest} of {FIRST} is lost" in caplog.text
    assert actions.ledger.records == []
    async with relay_in(actions, tmp_path / "relay", actions.job()) as relay:
        assert (await relay.get(pushed.digest)).status == 404


async def test_what_was_pushed_to_a_folder_is_not_stored_in_a_run(actions: Emulator, tmp_path: Path) -> None:
    async with running(tmp_path / "relay") as relay:
        pushed = await relay.push_image(layers=[LAYER])
        relay.break_store()
    relay.mend_store()

    async with relay_in(actions, tmp_path / "relay", actions.job()) as relay:
        await assert_unknown(relay, pushed)


async def test_no_file_of_the_spool_tells_a_secret(actions: Emulator, relay: Relay) -> None:
    await relay.push_image(layers=[LAYER])
    job = actions.job()

    text = (relay.data / "spool" / "run.json").read_text()

    assert FIRST in text
    assert [each for each in (job.run.backend_id, job.id, job.token) if each in text] == []
