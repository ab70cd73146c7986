"""Sessions, from outside: what a relay does before it has one, which ones it takes, and what it is without.

The other side is the emulator; what a relay sends elsewhere would be seen by a server that records everything.
"""

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from config import job as job_module
from config.job import Job
from proxy.api.server import bind_all, listen
from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.actions_store.relays import HASTY
from tests.api.relay import Answer, Relay, eventually, running
from tests.fakes.actions import tokens
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.emulator import Job as EmulatedJob
from tests.fakes.actions.faults import Answer as Answered
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.rest import OTHER_TOKEN, READ_TOKEN

NO_SESSION = 'image-relay has no session: put "- uses: OWNER/image-relay@v1" before this step'
EXPIRED = "the session of this job has expired; push earlier in the job, or split it"
DIGEST = Digest.of(b"")


@dataclass
class Recorder:
    """A server to which nothing may be sent."""

    origin: str
    requests: list[str] = field(default_factory=list)


@pytest.fixture
async def elsewhere() -> AsyncIterator[Recorder]:
    recorder = Recorder("")

    async def record(request: web.Request) -> web.Response:
        recorder.requests.append(f"{request.method} {request.path}")
        return web.json_response({"artifacts": []})

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", record)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        recorder.origin = f"http://localhost:{port}"  # the emulator is at 127.0.0.1
        yield recorder
    assert recorder.requests == []


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    for record in caplog.get_records("call"):
        text = f"{record.getMessage()} {record.exc_info}"
        for secret in ("sig=", "eyJ", READ_TOKEN, OTHER_TOKEN):
            assert secret not in text


@asynccontextmanager
async def waiting(actions: Emulator, data: Path, job: Job | None = None, **settings: Any) -> AsyncIterator[Relay]:
    """A relay over artifacts, without a session unless the job has one."""
    chosen = {"store": "actions", "trusted_hosts": actions.trusted_hosts, **settings}
    async with running(data, job=job, **chosen) as relay:
        yield relay


@asynccontextmanager
async def relay_of(
    actions: Emulator, data: Path, job: EmulatedJob | None = None, **settings: Any
) -> AsyncIterator[Relay]:
    """A relay whose session is in its environment."""
    found = job_module.read(actions.environment(job or actions.job()))
    async with waiting(actions, data, found, **settings) as relay:
        yield relay


def offer(actions: Emulator, job: EmulatedJob | None = None, **other: object) -> dict[str, object]:
    job = job or actions.job()
    return {
        "token": job.token,
        "results_url": f"{actions.origin}/",
        "repository": "octo/relay",
        "run_id": str(job.run.number),
        "run_attempt": str(job.run.attempt),
        "public_host": "",
        "retention_days": 90,
        "access": "write",
        "action_version": "1.0.0",
        **other,
    }


async def hand_over(relay: Relay, fields: object, **more: Any) -> Answer:
    answer = await relay.ask("PUT", "/relay/session", data=json.dumps(fields).encode(), **more)
    assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    if isinstance(fields, dict) and isinstance(token := fields.get("token"), str) and len(token) > 10:
        assert token.encode() not in answer.body
    return answer


async def health(relay: Relay) -> dict[str, Any]:
    answer = await relay.ask("GET", "/relay/health")
    assert answer.status == 200
    return dict(answer.json)


# Before there is one


