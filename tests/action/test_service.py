"""The action in a job with a service container: what it hands over, to whom, and what it says when it can not."""

import json
from base64 import b64encode

import pytest

from proxy.oci.digest import Digest
from tests.action.conftest import Use
from tests.action.runner import Ended
from tests.action.stranger import Recorder
from tests.api.relay import pushed_image
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions import kinds, tokens
from tests.fakes.actions.faults import no_storage_left

pytestmark = pytest.mark.timeout(120)


def _health(relay: Relay) -> dict[str, object]:
    health: dict[str, object] = json.loads(relay.request("GET", "/relay/health")[2])
    return health


def test_the_session_reaches_the_service_of_this_job(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port)

    main = step.main()
    health = _health(relay)
    post = step.post()

    assert (main.status, main.annotations) == (0, [])
    assert main.outputs["registry"] == f"localhost:{relay.port}"
    assert main.outputs["address"] == f"http://127.0.0.1:{relay.port}"
    assert (health["session"], health["ready"]) == ("active", True)
    assert (post.status, post.annotations) == (0, [])
    jobs.search([main.said, post.said, json.dumps(step.state), json.dumps(main.outputs)])


def test_a_job_that_wants_a_container_but_has_no_docker_is_told_what_to_change(jobs: Jobs, use: Use) -> None:
    step = use(None, mode="container")

    main, post = step.main(), step.post()

    assert main.status == 1
    assert (
        "Use a runner with Docker (ubuntu-latest has it), or add image-relay to the services of this job" in main.error
    )
    assert (post.status, post.annotations) == (0, [])


@pytest.mark.parametrize("missing", ["ACTIONS_RUNTIME_TOKEN", "ACTIONS_RESULTS_URL"])
def test_a_runner_that_gives_no_session_is_named(missing: str, jobs: Jobs, relay: Relay, use: Use) -> None:
    main = use(relay.port, environment={missing: ""}).main()

    assert main.status == 1
    assert "--artifact-server-path" in main.error
    assert "GitHub Enterprise Server" in main.error
    assert _health(relay)["session"] == "none"


def test_an_address_that_is_not_of_this_job_gets_nothing(
    jobs: Jobs, relay: Relay, stranger: Recorder, use: Use
) -> None:
    main = use(relay.port, address=f"http://localhost:{stranger.port}").main()

    assert main.status == 1
    assert f"address is http://localhost:{stranger.port}, where no image-relay of this job listens" in main.error
    assert f"it has: localhost:{relay.port}" in main.error
    assert stranger.heard == []
    assert _health(relay)["session"] == "none"


@pytest.mark.parametrize("written", ["localhost:{}", "http://127.0.0.1:{}/", "relay:5000", "http://RELAY:5000"])
def test_an_address_may_be_written_as_people_write_it(written: str, relay: Relay, use: Use) -> None:
    main = use(relay.port, address=written.format(relay.port)).main()

    assert main.status == 0
    assert _health(relay)["session"] == "active"


def test_a_job_without_services_hands_nothing_to_whoever_listens(stranger: Recorder, use: Use) -> None:
    main = use(None, address=f"localhost:{stranger.port}").main()

    assert main.status == 1
    assert "(it has none)" in main.error
    assert stranger.heard == []


def test_a_service_that_is_no_relay_gets_no_token(jobs: Jobs, use: Use) -> None:
    other = Recorder(b"<html>another service</html>")

    main = use(other.port).main()
    other.close()

    assert main.status == 1
    assert "the service relay does not answer as an image-relay" in main.error
    assert {request.splitlines()[0] for request in other.heard} == {"GET /relay/health HTTP/1.1"}
    jobs.search(other.heard)


def test_a_service_that_is_gone_before_the_end_is_told_and_fails_nothing(relay: Relay, use: Use) -> None:
    step = use(relay.port)
    step.main()

    relay.kill()
    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    assert level == "warning"
    assert text.startswith("the relay no longer answers; what was pushed by digest alone may not be stored")
    assert "POST /relay/flush" in text


def _hand_over(jobs: Jobs, use: Use, relay: Relay, **changes: str) -> Ended:
    jobs.secrets |= {value for name, value in changes.items() if name.endswith("TOKEN")}
    main = use(relay.port, environment=changes).main()
    jobs.search([main.said])
    assert main.status == 1
    return main


