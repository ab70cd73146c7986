"""The workflows that people copy, and our own: what is written in them is what we tell people to write."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import workflows
from tests.machine import require

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))
ACTION = "OWNER/image-relay@"
IMAGE = "ghcr.io/OWNER/image-relay"
_PUSHES = re.compile(
    r"docker push|podman push|push=true|imagetools create --tag localhost|cosign sign|--cache-to|curl .* -T |"
    r"^ *(save|delete):",
    re.MULTILINE,
)
_PERMISSIONS: tuple[dict[str, str], ...] = (
    {},
    {"packages": "write"},
    {"contents": "read", "actions": "read"},  # to read another run
    {"actions": "read", "packages": "write"},
    {"contents": "read", "id-token": "write"},  # to sign
    {"contents": "read", "id-token": "write", "attestations": "write"},
)
_EVERYBODY = re.compile(r"\$\{\{\s*github\.(event\.|head_ref)")

pytestmark = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def jobs(example: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = workflows.read(example)["jobs"]
    return found


def uses(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the steps in which a job uses the action."""
    yield from (step for step in job["steps"] if step.get("uses", "").startswith(ACTION))


def pushes(job: dict[str, Any]) -> bool:
    """Does a job change what is in the run? Deletions do, too."""
    return bool(_PUSHES.search(yaml.safe_dump(job["steps"], width=1000)))


def test_every_job_has_the_relay_and_gives_it_inputs_that_exist(example: Path) -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"].keys() - {"job", "matrix", "status"}

    for name, job in jobs(example).items():
        steps = list(uses(job))
        assert steps, name
        for step in steps:
            assert step["uses"] == "OWNER/image-relay@v1"
            assert step.get("with", {}).keys() <= inputs


def test_the_relay_is_there_before_anything_is_pushed_or_pulled(example: Path) -> None:
    for name, job in jobs(example).items():
        first = next(number for number, step in enumerate(job["steps"]) if step.get("uses", "").startswith(ACTION))
        assert "localhost:5000" not in yaml.safe_dump(job["steps"][:first]), name


def test_ports_are_published_on_loopback_alone(example: Path) -> None:
    text = example.read_text()

    for job in jobs(example).values():
        for service in job.get("services", {}).values():
            assert service["ports"] == ["127.0.0.1:5000:5000"]
            assert service["image"].partition(":")[0] == IMAGE
    assert re.findall(r"(?<![\d.])5000:5000|0\.0\.0\.0", text.replace("127.0.0.1:5000:5000", "")) == []


def test_who_only_reads_says_so(example: Path) -> None:
    for name, job in jobs(example).items():
        reads = {step.get("with", {}).get("access") == "read" for step in uses(job)}
        assert reads == {not pushes(job)}, name


def test_what_is_deployed_is_named_by_its_digest(example: Path) -> None:
    for name, job in jobs(example).items():
        if name != "deploy":
            continue
        sources = re.findall(r"localhost:5000/\S+", "\n".join(step.get("run", "") for step in job["steps"]))
        assert sources
        assert all(re.search(r"@\$\{\{$", source) for source in sources), sources


def test_permissions_are_given_and_few(example: Path) -> None:
    workflow = workflows.read(example)

    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        reads_others = any("from" in step.get("with", {}) for step in uses(job))
        given = job.get("permissions", {})
        assert given in _PERMISSIONS
        assert reads_others == ("actions" in given)


def test_images_and_actions_have_versions(example: Path) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version

    text = example.read_text()
    for image in re.findall(rf"{IMAGE}:(\S+)", text):
        assert image == version[1]
    for action in re.findall(r"^ *(?:- )?uses: (\S+)", text, re.MULTILINE):
        assert re.fullmatch(r"[\w./-]+@v\d+(\.\d+)*", action), action


def test_nothing_that_everybody_can_write_becomes_a_command(example: Path) -> None:
    for job in jobs(example).values():
        for step in job["steps"]:
            assert not _EVERYBODY.search(step.get("run", ""))


def test_what_is_built_with_zstd_has_media_types_that_every_client_knows(example: Path) -> None:
    for output in re.findall(r"\S*compression=zstd\S*", example.read_text()):
        assert "oci-mediatypes=true" in output


def test_actionlint_finds_nothing(example: Path) -> None:
    program = require("actionlint")

    done = subprocess.run(  # noqa: S603
        [program, "-shellcheck=", "-pyflakes=", str(example)], capture_output=True, check=False, text=True
    )

    assert (done.returncode, done.stdout) == (0, "")