async def test_a_relay_without_a_session_is_alive_and_says_that_it_has_none(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        told = await health(relay)

        assert (told["store"], told["session"], told["ready"]) == ("actions", "none", False)
        assert (await relay.ask("GET", "/v2/")).status == 200
        assert (await relay.ask("GET", "/v2/_catalog")).json == {"repositories": []}
        assert (await relay.ask("GET", "/relay/images")).json == {"images": []}
        assert (await relay.flush()).status == 200
    assert actions.traffic.calls == {}


@pytest.mark.parametrize("path", ["manifests/v1", f"manifests/{DIGEST}", f"blobs/{DIGEST}"])
async def test_before_there_is_a_session_every_head_is_an_empty_404(
    actions: Emulator, tmp_path: Path, path: str
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await relay.ask("HEAD", f"/v2/app/{path}")

    assert (answer.status, answer.body) == (404, b"")


async def test_before_there_is_a_session_a_pull_is_told_what_to_do(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await relay.get("v1")

    assert answer.error == (404, "MANIFEST_UNKNOWN")
    assert answer.message == f"app:v1 is not here: {NO_SESSION}"


async def test_a_relay_that_knows_the_name_of_its_action_says_that(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path, Job(action="team/image-relay@v2")) as relay:
        answers = [await relay.get("v1"), await relay.ask("POST", "/v2/app/blobs/uploads/")]

    assert all('put "- uses: team/image-relay@v2" before this step' in answer.message for answer in answers)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={DIGEST}"),
        ("PATCH", "blobs/uploads/1"),
        ("PUT", "blobs/uploads/1"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
    ],
)
async def test_before_there_is_a_session_a_push_is_told_what_to_do(
    actions: Emulator, tmp_path: Path, method: str, path: str
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await relay.ask(method, f"/v2/app/{path}")

    assert answer.error == (403, "DENIED")
    assert answer.message == NO_SESSION


# Handing over


async def test_a_session_is_taken_with_one_listing_and_opens_the_relay(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions))

        assert (answer.status, answer.body) == (204, b"")
        assert actions.traffic.calls == {"ListArtifacts": 1}
        pushed = await relay.push_image("v1")
        assert (await relay.get("v1")).body == pushed.content
        told = await health(relay)
        (image,) = (await relay.ask("GET", "/relay/images")).json["images"]

    assert (told["session"], told["ready"]) == ("active", True)
    assert datetime.fromisoformat(told["session_expires"]) > datetime.now(UTC) + timedelta(hours=5)
    assert image["references"] == ["app:v1"]
    assert image["artifact_id"] == str(actions.ledger.records[0].id)
    kept = datetime.fromisoformat(image["expires"]) - datetime.now(UTC)
    assert timedelta(days=2, hours=23) < kept < timedelta(days=3, hours=2)
    until = told["session_expires"][:16].replace("T", " ")
    assert (
        f"octo/relay run 1001 #1 (action 1.0.0), good until {until} UTC; artifacts are kept for 3 days" in caplog.text
    )


async def test_only_token_and_address_are_needed_and_what_is_unknown_is_passed_over(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"token": actions.job().token, "results_url": actions.origin, "of_a_newer_action": [1, {}]}

    async with waiting(actions, tmp_path) as relay:
        assert (await hand_over(relay, fields)).status == 204

    assert "a session is in use: this job, good until" in caplog.text


async def test_a_variable_that_the_ci_never_filled_is_as_good_as_none(actions: Emulator, tmp_path: Path) -> None:
    empty = dict.fromkeys(("repository", "run_id", "run_attempt", "retention_days", "access", "action_version"), "")

    async with waiting(actions, tmp_path) as relay:
        assert (await hand_over(relay, offer(actions) | empty)).status == 204


async def test_numbers_may_be_written_as_numbers_or_as_text(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        numbers = offer(actions, run_id=1001, run_attempt=1, retention_days="90")
        assert (await hand_over(relay, numbers)).status == 204


@pytest.mark.parametrize(("most", "days"), [(1, 1), (90, 2), (None, 2)])
async def test_what_the_repository_keeps_at_most_limits_the_retention(
    actions: Emulator, tmp_path: Path, most: int | None, days: int
) -> None:
    async with waiting(actions, tmp_path, retention_days=2) as relay:
        await hand_over(relay, offer(actions, retention_days=most))
        await relay.push_image("v1")

    (record,) = actions.ledger.records
    assert abs(record.expires_at - record.created_at - timedelta(days=days)) < timedelta(hours=2)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"])
async def test_a_session_can_be_given_but_never_be_had(actions: Emulator, tmp_path: Path, method: str) -> None:
    job = actions.job()

    async with waiting(actions, tmp_path) as relay:
        await hand_over(relay, offer(actions, job))
        answer = await relay.ask(method, "/relay/session")

    assert answer.status == 405
    assert answer.headers["Allow"] == "PUT"
    assert job.token.encode() not in answer.body


async def test_nothing_that_a_relay_tells_has_a_secret_in_it(actions: Emulator, tmp_path: Path) -> None:
    job = actions.job()
    paths = ["/relay/health", "/relay/images", "/v2/_catalog", "/v2/app/manifests/v2", "/relay/session", "/nowhere"]

    async with waiting(actions, tmp_path) as relay:
        await hand_over(relay, offer(actions, job))
        await relay.push_image("v1")
        told = b"".join([(await relay.ask("GET", path)).body for path in paths])

    for secret in (job.token, job.token.split(".")[1], job.id, job.run.backend_id, "sig="):
        assert secret.encode() not in told


async def test_a_relay_over_a_folder_needs_no_session(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        answer = await hand_over(relay, {"token": "a.b.c", "results_url": "https://x"})

    assert answer.error == (403, "DENIED")
    assert answer.message.endswith("needs no session; start it with RELAY_STORE=actions")


# What is no session


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "Invalid JSON"),
        (b"token", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 60_000, "Invalid JSON"),
        (b'{"token": "a.b.c\x00", "results_url": "https://x"}', "Invalid JSON"),
        (b"null", "Input should be an object"),
        (b'["token"]', "Input should be an object"),
        (b" " * 65_537, "a hand-over has at most 65536 bytes"),
        (b"{}", "token: Field required"),
    ],
)
async def test_a_body_that_is_no_hand_over_is_a_sentence_and_the_relay_goes_on(
    actions: Emulator, tmp_path: Path, body: bytes, sentence: str
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await relay.ask("PUT", "/relay/session", data=body)

        assert answer.error == (400, "DENIED")
        assert answer.message.startswith(f"the session was not accepted: {sentence}")
        assert actions.traffic.calls == {}
        assert (await hand_over(relay, offer(actions))).status == 204


async def test_a_body_of_megabytes_is_not_read_to_its_end(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await relay.ask("PUT", "/relay/session", data=b" " * (5 * 1024 * 1024))

        assert answer.error == (413, "SIZE_INVALID")
        assert (await hand_over(relay, offer(actions))).status == 204


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("token", "", "token: String should have at least 1 character"),
        ("token", None, "token: Input should be a valid string"),
        ("token", 7, "token: Input should be a valid string"),
        ("token", "secret", "the token is not a JSON Web Token"),
        ("token", "e30.e30.x\r\nHost: evil.example", "the token is not a JSON Web Token"),
        ("token", "e30.e30.e30", "the token gives no access to artifacts"),
        ("results_url", "", "results_url: String should have at least 1 character"),
        ("results_url", "x" * 3000, "results_url: String should have at most 2048 characters"),
        ("results_url", "nowhere", "the results URL is none"),
        ("results_url", "https://me:secret@results-receiver.actions.githubusercontent.com/", "the results URL is not"),
        ("repository", "octo", "repository: String should match pattern"),
        ("repository", "octo/relay/../x", "repository: String should match pattern"),
        ("repository", "octo/\nrelay", "repository: String should match pattern"),
        ("run_id", "1/../2", "run_id: String should match pattern"),
        ("run_id", -1, "run_id: String should match pattern"),
        ("run_id", [], "run_id: Input should be a valid string"),
        ("run_attempt", "first", "run_attempt: String should match pattern"),
        ("public_host", "http://relay:5000", "public_host: should be a host with a dot, or host:port"),
        ("public_host", "relay:5000\n", "public_host: should be a host with a dot, or host:port"),
        ("public_host", "relay", "public_host: should be a host with a dot, or host:port"),
        ("public_host", "relay.example:65536", "public_host: should have a port up to 65535"),
        ("public_host", "[::1]:99999", "public_host: should have a port up to 65535"),
        ("retention_days", 0, "retention_days: Input should be greater than or equal to 1"),
        ("retention_days", "many", "retention_days: Input should be a valid integer"),
        ("retention_days", 1e400, "retention_days: Input should be a finite number"),
        ("access", "admin", "access: Input should be '', 'read' or 'write'"),
        ("action_version", "1" * 101, "action_version: String should have at most 100 characters"),
    ],
)
async def test_a_field_that_makes_no_sense_is_named_and_nothing_is_sent(
    actions: Emulator, tmp_path: Path, field: str, value: object, sentence: str
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions) | {field: value})

    assert answer.error == (400, "DENIED")
    assert answer.message.startswith(f"the session was not accepted: {sentence}")
    assert "secret" not in answer.message
    assert actions.traffic.calls == {}


