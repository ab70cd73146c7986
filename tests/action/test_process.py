"""The relay as a process of the job: where there is no engine, or no image."""

import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.action.conftest import Use
from tests.action.runner import ROOT, Ended, Step
from tests.action.stranger import Recorder
from tests.e2e.jobs import Jobs
from tests.e2e.relay import free_port
from tests.machine import require_ipv6

pytestmark = pytest.mark.timeout(240)

TRACKING = "image-relay-tests-runner"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the lock names, for this Python; so each test needs no index."""
    folder = tmp_path_factory.mktemp("wheels")
    lock = ROOT / "action" / "requirements.txt"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    subprocess.run([*command, "--dest", str(folder), "--requirement", str(lock)], check=True)  # noqa: S603
    return folder


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    folder = tmp_path / "runner-temp"
    folder.mkdir()
    return folder


@pytest.fixture
def start(jobs: Jobs, use: Use, temp: Path, wheels: Path, tmp_path: Path) -> Iterator[Callable[..., Step]]:
    """Use the action in a job that has nothing but a Python."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)

    def make(*, environment: dict[str, str] | None = None, **inputs: str) -> Step:
        told = {
            "PATH": str(programs),
            "RUNNER_TEMP": str(temp),
            "RUNNER_TRACKING_ID": TRACKING,
            "RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "NOT_ALLOWED": "anything",
            **(environment or {}),
        }
        return use(None, environment=told, **{"port": "0", **inputs})

    yield make
    for pid in _left():
        os.kill(pid, signal.SIGKILL)


def _left() -> list[int]:
    """Return the processes that a runner would end because of their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"RUNNER_TRACKING_ID={TRACKING}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _health(main: Ended) -> dict[str, Any]:
    with urlopen(f"{main.outputs['address']}/relay/health") as answer:  # noqa: S310
        health: dict[str, Any] = json.load(answer)
    return health


def test_without_docker_a_process_serves_the_session_of_the_job(
    jobs: Jobs, start: Callable[..., Step], temp: Path
) -> None:
    step = start()

    main = step.main()
    health = _health(main)
    (pid,) = _left()
    told = [Path(f"/proc/{pid}/{name}").read_bytes().decode() for name in ("environ", "cmdline")]
    files = [path for path in temp.rglob("*") if path.is_file()]
    kept = [path.read_bytes().decode(errors="replace") for path in files if path.suffix not in {".pyc", ".so"}]
    post = step.post()

    assert (main.status, main.annotations) == (0, [])
    assert (health["session"], health["ready"]) == ("active", True)
    assert (
        "the relay is a process of this job: this job has no image-relay, and none can be started without Docker"
        in main.said
    )
    assert main.outputs["registry"] == f"localhost:{main.outputs['address'].rpartition(':')[2]}"
    assert "NOT_ALLOWED" not in told[0]
    assert (post.status, post.annotations) == (0, [])
    assert "image-relay serves localhost:" in post.said
    assert "stopped" in post.said
    assert (_left(), list(temp.iterdir())) == ([], [])
    jobs.search([*told, *kept, main.said, post.said, json.dumps(step.state), json.dumps(main.outputs)])
