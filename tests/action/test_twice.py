"""The action used more than once in a job: the end of the job says everything once."""

import hashlib
import json

import pytest

from tests.action.conftest import Use
from tests.action.runner import Ended, Step
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay

pytestmark = pytest.mark.timeout(120)

_INDEX = "application/vnd.oci.image.index.v1+json"


def _used(use: Use, relay: Relay, times: int = 3) -> list[Step]:
    steps = [use(relay.port) for _ in range(times)]
    for step in steps:
        assert step.main().status == 0
    return steps


def _ended(steps: list[Step]) -> list[Ended]:
    """End the job as a runner does: the last step first."""
    return [step.post() for step in reversed(steps)]


def test_a_job_that_only_reads_may_use_it_several_times(jobs: Jobs, relay: Relay, use: Use) -> None:
    writer = jobs.relay("build")
    writer.request("PUT", "/v2/app/manifests/v1", body=b"{}")
    later = {"ACTIONS_RUNTIME_TOKEN": jobs.actions.job(expires_in=7000).token}  # the runner may renew it
    first = use(relay.port, access="read")
    second, third = use(relay.port, access="read", environment=later), use(relay.port, environment=later)

    assert [step.main().status for step in (first, second, third)] == [0, 0, 0]
    status, _, body = relay.request("PUT", "/v2/app/manifests/v1", body=b"{}")
    assert status == 403
    assert b"access: read" in body


def test_what_was_refused_is_told_once_for_all_uses(jobs: Jobs, relay: Relay, use: Use) -> None:
    steps = _used(use, relay)
    relay.request("PUT", "/v2/app/manifests/v1", body=b"{}")

    posts = _ended(steps)

    assert [len(post.annotations) for post in posts] == [0, 0, 1]
    ((level, text),) = posts[-1].annotations
    assert level == "warning"
    assert text.startswith("requests that were refused, or got no answer:\nPUT /v2/app/manifests/v1: ")
    assert [post.summary != "" for post in posts] == [False, False, True]


def test_what_is_gone_is_told_once(relay: Relay, use: Use) -> None:
    steps = _used(use, relay)
    relay.kill()

    posts = _ended(steps)

    assert [len(post.annotations) for post in posts] == [0, 0, 1]


def test_what_the_action_itself_was_refused_is_no_second_complaint(relay: Relay, use: Use) -> None:
    (first,) = _used(use, relay, times=1)
    missing = use(relay.port, wait="app:v1", wait_seconds="0")
    failed = missing.main()
    relay.request("PUT", "/relay/images/app:v1", {"User-Agent": "image-relay-action/1.0.0"}, b"")  # by a save

    posts = _ended([first, missing])

    assert failed.status == 1
    assert "app:v1 did not appear" in failed.error
    assert [post.annotations for post in posts] == [[], []]


def test_each_relay_has_a_first_use_of_its_own(jobs: Jobs, use: Use) -> None:
    relays = [jobs.start({"RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts}) for _ in range(2)]
    steps = [use(relay.port) for relay in [*relays, *relays]]
    for step in steps:
        step.main()
    for relay in relays:
        relay.request("PUT", "/v2/app/manifests/v1", body=b"{}")

    posts = _ended(steps)

    assert [len(post.annotations) for post in posts] == [0, 0, 1, 1]


def test_a_relay_that_had_the_session_before_is_flushed_all_the_same(jobs: Jobs, relay: Relay, use: Use) -> None:
    status, _, _ = relay.request("PUT", "/relay/session", body=jobs.offer())
    (step,) = _used(use, relay, times=1)
    index = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": []}).encode()
    digest = f"sha256:{hashlib.sha256(index).hexdigest()}"
    pushed, _, _ = relay.request("PUT", f"/v2/app/manifests/{digest}", {"Content-Type": _INDEX}, index)
    before = _pending(relay)

    post = step.post()

    assert (status, pushed, post.status, post.annotations) == (204, 201, 0, [])
    assert (before, _pending(relay)) == ([f"app@{digest}"], [])


def _pending(relay: Relay) -> list[str]:
    pending: list[str] = json.loads(relay.request("GET", "/relay/health")[2])["pending"]
    return pending
