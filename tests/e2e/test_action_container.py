"""The action where the job has no service container: what it starts, uses and leaves behind."""

import base64
import json
import re
import sys
from pathlib import Path

import pytest

from tests.action.runner import Step
from tests.action.wheels import wheels
from tests.e2e.bridged import Bridged
from tests.e2e.clients import ClientError
from tests.e2e.outside import stranger
from tests.e2e.steps import LABEL, Use, build, containers, session

__all__ = ["wheels"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_an_image_goes_from_job_to_job_by_relays_that_the_action_starts(
    use: Use, bridged: Bridged, tmp_path: Path
) -> None:
    reference = "localhost:5000/app:v1"
    token = build(bridged, reference, tmp_path / "context")
    image_id = bridged.image_id(reference)
    volumes = bridged.docker("volume", "ls", "--quiet")

    first = use("build")
    main = first.main()
    pushed = bridged.push(reference)
    (container,) = containers(bridged, LABEL)
    told = bridged.docker("inspect", container) + bridged.docker("top", container, "-eo", "pid,args")
    post = first.post()
    bridged.docker("image", "rm", reference)
    second = use("test")
    second.main()
    pulled = bridged.pull(reference)
    second.post()

    assert (main.status, main.annotations, post.status, post.annotations) == (0, [], 0, [])
    assert main.outputs["registry"] == "localhost:5000"
    assert pulled == pushed
    assert bridged.image_id(reference) == image_id
    assert bridged.run(reference) == token
    assert containers(bridged, LABEL) == []
    assert bridged.docker("volume", "ls", "--quiet") == volumes
    assert re.search("stored app:v1: .* as image-app@v1, sha256:", post.said)
    for said in (told, main.said, post.said):
        assert first.environment["ACTIONS_RUNTIME_TOKEN"] not in said
        assert first.environment["ACTIONS_RUNTIME_TOKEN"].split(".")[1] not in said


def test_a_made_up_password_lets_docker_in_until_the_end_and_nobody_else(
    use: Use, bridged: Bridged, tmp_path: Path
) -> None:
    step = use(password="auto")  # noqa: S106 - the word, not a password

    main = step.main()
    password = main.outputs["password"]
    config = json.loads((tmp_path / ".docker" / "config.json").read_text())
    with pytest.raises(ClientError, match="401"):
        bridged.curl("http://127.0.0.1:5000/v2/")
    bridged.curl("--user", f"relay:{password}", "http://127.0.0.1:5000/v2/")
    again = use()
    assert again.main().status == 0
    post = step.post()

    assert (main.status, main.annotations, main.masked) == (0, [], [password])
    assert len(password) >= 32
    assert base64.b64decode(config["auths"]["localhost:5000"]["auth"]).decode() == f"relay:{password}"
    assert (post.status, post.annotations) == (0, [])
    assert not json.loads((tmp_path / ".docker" / "config.json").read_text()).get("auths")


def test_a_second_use_in_the_job_finds_what_the_first_has_started(use: Use, bridged: Bridged) -> None:
    first, second, other = use(), use(), use("test")

    assert first.main().status == second.main().status == 0
    started = containers(bridged, LABEL)
    refused = other.main()
    other.post()
    assert (second.post().status, containers(bridged, LABEL)) == (0, started)
    assert (first.post().status, containers(bridged, LABEL)) == (0, [])

    assert len(started) == 1
    assert "port 5000 is taken on this machine" in refused.error
    assert (first.state["summary"], second.state["summary"]) == ("true", "false")


def test_whoever_listens_on_the_port_gets_nothing(use: Use, bridged: Bridged) -> None:
    heard: list[str] = []
    step = use()

    with stranger(bridged, 5000, heard):
        main, post = step.main(), step.post()

    assert main.status == 1
    assert "port 5000 is taken on this machine, and the process that listens there got no token" in main.error
    assert "set  port: 5001" in main.error
    assert [request for request in heard if request.strip()] == []
    assert (post.status, containers(bridged)) == (0, [])


def test_the_relay_of_somebody_else_gets_nothing(use: Use, bridged: Bridged, relay_image: str) -> None:
    theirs = ("--publish", "127.0.0.1:5000:5000", "--env", "RELAY_STORE=actions", relay_image)
    bridged.probed(bridged.docker("run", "--detach", *theirs).strip())

    main = use().main()

    assert main.status == 1
    assert "port 5000 is taken on this machine" in main.error
    assert session(bridged, 5000) == "none"


def test_any_free_port_will_do_if_asked_for(use: Use, bridged: Bridged) -> None:
    step = use(port="0")

    main = step.main()
    host, _, port = main.outputs["registry"].partition(":")

    assert (main.status, host) == (0, "localhost")
    assert session(bridged, int(port)) == "active"
    assert step.post().status == 0


def test_images_go_from_engine_to_engine_as_tarballs(use: Use, bridged: Bridged, tmp_path: Path) -> None:
    token = build(bridged, "web_1:dev", tmp_path / "context")
    bridged.docker("tag", "web_1:dev", "team/worker:v2")
    other = build(bridged, "ghcr.io/team/worker:v2", tmp_path / "other")
    image_id = bridged.image_id("web_1:dev")
    first, second = (
        use("build", save="web_1:dev=web:v1\nteam/worker:v2\nghcr.io/team/worker:v2"),
        use("test", load="web:v1,team/worker:v2,ghcr.io/team/worker:v2,localhost:5000/web:v1=other:v1"),
    )

    main = first.main()
    first.post()
    bridged.docker("image", "rm", "web_1:dev", "team/worker:v2", "ghcr.io/team/worker:v2")
    loaded = second.main()
    second.post()

    digests = json.loads(main.outputs["digests"])
    assert (main.status, list(digests)) == (0, ["web:v1", "team/worker:v2", "ghcr.io/team/worker:v2"])
    assert main.outputs["digest"] == digests["web:v1"]
    listed = {each["references"][0]: each["digest"] for each in json.loads(main.outputs["images"])}
    assert digests.items() <= listed.items()
    assert (loaded.status, loaded.annotations) == (0, [])
    for reference in ("web:v1", "other:v1", "team/worker:v2"):
        assert bridged.image_id(reference) == image_id
    assert (bridged.run("web:v1"), bridged.run("ghcr.io/team/worker:v2")) == (token, other)
    assert "Loaded image: web:v1" in loaded.said


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"save": "nobody/nothing:v1"}, "save: nobody/nothing:v1: docker says: reference does not exist"),
        ({"load": "nothing:v1"}, "load: nothing:v1: the relay says: nothing:v1 is not in this run"),
        (
            {"save": "relay-base", "access": "read"},
            "save needs access: write, which is the default; leave access out",
        ),
    ],
)
def test_an_image_that_does_not_exist_or_may_not_be_stored_is_named(
    inputs: dict[str, str], said: str, use: Use
) -> None:
    step = use(**inputs)

    main, post = step.main(), step.post()

    assert main.status == 1
    assert said in main.error
    assert post.status == 0


