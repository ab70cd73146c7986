"""`python -m tests.fakes.actions` on a laptop."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.actions.fixtures import require_tools
from tests.fakes.actions.options import Flavour

ROOT = Path(__file__).parents[3]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("flavour", list(Flavour))
def test_it_prints_an_environment_for_each_job_and_ends_when_asked(tmp_path: Path, flavour: Flavour) -> None:
    if flavour is Flavour.GITHUB:
        require_tools()
    data = tmp_path / "data"
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "tests.fakes.actions", "--port", "0", "--data", str(data), "--flavour", flavour],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    while "job test" not in said or "RELAY_TRUSTED_HOSTS" not in said.partition("job test")[2]:
        line = process.stdout.readline()
        assert line, f"it ended early: {said}"
        said += line

    process.send_signal(signal.SIGTERM)
    rest, complaints = process.communicate(timeout=30)

    assert (process.returncode, complaints) == (0, "")
    for job in ("build", "test"):
        written = (data / f"{job}.env").read_text()
        assert set(re.findall(r"export (\w+)=", written)) >= {
            "ACTIONS_RESULTS_URL",
            "ACTIONS_RUNTIME_TOKEN",
            "GITHUB_RUN_ID",
            "RELAY_TRUSTED_HOSTS",
        }
        assert written in said + rest


def test_a_port_that_is_taken_is_told_with_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(  # noqa: S603 - ourselves
            [
                sys.executable,
                "-m",
                "tests.fakes.actions",
                "--port",
                str(port),
                "--data",
                str(tmp_path),
                "--flavour",
                "act",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert (ended.returncode, ended.stderr) == (1, f"port {port} is taken; use ACTIONS_PORT={port + 1} (--port)\n")