def test_a_session_that_has_expired_is_not_taken(jobs: Jobs, relay: Relay, use: Use) -> None:
    job = jobs.job("late")
    main = _hand_over(jobs, use, relay, ACTIONS_RUNTIME_TOKEN=tokens.mint(job.run.backend_id, job.id, -10))

    assert main.error.startswith("the relay does not accept the session of this job: the session was not accepted")
    assert "has expired" in main.error


def test_a_relay_of_another_run_fails_the_job(jobs: Jobs, relay: Relay, use: Use) -> None:
    assert use(relay.port).main().status == 0
    other = jobs.actions.job("build", run=2002)

    main = _hand_over(jobs, use, relay, ACTIONS_RUNTIME_TOKEN=other.token)

    assert "this relay works for another run" in main.error


def test_a_results_service_that_is_not_trusted_is_told_with_the_line_to_add(jobs: Jobs, use: Use) -> None:
    relay = jobs.start({"GITHUB_ACTIONS": "true"})

    main = _hand_over(jobs, use, relay)

    assert f"RELAY_TRUSTED_HOSTS={jobs.actions.origin.removeprefix('http://')}" in main.error


def test_what_an_earlier_run_loses_to_this_one_is_told_in_a_warning(jobs: Jobs, use: Use) -> None:
    secret = "one for all runs"  # noqa: S105
    trusted = {"RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts, "RELAY_SETTLE_SECONDS": "3600"}
    relay = jobs.start({**trusted, "RELAY_PASSWORD": secret})
    assert use(relay.port, password=secret).main().status == 0
    kept = _push_by_digest(relay, secret, b"a layer that is stored")
    later = jobs.actions.job("build", run=2002)
    jobs.secrets.add(later.token)
    environment = {"ACTIONS_RUNTIME_TOKEN": later.token, "GITHUB_RUN_ID": "2002"}

    main = use(relay.port, password=secret, environment=environment).main()

    assert (main.status, main.annotations) == (0, [])
    assert [each.name for each in jobs.actions.ledger.finished()] == [f"image-app@{kept.replace(':', '+')}"]
    lost = _push_by_digest(relay, secret, b"a layer that is lost")
    jobs.actions.plan.play(kinds.CREATE, no_storage_left())
    third = jobs.actions.job("build", run=3003)
    jobs.secrets.add(third.token)
    environment = {"ACTIONS_RUNTIME_TOKEN": third.token, "GITHUB_RUN_ID": "3003"}

    main = use(relay.port, password=secret, environment=environment).main()

    ((level, text),) = main.annotations
    assert (main.status, level) == (0, "warning")
    assert text.startswith(f"app@{lost} of run 2002 of {jobs.actions.options.repository} is lost: ")
    assert "the storage for artifacts is used up" in text
    assert text.endswith("; push it again in that run, by a tag")


def _push_by_digest(relay: Relay, password: str, layer: bytes) -> str:
    """Push an image without a tag, which is stored later, and return its digest."""
    config, told = b"{}", {"Authorization": f"Basic {b64encode(f'relay:{password}'.encode()).decode()}"}
    image = pushed_image(config, layer)
    for content in (config, layer):
        path = f"/v2/app/blobs/uploads/?digest={Digest.of(content)}"
        assert relay.request("POST", path, told, content)[0] == 201
    headers = {**told, "Content-Type": image.media_type}
    assert relay.request("PUT", f"/v2/app/manifests/{image.digest}", headers, image.content)[0] == 201
    return str(image.digest)


def test_a_service_with_a_password_needs_it(jobs: Jobs, use: Use) -> None:
    secret = "of this test alone"  # noqa: S105
    relay = jobs.start({"RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts, "RELAY_PASSWORD": secret})

    without, auto = use(relay.port).main(), use(relay.port, password="auto").main()  # noqa: S106
    step = use(relay.port, password=secret)
    main, post = step.main(), step.post()

    assert "the relay has a password: give this action the same one" in without.error
    assert "password: auto is for a relay that this action starts; the service relay has its own" in auto.error
    assert (main.status, main.outputs["password"], main.masked, post.masked) == (0, secret, [secret], [secret])
    assert [level for level, _ in main.annotations] == ["notice"]  # there is no docker that could log in
    assert post.status == 0
    assert "PUT /relay/session" not in post.said  # the step that was refused has said so
    assert secret not in str(post.annotations)
