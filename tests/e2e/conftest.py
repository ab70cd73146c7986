"""Fixtures of the real-client tests; what they hand out lives in the modules beside this one."""

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.action.runner import Step
from tests.e2e import building, steps
from tests.e2e.bridged import Bridged
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Docker20, Docker28, Docker28Graph, Engine, FullDisk
from tests.e2e.images import KINDS, Image
from tests.e2e.jobs import Jobs
from tests.e2e.outside import artifact_service
from tests.e2e.recipes import Kitchen
from tests.e2e.relay import Relay
from tests.e2e.steps import Use
from tests.fakes.actions.fixtures import Emulate, azurite, emulate, require_tools
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread
from tests.fakes.light_storage import Storage, serving
from tests.machine import require
from tests.once import Once

__all__ = ["azurite", "emulate"]

_Engine = TypeVar("_Engine", bound=Engine)


@pytest.fixture(scope="session")
def environments(bridged: Bridged, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, str]]]:
    with artifact_service(bridged, tmp_path_factory.mktemp("service")) as environments:
        yield environments


@pytest.fixture
def use(bridged: Bridged, relay_image: str, environments: dict[str, dict[str, str]], tmp_path: Path) -> Iterator[Use]:
    """Use the action on the engine's machine; whatever a test leaves in the engine is gone at its end."""
    used: list[Step] = []
    exported: dict[str, dict[str, str]] = {}

    def make(of: str = "build", *, job: dict[str, Any] | None = None, **inputs: str) -> Step:
        given = {"image": relay_image, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        told = {
            **bridged.toolbox.env(),
            **environments[of],
            "DOCKER_HOST": f"unix://{bridged.socket}",
            "GITHUB_JOB": of,
        }
        folder = tmp_path / f"step-{len(used)}"
        step = Step(folder, {**told, "HOME": str(tmp_path)}, given, job or {}, bridged.inside())
        step.exported = exported.setdefault(of, {})
        used.append(step)
        return used[-1]

    yield make
    for container in steps.containers(bridged):
        bridged.docker("rm", "--force", "--volumes", container)
    bridged.docker("network", "prune", "--force")


@pytest.fixture
def elsewhere(kitchen: Kitchen) -> Iterator[Relay]:
    """The relay of the job that uses what the kitchen has made."""
    kitchen.elsewhere.start()
    yield kitchen.elsewhere
    kitchen.elsewhere.kill()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start relays whose memory is that of users: not forked."""
    monkeypatch.setattr(Relay, "is_forked", False)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """Keep nothing: pytest would keep gigabytes of images for three runs."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolbox]:
    tools = Toolbox(tmp_path_factory.getbasetemp())
    yield tools
    shutil.rmtree(tools.home)


@pytest.fixture
def local_store(toolbox: Toolbox) -> Iterator[Path]:
    """A folder for image stores of podman, which refuses longer paths than 50 characters."""
    folder = toolbox.work / secrets.token_hex(2)
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def docker20(toolbox: Toolbox) -> Iterator[Engine]:
    yield from _running(Docker20(toolbox))


@pytest.fixture(scope="session")
def docker28(toolbox: Toolbox) -> Iterator[Engine]:
    yield from _running(Docker28(toolbox))


@pytest.fixture(scope="session")
def docker28_graph(toolbox: Toolbox) -> Iterator[Engine]:
    yield from _running(Docker28Graph(toolbox))


@pytest.fixture
def full(toolbox: Toolbox) -> Iterator[Engine]:
    """An engine whose disk takes nothing large."""
    yield from _running(FullDisk(toolbox))


@pytest.fixture(scope="session")
def bridged(toolbox: Toolbox) -> Iterator[Bridged]:
    yield from _running(Bridged(toolbox))


@pytest.fixture(scope="session")
def relay_image(bridged: Bridged, once: Once, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this relay, in the engine that publishes ports."""
    return building.relay_image(bridged, tmp_path_factory.mktemp("image"), once)


def _running(engine: _Engine) -> Iterator[_Engine]:
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Image]]:
    """Hand out an image of a kind; tests of one session share it."""
    require("busybox")
    folder = tmp_path_factory.mktemp("images")
    made: dict[str, Image] = {}

    def of_kind(kind: str) -> Image:
        if kind not in made:
            made[kind] = KINDS[kind](folder / kind)
        return made[kind]

    yield of_kind
    shutil.rmtree(folder)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    yield from _serving(Relay(tmp_path / "data"))


@pytest.fixture(scope="module")
def shared_relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """One relay for all tests of a module, each of which uses repositories of its own."""
    yield from _serving(Relay(tmp_path_factory.mktemp("shared") / "data"))


@pytest.fixture
def jobs(emulate: Emulate, tmp_path: Path) -> Iterator[Jobs]:
    """The jobs of one run under GitHub."""
    with Jobs(emulate(), tmp_path) as started:
        yield started


@pytest.fixture
def light_storage(tmp_path: Path) -> Iterator[Storage]:
    """Storage of gigabytes, which would take Azurite a minute each."""
    (tmp_path / "blobs").mkdir()
    with serving(tmp_path / "blobs") as storage:
        yield storage


@pytest.fixture
def light_jobs(light_storage: Storage, tmp_path: Path) -> Iterator[Jobs]:
    """The jobs of a run whose artifacts are in that storage, which no faults and no counters reach."""
    require_tools()
    with (
        in_thread(Options(direct=True), tmp_path / "emulator", light_storage.origin) as actions,
        Jobs(actions, tmp_path) as jobs,
    ):
        yield jobs


def _serving(relay: Relay) -> Iterator[Relay]:
    relay.start()
    try:
        yield relay
    finally:
        relay.kill()
        print(relay.log)  # noqa: T201 - pytest shows it beside a failure
        shutil.rmtree(relay.data)
