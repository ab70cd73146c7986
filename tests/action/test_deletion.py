"""Images that the action deletes at the end of a job, when nothing needs them any more."""

import pytest

from tests.action.conftest import Use
from tests.action.runner import Step
from tests.e2e.impatient import ImpatientClient, random_mebibytes
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions.faults import Answer

pytestmark = pytest.mark.timeout(120)


def _pushed(step: Step, relay: Relay, *tags: str) -> None:
    assert step.main().status == 0
    client = ImpatientClient(relay, "app")
    layer = client.push(random_mebibytes(1))
    for tag in tags:
        client.tag(tag, [layer])


def _names(jobs: Jobs) -> list[str]:
    return sorted(record.name for record in jobs.actions.ledger.records)


def test_images_are_deleted_when_their_last_job_has_succeeded(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port, delete="app:v1\napp:never")
    _pushed(step, relay, "v1", "v2")

    post = step.post()

    assert (post.status, post.annotations) == (0, [])
    assert "deleted app:v1" in post.said
    assert "nothing to delete: app:never is not in this run (it has: app:v2)" in post.said
    assert _names(jobs) == ["image-app@v2"]
    assert "app:v1" in post.summary
    assert "docker pull localhost:5000/app:v1" not in post.summary  # that is over
    assert "docker pull localhost:5000/app:v2" in post.summary


@pytest.mark.parametrize("status", ["failure", "cancelled", ""])
def test_images_of_a_job_that_failed_are_kept_for_another_try(status: str, jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port, delete="app:v1")
    _pushed(step, relay, "v1")

    step.status = status
    post = step.post()

    assert (post.status, post.annotations) == (0, [])
    assert "so its images are kept: app:v1" in post.said
    assert _names(jobs) == ["image-app@v1"]


@pytest.mark.parametrize("status", ["failure", "cancelled"])
def test_the_last_job_of_a_run_deletes_everything_whatever_became_of_the_others(
    status: str, jobs: Jobs, relay: Relay, use: Use
) -> None:
    step = use(relay.port, delete="*", delete_if="always")
    _pushed(step, relay, "v1", "v2")

    step.status = status
    post = step.post()

    assert (post.status, post.annotations) == (0, [])
    assert _names(jobs) == []
    assert "Nothing is kept in artifacts of this run any more. Images that this job deleted had used " in post.summary


def test_what_is_kept_of_everything_is_told_with_its_reason(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port, delete="*")
    _pushed(step, relay, "v1", "v2")
    jobs.actions.plan.play("DeleteArtifact", Answer(400, "{}", "application/json"))

    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    assert level == "warning"
    (left,) = _names(jobs)
    assert f"kept {left.removeprefix('image-').replace('@', ':')}: the artifact service refused" in text


def test_a_job_that_only_cleans_up_says_what_it_has_deleted(jobs: Jobs, relay: Relay, use: Use) -> None:
    _pushed(use(relay.port), relay, "v1", "v2")
    relay.kill()
    relay.start()
    last = use(relay.port, delete="*", delete_if="always")
    assert last.main().status == 0

    post = last.post()

    assert post.summary.startswith("### image-relay: 2 images deleted")
    assert "Nothing is kept in artifacts of this run any more. Images that this job deleted had used " in post.summary


def test_what_cannot_be_deleted_is_told_and_fails_nothing(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port, delete="app:v1")
    _pushed(step, relay, "v1")
    jobs.actions.plan.play("DeleteArtifact", Answer(400, "{}", "application/json"))

    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    assert level == "warning"
    assert "delete: app:v1: the artifact service refused" in text


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"delete": "app:v1", "access": "read"}, "delete needs access: write"),
        ({"delete": "* app:v1"}, "delete: * is everything already"),
        ({"delete": "App:v1:v2"}, "delete: App:v1:v2 is not an image name"),
        ({"delete_if": "sometimes"}, "delete-if is 'sometimes'; it should be success or always"),
        ({"wait_pull": "soon"}, "wait-pull is 'soon'; it should be a time such as 90s, 10m or 1h"),
    ],
)
def test_mistakes_are_told_before_anything_else_happens(
    inputs: dict[str, str], error: str, relay: Relay, use: Use
) -> None:
    main = use(relay.port, **inputs).main()

    assert main.status == 1
    assert error in main.error