def test_an_image_that_is_not_there_is_named(use: Use) -> None:
    main = use(image="localhost:1/nobody/relay:v1").main()

    assert main.status == 1
    assert main.error.startswith("cannot pull the image localhost:1/nobody/relay:v1: ")
    assert main.error.endswith("; check the input image")


def test_an_image_that_runs_something_else_is_ended_and_named(use: Use, bridged: Bridged, tmp_path: Path) -> None:
    build(bridged, "other/image:v1", tmp_path / "context")
    step = use(image="other/image:v1")

    main, post = step.main(), step.post()

    assert main.status == 1
    assert "the relay does not answer; what it said is in this step's log. Does other/image:v1 run image-relay?" in (
        main.error
    )
    assert (post.status, containers(bridged)) == (0, [])


def test_an_engine_that_does_not_answer_is_no_engine(use: Use, tmp_path: Path) -> None:
    step = use()
    step.environment = {**step.environment, "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}

    main = step.main()

    assert main.status == 1
    assert "this job has no image-relay, and none can be started without Docker" in main.error


def _without_image(step: Step, wheels: Path, folder: Path) -> Step:
    """Let a step have no image to start, but what a process needs."""
    folder.mkdir(exist_ok=True)
    step.inputs = {**step.inputs, "image": ""}
    step.environment = {
        **step.environment,
        "RUNNER_TEMP": str(folder),
        "PATH": f"{step.environment['PATH']}:{Path(sys.executable).parent}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }
    return step


def test_docker_uses_a_relay_that_is_a_process_beside_it(
    use: Use, bridged: Bridged, wheels: Path, tmp_path: Path
) -> None:
    reference = "localhost:5000/app:v1"
    token = build(bridged, reference, tmp_path / "context")

    first = _without_image(use("build"), wheels, tmp_path / "first")
    main = first.main()
    pushed = bridged.push(reference)
    post = first.post()
    bridged.docker("image", "rm", reference)
    second = _without_image(use("test"), wheels, tmp_path / "second")
    second.main()
    pulled = bridged.pull(reference)
    second.post()

    assert (main.status, main.annotations, post.status, post.annotations) == (0, [], 0, [])
    assert "the relay is a process of this job: there is no image for an action without a name" in main.said
    assert containers(bridged) == []
    assert pulled == pushed
    assert bridged.run(reference) == token


def test_where_the_image_cannot_be_pulled_a_process_takes_its_place(use: Use, wheels: Path, tmp_path: Path) -> None:
    step = _without_image(use(), wheels, tmp_path / "temp")
    step.environment = {**step.environment, "GITHUB_ACTION_REPOSITORY": "Nobody/Image-Relay"}

    main, post = step.main(), step.post()

    assert (main.status, post.status) == (0, 0)
    assert "the relay is a process of this job: cannot pull the image ghcr.io/nobody/image-relay:" in main.said