async def test_what_an_action_calls_itself_can_not_command_the_runner(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with waiting(actions, tmp_path) as relay:
        assert (await hand_over(relay, offer(actions, action_version="1\n::error::x ##[y]"))).status == 204

    assert "\n::error" not in caplog.text.replace("::error::x", "", 0).replace("�::error::x", "")
    assert "##[y]" not in caplog.text


# Who hands over


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:5000"])
async def test_a_web_page_can_hand_over_nothing(actions: Emulator, tmp_path: Path, origin: str) -> None:
    async with waiting(actions, tmp_path) as relay:
        preflight = await relay.ask(
            "OPTIONS", "/relay/session", headers={"Origin": origin, "Access-Control-Request-Method": "PUT"}
        )
        answer = await hand_over(relay, offer(actions), headers={"Origin": origin})
        flushed = await relay.ask("POST", "/relay/flush", headers={"Origin": origin})

    assert preflight.status == 405
    assert not [name for name in preflight.headers if name.lower().startswith("access-control-")]
    for refused in (answer, flushed):
        assert refused.error == (403, "DENIED")
        assert refused.message == "requests from web pages (with an Origin header) are refused"
    assert actions.traffic.calls == {}


async def test_a_page_that_points_its_name_at_the_relay_can_hand_over_nothing(
    actions: Emulator, tmp_path: Path
) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions), headers={"Host": "evil.example:5000"})

    assert answer.status == 421
    assert actions.traffic.calls == {}


