"""What the tests of the action share: jobs of a run, relays in them, and listeners that belong to somebody else."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.action.runner import Step, service
from tests.action.stranger import Recorder
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions.fixtures import Emulate, azurite, emulate
from tests.machine import require_node

__all__ = ["azurite", "emulate"]

NO_ENGINE = "/nowhere"  # a PATH on which there is no docker

Use = Callable[..., Step]


@pytest.fixture
def jobs(emulate: Emulate, tmp_path: Path) -> Iterator[Jobs]:
    """The jobs of one run under GitHub."""
    require_node()
    with Jobs(emulate(), tmp_path) as started:
        yield started


@pytest.fixture
def relay(jobs: Jobs) -> Relay:
    """The service container of a job: no session, no credentials."""
    return jobs.start({"RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts, "RELAY_SETTLE_SECONDS": "3600"})


@pytest.fixture
def use(jobs: Jobs, tmp_path: Path) -> Use:
    """Use the action in a job without Docker whose service `relay` is at a port of this machine."""
    exported: dict[str, dict[str, str]] = {}

    def make(
        at: int | None, /, *, of: str = "build", environment: Mapping[str, str] | None = None, **inputs: str
    ) -> Step:
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        told = {"PATH": NO_ENGINE, **jobs.environment(of), **(environment or {})}
        context: Mapping[str, Any] = {} if at is None else service("relay", {"5000": str(at)})
        folder = tmp_path / f"step-{len(list(tmp_path.glob('step-*')))}"
        folder.mkdir()  # so that the next one gets another
        return Step(folder, told, given, context, exported=exported.setdefault(of, {}))

    return make


@pytest.fixture
def stranger() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()
