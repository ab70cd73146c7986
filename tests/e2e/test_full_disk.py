"""`docker load` into an engine whose disk is full is a failure, also where the engine itself ends well."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import steps
from tests.e2e.clients import ClientError, Toolbox, attempt
from tests.e2e.engines import Engine, FullDisk
from tests.e2e.images import PRINT_TOKEN, Layer, Layout, layer
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAME = "large:v1"
_MORE_THAN_THE_DISK = (FullDisk.size + 16) << 20  # bytes


@dataclass(frozen=True)
class Full:
    """A layer for which the disk is too small, and what the engine says of it, from where to where."""

    layer: Callable[[], Layer]
    begins: str
    ends: str = "no space left on device"


FULL = {
    # The compressed layer has room in the containerd store: the image gets its name, and docker load ends with 0.
    "unpacked": Full(lambda: layer({"large": bytes(_MORE_THAN_THE_DISK)}), f"Error unpacking image {NAME}: "),
    "stored": Full(
        lambda: layer({"large": os.urandom(_MORE_THAN_THE_DISK)}, "none"), 'failed to ingest "blobs/sha256/'
    ),
}


@pytest.fixture(params=FULL)
def pushed(request: pytest.FixtureRequest, jobs: Jobs, toolbox: Toolbox, tmp_path: Path) -> Full:
    """What the image is that another job of the run has pushed."""
    case, layout = FULL[request.param], Layout(tmp_path / "large")
    image = layout.finish(layout.image([case.layer()], PRINT_TOKEN), token="")
    CLIENTS["crane"].push(toolbox, image, f"{jobs.relay('build').host}/{NAME}")
    return case


def test_the_command_fails_with_what_the_engine_says(pushed: Full, full: Engine, jobs: Jobs) -> None:
    command = [sys.executable, "-m", "proxy", "load", NAME, "--host", "127.0.0.1"]
    environment = {**full.toolbox.env(), "DOCKER_HOST": f"unix://{full.socket}"}

    # As a process of its own: whoever ends as this engine breaks off an upload does not see that connection closed.
    ended = attempt([*command, "--port", str(jobs.relay("test").port)], environment)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"image-relay: the container engine says: {pushed.begins}")
    assert ended.stderr.endswith(f"{pushed.ends}\n")
    cannot_be_run(full)


def test_the_action_fails_with_what_the_engine_says(pushed: Full, full: Engine, jobs: Jobs) -> None:
    ended = steps.carry(jobs.relay("test"), full, "load", [NAME])

    assert ended.returncode == 1
    (error,) = [line for line in ended.stdout.splitlines() if line.startswith("::error ")]
    assert error.startswith(f"::error title=image-relay::load: {NAME}: docker says: {pushed.begins}")
    assert error.endswith(pushed.ends)
    cannot_be_run(full)


def cannot_be_run(engine: Engine) -> None:
    """See that the failure was one: whatever the engine has of the image is no use."""
    with pytest.raises(ClientError):
        engine.docker("create", "--pull", "never", NAME)
