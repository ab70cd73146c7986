"""The action beside an engine that is not on its machine, or not in its network: what is used, and what is said."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.action.runner import Step
from tests.action.wheels import wheels
from tests.e2e import building
from tests.e2e.bridged import Bridged
from tests.e2e.clients import Toolbox, attempt
from tests.e2e.jobs import Jobs
from tests.e2e.namespaces import cut, sidecar, wired
from tests.e2e.outside import artifact_service
from tests.e2e.steps import Use, build, containers
from tests.machine import require
from tests.once import Once

__all__ = ["wheels"]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_APP = "localhost:5000/app:v1"


class Remote(Bridged):
    """The engine of Docker-in-Docker: reached by the name of its machine."""

    name = "remote"

    def _options(self) -> list[str]:
        return [*super()._options(), "--host", "tcp://0.0.0.0:2375"]


@pytest.fixture(scope="module")
def remote(toolbox: Toolbox) -> Iterator[Remote]:
    engine = Remote(toolbox)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def remote_image(remote: Remote, once: Once, tmp_path_factory: pytest.TempPathFactory) -> str:
    return building.relay_image(remote, tmp_path_factory.mktemp("remote"), once)


@pytest.fixture
def job(remote: Remote, tmp_path: Path) -> Iterator[Sequence[str]]:
    """What stands before the commands of a job on a machine that reaches the engine as `docker`."""
    with wired(remote, "docker", tmp_path) as before:
        yield before


@pytest.fixture
def use_remote(remote: Remote, remote_image: str, job: Sequence[str], tmp_path: Path) -> Iterator[Callable[..., Step]]:
    exported: dict[str, str] = {}
    with artifact_service(remote, tmp_path / "service") as environments:

        def make(**inputs: str) -> Step:
            told = {**remote.toolbox.env(), **environments["build"], "DOCKER_HOST": "tcp://docker:2375"}
            folder = tmp_path / f"step-{len(list(tmp_path.glob('step-*')))}"
            folder.mkdir()
            home = {"HOME": str(tmp_path), "GITHUB_JOB": "build"}
            return Step(folder, {**told, **home}, {"image": remote_image, **inputs}, {}, job, exported=exported)

        yield make
    for container in containers(remote):
        remote.docker("rm", "--force", "--volumes", container)


def test_a_relay_in_an_engine_with_another_name_is_used_by_that_name(
    use_remote: Callable[..., Step], remote: Remote, job: Sequence[str], tmp_path: Path
) -> None:
    build(remote, _APP, tmp_path / "context")
    first, second = use_remote(), use_remote(save=f"{_APP}=saved:v1", load="app:v1=loaded:v1")

    main = first.main()
    docker = {**first.environment, "DOCKER_CONFIG": str(tmp_path / ".docker")}
    pushed = attempt([*job, require("docker"), "push", _APP], docker)
    stranger = attempt([*job, "curl", "--silent", "--fail", "http://docker:5000/v2/"], remote.toolbox.env())
    again = second.main()
    posts = [second.post(), first.post()]

    assert (main.status, main.annotations) == (0, [])
    assert "(tcp://docker:2375), whose ports are reached as docker; the relay has a password" in main.said
    assert main.outputs["address"] == "http://docker:5000"
    assert main.outputs["registry"] == "localhost:5000"
    assert main.masked == [main.outputs["password"]] != [""]
    assert "digest: sha256:" in pushed.stdout
    assert stranger.returncode == 22  # 401
    assert (again.status, again.annotations) == (0, [])
    assert remote.image_id("loaded:v1") == remote.image_id(_APP)
    assert [(post.status, len(post.annotations)) for post in posts] == [(0, 0), (0, 1)]  # the stranger was refused
    assert "GET /v2/: this relay has a password" in posts[-1].said
    assert containers(remote) == []


def test_where_its_port_is_not_reached_that_is_said_and_nothing_is_left(
    use_remote: Callable[..., Step], remote: Remote
) -> None:
    step = use_remote()

    with cut(remote, 5000):
        main = step.main()
    post = step.post()

    assert main.status == 1
    assert "what the Docker engine publishes is not reached from here (http://docker:5000)" in main.error
    assert (post.status, post.annotations, containers(remote)) == (0, [], [])


def test_an_engine_in_a_sidecar_needs_nothing_but_its_socket(use: Use, bridged: Bridged, tmp_path: Path) -> None:
    token = build(bridged, _APP, tmp_path / "context")
    first, second = use("build"), use("test", load="app:v1=loaded:v1")
    for step in (first, second):
        step.before = sidecar(bridged)
        step.environment = {name: value for name, value in step.environment.items() if name != "DOCKER_HOST"}

    main = first.main()
    pushed = bridged.push(_APP)
    post = first.post()
    bridged.docker("image", "rm", _APP)
    loaded = second.main()
    pulled = bridged.pull(_APP)
    second.post()

    assert (main.status, main.annotations, post.status, post.annotations) == (0, [], 0, [])
    assert (loaded.status, loaded.annotations) == (0, [])
    assert pulled == pushed
    assert bridged.run("loaded:v1") == token
    assert containers(bridged) == []


@pytest.fixture
def apart(bridged: Bridged, jobs: Jobs, wheels: Path, tmp_path: Path) -> Callable[..., Step]:
    """Use the action with the socket of an engine, in another network than the engine's."""
    exported: dict[str, str] = {}

    def make(**inputs: str) -> Step:
        folder = tmp_path / f"step-{len(list(tmp_path.glob('step-*')))}"
        folder.mkdir()
        told = {
            **bridged.toolbox.env(),
            **jobs.environment("build"),
            "DOCKER_HOST": f"unix://{bridged.socket}",
            "RUNNER_TEMP": str(tmp_path),
            "RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts,
            "PATH": f"{bridged.toolbox.env()['PATH']}:{Path(sys.executable).parent}",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
        }
        return Step(folder, told, {"port": "0", **inputs}, exported=exported)

    return make


