"""The input `from`: which runs the action hands over, and by what they are read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.action.conftest import Use
from tests.e2e.images import INDEX
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions.rest import READ_TOKEN

pytestmark = pytest.mark.timeout(120)

Fill = Callable[[int], str]


@pytest.fixture
def fill(jobs: Jobs) -> Fill:
    """Let there be a good run that has an image, and give its manifest."""

    def make(number: int) -> str:
        relay = jobs.start(jobs.actions.environment(jobs.actions.job(run=number)))
        content = json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"run": str(number)}})
        path = "/v2/app/manifests/v1"
        assert relay.request("PUT", path, {"Content-Type": INDEX}, content.encode())[0] == 201
        run = jobs.actions.job(run=number).run
        run.status, run.conclusion = "completed", "success"
        return content

    return make


def _image(relay: Relay) -> str:
    status, _, body = relay.request("GET", "/v2/app/manifests/v1")
    return body.decode() if status == 200 else f"{status} {body.decode()}"


def _event(folder: Path, event: object) -> dict[str, str]:
    path = folder / "event.json"
    path.write_text(json.dumps(event))
    return {"GITHUB_EVENT_PATH": str(path), "GITHUB_TOKEN": READ_TOKEN}


def test_the_relay_reads_the_runs_that_are_named_with_the_token_of_the_job(
    jobs: Jobs, relay: Relay, use: Use, fill: Fill
) -> None:
    image = fill(7)

    main = use(relay.port, environment={"GITHUB_TOKEN": READ_TOKEN}, **{"from": "8.yml@main\n build.yml@main"}).main()

    assert "GitHub knows no workflow 8.yml" in _image(relay)
    assert use(relay.port, environment={"GITHUB_TOKEN": READ_TOKEN}, **{"from": "build.yml@main"}).main().status == 0
    assert _image(relay) == image
    assert READ_TOKEN not in main.said


def test_the_run_that_triggered_this_one_is_in_the_event(
    jobs: Jobs, relay: Relay, use: Use, fill: Fill, tmp_path: Path
) -> None:
    image = fill(7)
    fill(8)

    use(relay.port, environment=_event(tmp_path, {"workflow_run": {"id": 7}}), **{"from": "triggering"}).main()

    assert _image(relay) == image


def test_a_variable_does_as_well_as_the_input(jobs: Jobs, relay: Relay, use: Use, fill: Fill) -> None:
    image = fill(7)

    use(relay.port, environment={"GITHUB_TOKEN": READ_TOKEN, "RELAY_FROM": "7"}).main()

    assert _image(relay) == image


def test_images_of_another_run_can_not_be_awaited(jobs: Jobs, relay: Relay, use: Use, fill: Fill) -> None:
    fill(7)

    main = use(
        relay.port, environment={"GITHUB_TOKEN": READ_TOKEN}, **{"from": "7"}, wait="app:v1", wait_seconds="0"
    ).main()

    assert main.status == 1
    assert "app:v1 is not in this run" in main.error


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"from": "main"}, "from: main is not a run; write its number, build.yml@main, or triggering"),
        ({"from": "triggering"}, "from: triggering is for workflows that another run triggers"),
        ({"from": "7", "token": ""}, "from needs a token"),
    ],
)
def test_a_mistake_is_told(
    jobs: Jobs, relay: Relay, use: Use, tmp_path: Path, given: dict[str, str], sentence: str
) -> None:
    main = use(relay.port, environment=_event(tmp_path, {"ref": "main"}), **given).main()

    assert main.status == 1
    assert sentence in main.error