async def test_a_forged_session_is_refused_before_the_real_one_and_after(actions: Emulator, tmp_path: Path) -> None:
    job = actions.job()
    forged = offer(actions, token=tokens.mint(job.run.backend_id, job.id, key=b"another key"))

    async with waiting(actions, tmp_path) as relay:
        before = await hand_over(relay, forged)
        assert (await health(relay))["session"] == "none"
        assert (await hand_over(relay, offer(actions, job))).status == 204
        after = await hand_over(relay, forged)
        pushed = await relay.push_image("v1")
        assert (await relay.get("v1")).body == pushed.content

    for refused in (before, after):
        assert refused.error == (400, "DENIED")
        assert refused.message.startswith("the session was not accepted: the session of this job has expired")


@pytest.mark.parametrize("trusted", [None, "gitea:3000"])
async def test_a_session_of_a_foreign_service_is_refused_and_nothing_is_sent_there(
    actions: Emulator, tmp_path: Path, elsewhere: Recorder, trusted: str | None
) -> None:
    fields = offer(actions, results_url=f"{elsewhere.origin}/")
    job = Job(under_ci=True)

    async with waiting(actions, tmp_path, job, trusted_hosts=trusted) as relay:
        answer = await hand_over(relay, fields)

    place = elsewhere.origin.removeprefix("http://")
    assert answer.error == (403, "DENIED")
    assert answer.message.endswith(f"set RELAY_TRUSTED_HOSTS={f'{trusted},' if trusted else ''}{place}")


async def test_a_foreign_service_is_refused_after_the_real_session_too(
    actions: Emulator, tmp_path: Path, elsewhere: Recorder
) -> None:
    async with waiting(actions, tmp_path) as relay:
        assert (await hand_over(relay, offer(actions))).status == 204
        answer = await hand_over(relay, offer(actions, results_url=elsewhere.origin))

    assert answer.error == (403, "DENIED")


async def test_elsewhere_than_under_github_this_machine_is_trusted(actions: Emulator, tmp_path: Path) -> None:
    for job in (Job(), Job(under_ci=True, server_is_github=False)):
        async with waiting(actions, tmp_path, job, trusted_hosts=None) as relay:
            assert (await hand_over(relay, offer(actions))).status == 204


async def test_a_service_that_sends_elsewhere_is_not_followed(
    actions: Emulator, tmp_path: Path, elsewhere: Recorder
) -> None:
    actions.plan.play("ListArtifacts", Answered(307, headers={"Location": f"{elsewhere.origin}/x"}))

    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions))

    assert answer.error == (400, "DENIED")
    assert "307" in answer.message


async def test_a_service_that_does_not_answer_is_not_waited_for_without_end(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path, limits=Limits(session_check=0.0)) as relay:
        answer = await hand_over(relay, offer(actions))

    assert answer.error == (400, "DENIED")
    assert answer.message.endswith("the artifact service did not answer within 0 seconds; try again")


async def test_a_server_without_an_artifact_service_is_told(actions: Emulator, tmp_path: Path) -> None:
    actions.plan.play("ListArtifacts", Answered(422, '{"code": "unimplemented", "msg": "no"}'))

    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions))

    assert answer.error == (400, "DENIED")


# Another session


