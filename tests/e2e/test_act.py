"""The examples under a real runner: act, with real jobs in containers, and nothing of our own in the way."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import building
from tests.e2e.acting import Acting
from tests.e2e.bridged import Bridged

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_APP = "localhost:5000/app:ci"
_SHOW = f"docker image inspect --format 'image={{{{.Id}}}}' {_APP}"


@pytest.fixture(scope="module")
def job_image(bridged: Bridged) -> str:
    return building.import_root(bridged, "job", building.JOB)


@pytest.fixture
def acting(bridged: Bridged, relay_image: str, job_image: str, tmp_path: Path) -> Acting:
    return Acting(bridged, tmp_path)


def _shown(workflow: dict[str, Any]) -> dict[str, Any]:
    """Let each job show the image; all jobs have one engine here, so the second one forgets the image first."""
    jobs = workflow["jobs"]
    jobs["build"]["steps"].append({"run": _SHOW})
    jobs["test"]["steps"].insert(0, {"run": f"docker image rm --force {_APP}"})
    jobs["test"]["steps"].append({"run": _SHOW})
    return workflow


@pytest.mark.parametrize("example", ["build-test.yml", "services.yml"])
def test_an_image_that_one_job_builds_is_tested_in_the_next(example: str, acting: Acting) -> None:
    token = secrets.token_hex(16)

    ran = acting.run(_shown(acting.example(example)), token)

    assert ran.status == 0
    shown = [line.partition("image=")[2] for line in ran.said.splitlines() if "image=sha256:" in line]
    assert len(shown) == 2
    assert shown[0] == shown[1]
    assert f"tested {token}" in ran.said
    assert [path.name for path in ran.artifacts.glob("*/image-*")] == ["image-app@ci"]
    assert acting.engine.docker("ps", "--all", "--quiet").split() == []
