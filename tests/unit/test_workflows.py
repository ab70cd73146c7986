"""The project's own workflows: sound, with few permissions, and with versions on what they use."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import workflows
from tests.machine import require

ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
_WRITES = {"packages", "id-token", "attestations", "contents"}  # what a release needs

pytestmark = pytest.mark.parametrize("workflow", OURS, ids=lambda path: path.stem)


def _jobs(workflow: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = workflows.read(workflow)["jobs"]
    return jobs


def test_what_is_not_said_may_be_read_alone(workflow: Path) -> None:
    assert workflows.read(workflow)["permissions"] == {"contents": "read"}
    for job in _jobs(workflow).values():
        writes = {name for name, given in job.get("permissions", {}).items() if given == "write"}
        assert writes <= (_WRITES if workflow.stem == "release" else set())


def test_every_job_ends_some_time(workflow: Path) -> None:
    assert all(job["timeout-minutes"] <= 90 for job in _jobs(workflow).values())


def test_nobody_from_outside_reaches_what_is_secret(workflow: Path) -> None:
    text = workflow.read_text()

    assert "pull_request_target" not in workflows.read(workflow)["on"]
    assert re.findall(r"secrets\.", text) == []
    for job in _jobs(workflow).values():
        assert [step for step in job["steps"] if "${{" in step.get("run", "")] == []


def test_actions_have_versions(workflow: Path) -> None:
    version = r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+" if workflow.stem == "release" else r"[\w./-]+@v\d+(\.\d+)*"
    for action in re.findall(r"uses: (.+)", workflow.read_text()):
        assert action.startswith("./") or re.fullmatch(version, action), action


def test_actionlint_finds_nothing(workflow: Path) -> None:
    program = require("actionlint")

    done = subprocess.run(  # noqa: S603
        [program, "-shellcheck=", "-pyflakes=", str(workflow)], capture_output=True, check=False, text=True
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_zizmor_finds_nothing(workflow: Path) -> None:
    done = subprocess.run(  # noqa: S603
        [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", str(workflow)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def test_what_the_project_calls_is_there(workflow: Path) -> None:
    for job in _jobs(workflow).values():
        for step in job["steps"]:
            called = re.findall(r"(?:\.ci|\.github|tools|tests)/[\w./-]+", step.get("run", "") + step.get("uses", ""))
            for path in called:
                assert (ROOT / path).exists(), path