def test_an_engine_that_does_not_reach_the_process_is_told_of_with_what_works(
    apart: Callable[..., Step], bridged: Bridged, tmp_path: Path
) -> None:
    build(bridged, "web:dev", tmp_path / "context")
    first = apart(mode="process")
    second = apart(save="web:dev=web:v1")

    main = first.main()
    refused = attempt([*bridged.client(), "pull", f"{main.outputs['registry']}/web:v1"], bridged.toolbox.env())
    saved = second.main()
    third = apart(load="web:v1=loaded:v1")
    loaded = third.main()
    answer = subprocess.run(
        ["curl", "--silent", "--fail", f"{main.outputs['address']}/v2/web/tags/list"],
        capture_output=True,
        check=False,
        text=True,
    )
    posts = [each.post() for each in (third, second, first)]

    ((level, text),) = main.annotations
    assert (main.status, level) == (0, "notice")
    assert text.startswith(
        f"the Docker engine does not reach {main.outputs['registry']}, so docker push and docker pull"
    )
    assert "The inputs save and load work" in text
    assert "add image-relay to the services of this job" in text
    assert refused.returncode != 0
    assert (saved.status, saved.annotations, loaded.status, loaded.annotations) == (0, [], 0, [])
    assert bridged.image_id("loaded:v1") == bridged.image_id("web:dev")
    assert '"v1"' in answer.stdout
    assert [(post.status, post.annotations) for post in posts] == [(0, [])] * 3


def test_a_container_that_is_not_reached_gives_way_to_a_process(
    apart: Callable[..., Step], bridged: Bridged, relay_image: str
) -> None:
    asked, step = apart(image=relay_image), apart()
    repository = relay_image.removeprefix("ghcr.io/").partition(":")[0]
    step.environment = {**step.environment, "GITHUB_ACTION_REPOSITORY": repository}

    insisting = asked.main()
    main = step.main()
    posts = [step.post(), asked.post()]

    assert insisting.status == 1
    assert "what the Docker engine publishes is not reached from here (http://127.0.0.1:" in insisting.error
    assert main.status == 0
    assert "the relay is a process of this job: the relay runs in a container, but what the Docker engine" in main.said
    assert [level for level, _ in main.annotations] == ["notice"]
    assert [(post.status, post.annotations) for post in posts] == [(0, []), (0, [])]
    assert containers(bridged) == []