async def test_a_fresh_token_of_the_same_run_takes_the_place_of_the_old_one(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        assert (await hand_over(relay, offer(actions, actions.job("build")))).status == 204
        assert (await hand_over(relay, offer(actions, actions.job("build", expires_in=300)))).status == 204

        assert (await health(relay))["session"] == "expiring"


async def test_another_run_has_to_wait_until_the_session_has_expired(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = offer(actions, actions.job(run=2))

    async with waiting(actions, tmp_path, limits=Limits(session_poll=0.01)) as relay:
        assert (await hand_over(relay, offer(actions, actions.job(expires_in=2)))).status == 204
        refused = await hand_over(relay, other)
        await relay.push_image("v1")
        await eventually(lambda: "has expired: this relay" in caplog.text)
        accepted = await hand_over(relay, other)
        missing = await relay.get("v1")

    assert refused.error == (409, "DENIED")
    assert refused.message == "this relay works for another run; it accepts a new session once that one has expired"
    assert accepted.status == 204
    assert missing.status == 404


async def test_who_has_the_password_may_hand_over_another_run(actions: Emulator, tmp_path: Path) -> None:
    auth = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}

    async with waiting(actions, tmp_path, password="secret") as relay:  # noqa: S106
        assert (await hand_over(relay, offer(actions))).status == 401
        assert (await hand_over(relay, offer(actions), headers=auth)).status == 204
        assert (await hand_over(relay, offer(actions, actions.job(run=2)), headers=auth)).status == 204


async def test_of_two_runs_that_hand_over_at_once_one_is_taken(actions: Emulator, tmp_path: Path) -> None:
    offers = [offer(actions, actions.job(run=number)) for number in (1, 2, 3)]

    async with waiting(actions, tmp_path) as relay:
        answers = await asyncio.gather(*(hand_over(relay, each) for each in offers))

    assert sorted(answer.status for answer in answers) == [204, 409, 409]


async def test_a_token_that_has_expired_is_not_sent(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path) as relay:
        answer = await hand_over(relay, offer(actions, actions.job(expires_in=-1)))

    assert answer.error == (400, "DENIED")
    assert answer.message == "the session was not accepted: its token has expired"
    assert actions.traffic.calls == {}


@pytest.mark.parametrize(("setting", "handed"), [("write", "read"), ("read", "write"), ("read", "read")])
async def test_a_session_to_read_makes_a_relay_that_takes_nothing(
    actions: Emulator, tmp_path: Path, setting: str, handed: str
) -> None:
    async with relay_of(actions, tmp_path / "a") as writer:
        pushed = await writer.push_image("v1")
    fields = offer(actions, access=handed)

    async with waiting(actions, tmp_path / "b", access=setting) as relay:
        assert (await hand_over(relay, fields)).status == 204
        assert (await relay.get("v1")).body == pushed.content
        refused = [
            await relay.put("v1", pushed.content),
            await relay.ask("POST", "/v2/app/blobs/uploads/"),
            await relay.ask("DELETE", "/v2/app/manifests/v1"),
        ]
        taken = await hand_over(relay, offer(actions, actions.job("other")))
        again = await hand_over(relay, fields)
        later = await hand_over(relay, offer(actions, actions.job(expires_in=7000)))

    for answer in refused:
        assert answer.error == (403, "DENIED")
        assert answer.message.startswith("this relay only serves images: ")
        assert ("RELAY_ACCESS=read is set" in answer.message) == (setting == "read")
        assert ('this job uses the action with "access: read"' in answer.message) == (setting == "write")
    assert taken.error == (409, "DENIED")
    assert "keeps the session that it has" in taken.message
    assert (again.status, later.status) == (204, 204)  # its answer may have been lost, or it is a later step


async def test_the_host_that_is_handed_over_is_in_names_and_may_be_asked_for(actions: Emulator, tmp_path: Path) -> None:
    host = {"Host": "relay.example:5001"}

    async with waiting(actions, tmp_path) as relay:
        assert (await relay.ask("GET", "/v2/", headers=host)).status == 421
        assert (await hand_over(relay, offer(actions, public_host="relay.example:5001"))).status == 204
        assert (await relay.ask("GET", "/v2/", headers=host)).status == 200
        assert relay.services.backend.public_host == "relay.example:5001"
        assert (await hand_over(relay, offer(actions, public_host="other.example:5001"))).status == 204
        assert (await relay.ask("GET", "/v2/", headers=host)).status == 421


async def test_a_host_that_was_set_by_hand_stays_in_names(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path, public_host="mine.example") as relay:
        assert (await hand_over(relay, offer(actions, public_host="relay.example:5001"))).status == 204

        for host in ("mine.example", "relay.example:5001"):
            assert (await relay.ask("GET", "/v2/", headers={"Host": host})).status == 200
        assert relay.services.backend.public_host == "mine.example"


# The end of a session


async def test_a_session_that_has_expired_still_gives_what_the_relay_has(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with waiting(actions, tmp_path, limits=Limits(session_poll=0.01)) as relay:
        assert (await hand_over(relay, offer(actions, actions.job(expires_in=3)))).status == 204
        pushed = await relay.push_image("v1", layers=[b"layer"])
        assert (await relay.get("v1")).status == 200
        await eventually(lambda: "has expired: this relay" in caplog.text)

        told = await health(relay)
        assert (told["session"], told["ready"]) == ("expired", False)
        assert (await relay.get("v1")).body == pushed.content
        assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(b'layer')}")).body == b"layer"
        assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v1"]
        assert (await relay.ask("HEAD", "/v2/app/manifests/v2")).status == 404
        missing = await relay.get("v2")
        refused = await relay.ask("POST", "/v2/app/blobs/uploads/")
        deleted = await relay.ask("DELETE", "/v2/app/manifests/v1")

    assert missing.message == (
        "app:v2 is not known here (known: app:v1): the session of this job has expired, so newer images are not seen"
    )
    for answer in (refused, deleted):
        assert answer.error == (403, "DENIED")
        assert answer.message == EXPIRED
    assert "the session of this job ends soon (good until 20" in caplog.text


async def test_a_token_that_the_service_takes_no_longer_has_expired_whatever_it_says(
    actions: Emulator, tmp_path: Path
) -> None:
    async with relay_of(actions, tmp_path) as relay:
        actions.plan.play("ListArtifacts", Answered(401))

        assert (await relay.get("v1")).status == 404
        assert (await health(relay))["session"] == "expired"
        assert (await relay.ask("POST", "/v2/app/blobs/uploads/")).message == EXPIRED
        assert (await hand_over(relay, offer(actions))).status == 204
        await relay.push_image("v1")


async def test_a_push_that_finds_its_token_refused_says_so_and_so_do_all_after_it(
    actions: Emulator, tmp_path: Path
) -> None:
    async with relay_of(actions, tmp_path) as relay:
        pushed = await relay.push_image()
        actions.plan.play("CreateArtifact", Answered(401))

        refused = await relay.put("v1", pushed.content)

        assert refused.error == (403, "DENIED")
        assert refused.message == f"app:v1 was not stored: {EXPIRED}"
        assert (await health(relay))["session"] == "expired"
        assert (await hand_over(relay, offer(actions))).status == 204
        assert (await relay.put("v1", pushed.content)).status == 201


# The session of the environment


async def test_the_environment_may_have_the_session(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with relay_of(actions, tmp_path / "a") as first:
        pushed = await first.push_image("v1")
    async with relay_of(actions, tmp_path / "b", actions.job("test")) as second:
        assert (await second.get("v1")).body == pushed.content
        (image,) = (await second.ask("GET", "/relay/images")).json["images"]

    assert "a session is in use: of the environment, good until 20" in caplog.text
    assert "images are kept in: actions (RELAY_STORE=actions)" in caplog.text
    assert "expires" not in image  # another relay stored it


async def test_a_session_of_the_environment_that_is_none_is_told(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with waiting(actions, tmp_path, Job(runtime_token="secret", results_url=actions.origin)) as relay:  # noqa: S106
        assert (await health(relay))["session"] == "none"

    assert "the session of the environment is not used: the token is not a JSON Web Token" in caplog.text


# What is not in the run


async def test_a_tag_that_is_not_there_is_answered_with_what_is(actions: Emulator, tmp_path: Path) -> None:
    async with relay_of(actions, tmp_path) as relay:
        empty = await relay.get("latest")
        for name, tag in (("web", "ci"), ("app", "a"), ("app", "ci")):
            await relay.push_image(tag, name=name)
        await relay.push_image(name="app", layers=[b"untagged"])
        await relay.flush()
        actions.traffic.reset()
        missing = await relay.get("latest")

    assert empty.message == (
        'app:latest is not in this run (it has: nothing yet). Missing "needs: build", or another tag?'
    )
    assert missing.error == (404, "MANIFEST_UNKNOWN")
    assert missing.message == (
        'app:latest is not in this run (it has: app:ci, app:a, web:ci). Missing "needs: build", or another tag?'
    )
    assert actions.traffic.total("GetSignedArtifactURL", "get_range") == 0


async def test_another_job_can_not_move_a_tag_unless_that_is_set(actions: Emulator, tmp_path: Path) -> None:
    async with relay_of(actions, tmp_path / "a", actions.job("build")) as first:
        pushed = await first.push_image("v1", layers=[b"first"])
    async with relay_of(actions, tmp_path / "b", actions.job("other")) as other:
        moved = await other.push_image(layers=[b"other"])
        created = actions.traffic.calls["CreateArtifact"]
        refused = await other.put("v1", moved.content)
        assert (await other.get("v1")).body == pushed.content
        assert actions.traffic.calls["CreateArtifact"] == created
    async with relay_of(actions, tmp_path / "c", actions.job("third"), overwrite="run") as allowed:
        moved = await allowed.push_image("v1", layers=[b"third"])
        assert (await allowed.get("v1")).body == moved.content

    assert refused.error == (403, "DENIED")
    assert refused.message.endswith(
        "app:v1 belongs to another job of this run; use another tag, or RELAY_OVERWRITE=run"
    )


# Bytes from elsewhere


async def test_bytes_are_not_uploaded_to_another_host(actions: Emulator, tmp_path: Path, elsewhere: Recorder) -> None:
    url = {"ok": True, "signed_upload_url": f"{elsewhere.origin}/x?sig=secret"}
    actions.plan.play("CreateArtifact", Answered(200, json.dumps(url), "application/json"))

    async with relay_of(actions, tmp_path) as relay:
        pushed = await relay.push_image()
        refused = await relay.put("v1", pushed.content)

    assert refused.error == (403, "DENIED")
    assert f"set RELAY_TRUSTED_HOSTS={actions.trusted_hosts},localhost:" in refused.message


async def test_bytes_are_not_read_from_another_host(actions: Emulator, tmp_path: Path, elsewhere: Recorder) -> None:
    async with relay_of(actions, tmp_path / "a") as first:
        await first.push_image("v1")
    url = {"signed_url": f"{elsewhere.origin}/x?sig=secret"}
    actions.plan.play("GetSignedArtifactURL", Answered(200, json.dumps(url), "application/json"))

    async with relay_of(actions, tmp_path / "b") as relay:
        refused = await relay.get("v1")

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("image-app@v1: the artifact service points to a host that is not trusted")
    assert "sig=" not in refused.message


@pytest.mark.parametrize("status", [302, 307])
async def test_storage_that_sends_elsewhere_is_not_followed(
    actions: Emulator, tmp_path: Path, elsewhere: Recorder, status: int
) -> None:
    async with relay_of(actions, tmp_path / "a") as first:
        await first.push_image("v1")
    redirect = Answered(status, headers={"Location": f"{elsewhere.origin}/x?sig=secret"})
    for kind in ("get_range", "put_block", "put_block_list"):
        actions.plan.play(kind, redirect, times=None)

    async with relay_of(actions, tmp_path / "b", limits=Limits(service=HASTY)) as relay:
        pull = await relay.get("v1")
        pushed = await relay.push_image()
        push = await relay.put("v2", pushed.content)
        actions.plan.clear()

    for refused in (pull, push):
        assert refused.error == (403, "DENIED")
        assert "sig=" not in refused.message


# Reading with GITHUB_TOKEN


def reading(actions: Emulator, run: int = 1001, token: str = READ_TOKEN) -> Job:
    """A job that has nothing but GITHUB_TOKEN."""
    return Job(github_token=token, repository="octo/relay", run_id=str(run), api_url=actions.origin)


async def test_without_a_session_the_run_can_be_read_but_not_changed(actions: Emulator, tmp_path: Path) -> None:
    async with relay_of(actions, tmp_path / "a") as first:
        pushed = await first.push_image("v1", layers=[b"layer"])

    async with waiting(actions, tmp_path / "b", reading(actions)) as relay:
        assert (await relay.get("v1")).body == pushed.content
        assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(b'layer')}")).body == b"layer"
        (image,) = (await relay.ask("GET", "/relay/images")).json["images"]
        refused = await relay.ask("POST", "/v2/app/blobs/uploads/")
        kept = [await relay.ask("DELETE", path) for path in ("/v2/app/manifests/v1", "/relay/images?all")]
        missing = await relay.get("v2")
        before = await health(relay)
        assert (await hand_over(relay, offer(actions, actions.job("test")))).status == 204
        await relay.push_image("v2")
        after = await health(relay)

    assert [each.message for each in (refused, *kept)] == [NO_SESSION] * 3
    assert missing.message.startswith("app:v2 is not in this run (it has: app:v1). ")
    assert (before["ready"], before["session"], before["run"]) == (True, "none", "1001")
    assert (after["ready"], after["session"], "run" in after) == (True, "active", False)
    assert datetime.fromisoformat(image["expires"]) > datetime.now(UTC) + timedelta(days=2)


@pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
async def test_a_netrc_changes_nothing(
    actions: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    (tmp_path / "netrc").write_text(f"{entry} login me password of-something-else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with waiting(actions, tmp_path / "a") as first:
        assert (await hand_over(first, offer(actions))).status == 204
        pushed = await first.push_image("v1", layers=[b"layer"])

    async with waiting(actions, tmp_path / "b", reading(actions)) as relay:
        assert (await relay.get("v1")).body == pushed.content


async def test_who_may_not_read_is_told_the_line_to_change(actions: Emulator, tmp_path: Path) -> None:
    async with waiting(actions, tmp_path, reading(actions, token=OTHER_TOKEN)) as relay:
        refused = await relay.get("v1")

    assert refused.error == (403, "DENIED")
    assert refused.message == 'GITHUB_TOKEN cannot read artifacts: give the job "permissions: {actions: read}"'


async def test_storage_that_rest_names_is_checked_as_well(
    actions: Emulator, tmp_path: Path, elsewhere: Recorder
) -> None:
    async with relay_of(actions, tmp_path / "a") as first:
        await first.push_image("v1")
    actions.plan.play("rest_zip", Answered(302, headers={"Location": f"{elsewhere.origin}/x?sig=secret"}))

    async with waiting(actions, tmp_path / "b", reading(actions)) as relay:
        refused = await relay.get("v1")

    assert refused.error == (403, "DENIED")
    assert "not trusted" in refused.message


@pytest.mark.parametrize(
    "job",
    [
        Job(github_token=READ_TOKEN),
        Job(github_token=READ_TOKEN, repository="octo/relay"),
        Job(github_token=READ_TOKEN, repository="octo", run_id="1"),
        Job(github_token=READ_TOKEN, repository="octo/relay", run_id="1/.."),
        Job(github_token=READ_TOKEN, repository="octo/relay", run_id="1", api_url="nowhere"),
    ],
)
async def test_a_token_that_has_nothing_to_read_is_told(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture, job: Job
) -> None:
    async with waiting(actions, tmp_path, job) as relay:
        assert (await relay.get("v1")).status == 404

    assert "GITHUB_TOKEN is not used: GITHUB_REPOSITORY and GITHUB_RUN_ID do not say what to read" in caplog.text


# Another run


async def test_another_run_is_handed_out_and_named_and_takes_nothing(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = actions.job(run=7)
    other.run.event = "schedule"
    async with relay_of(actions, tmp_path / "a", other) as first:
        pushed = await first.push_image("v1")
    own = job_module.read(actions.environment(actions.job()))

    async with waiting(actions, tmp_path / "b", own, run_id="7") as relay:
        await eventually(lambda: "images come from" in caplog.text)
        assert (await relay.get("v1")).body == pushed.content
        missing = await relay.get("v2")
        refused = await relay.ask("POST", "/v2/app/blobs/uploads/")
        taken = await hand_over(relay, offer(actions))
        told = await health(relay)

    assert missing.message == "app:v2 is not in run 7 of octo/relay (it has: app:v1); another tag?"
    assert refused.message == "this relay serves the images of another run; push to one without RELAY_RUN_ID"
    assert taken.error == (409, "DENIED")
    assert (told["ready"], told["session"], told["run"]) == (True, "none", "7")
    assert (told["head"], told["commit"], told["event"]) == ("octo/relay", other.run.head_sha, "schedule")
    assert f"images come from run 7 of octo/relay, made of octo/relay at {other.run.head_sha[:12]} (schedule)" in (
        caplog.text
    )


async def test_the_summary_names_another_run_and_what_it_was_made_of(actions: Emulator, tmp_path: Path) -> None:
    other = actions.job(run=7)
    other.run.event = "`|\n::error::x <b>"
    async with relay_of(actions, tmp_path / "a", other) as first:
        await first.push_image("v1")

    async with waiting(actions, tmp_path / "b", reading(actions), run_id="7") as relay:
        assert (await relay.get("v1")).status == 200
        written = (await relay.ask("GET", "/relay/summary")).body.decode()

    head = f"`octo/relay` at `{other.run.head_sha}`"
    assert f"Images are read from another run: `7`, made of {head} (event `` `¦\ufffd::error::x <b> ``).\n" in written
    assert " are kept in artifacts of run 7: " in written
    assert "\nFrom this relay:\n\n```sh\ndocker pull " in written
    assert "\ngh run download 7 -R octo/relay -n image-app@v1\n" in written


async def test_a_run_of_a_fork_is_handed_out_only_to_who_trusts_it(
    actions: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = actions.job(run=7)
    async with relay_of(actions, tmp_path / "a", other) as first:
        pushed = await first.push_image("v1")
    other.run.head_repository, other.run.event = "fork/relay", "pull_request"
    sentence = f"run 7 of octo/relay comes from fork/relay at {other.run.head_sha[:12]} (pull_request)"

    async with waiting(actions, tmp_path / "b", reading(actions), run_id="7") as relay:
        await eventually(lambda: "set RELAY_TRUST_FORKS=true" in caplog.text)
        refused = await relay.get("v1")
        told = await health(relay)
    async with waiting(actions, tmp_path / "c", reading(actions), run_id="7", trust_forks=True) as relay:
        assert (await relay.get("v1")).body == pushed.content

    assert refused.error == (403, "DENIED")
    assert refused.message == f"{sentence}; if you trust whoever made that, set RELAY_TRUST_FORKS=true"
    assert (told["ready"], told["head"]) == (False, "fork/relay")
    assert refused.message in caplog.text
