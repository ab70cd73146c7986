"""The examples under a real runner: act, with real jobs in containers, and nothing of our own in the way."""

import json
import re
import secrets
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests import workflows
from tests.action.runner import ROOT
from tests.e2e import building
from tests.e2e.acting import Acting, Ran
from tests.e2e.bridged import Bridged
from tests.e2e.jobs import NO_SESSION
from tests.once import Once

# Act starts a container, and Node in it, for each job: 30 to 60 s a workflow.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_APP = "localhost:5000/app:ci"


@pytest.fixture(scope="module")
def job_image(bridged: Bridged) -> str:
    return building.import_root(bridged, "job", building.JOB)


@pytest.fixture
def acting(bridged: Bridged, relay_image: str, job_image: str, tmp_path: Path) -> Acting:
    return Acting(bridged, tmp_path)


def _shown(workflow: dict[str, Any], reference: str = _APP) -> dict[str, Any]:
    """Let each job show the image; all jobs have one engine here, so the later ones forget the image first."""
    jobs, show = workflow["jobs"], f"docker image inspect --format 'image={{{{.Id}}}}' {reference}"
    jobs["build"]["steps"].append({"run": show})
    jobs["test"]["steps"].insert(0, {"run": f"docker image rm --force {reference}"})
    jobs["test"]["steps"].append({"run": show})
    return workflow


def _images(ran: Ran) -> list[str]:
    """Return the ids of the image that the jobs have shown."""
    return [line.partition("image=")[2] for line in ran.said.splitlines() if "image=sha256:" in line]


@pytest.mark.parametrize("example", ["build-test.yml", "services.yml"])
def test_an_image_that_one_job_builds_is_tested_in_the_next(example: str, acting: Acting) -> None:
    token = secrets.token_hex(16)

    ran = acting.run(_shown(acting.example(example)), token)

    assert ran.status == 0
    assert len(_images(ran)) == 2
    assert len(set(_images(ran))) == 1
    assert f"tested {token}" in ran.said
    assert [path.name for path in ran.artifacts.glob("*/image-*")] == ["image-app@ci"]
    assert acting.engine.docker("ps", "--all", "--quiet").split() == []


def test_steps_in_a_container_reach_the_service_and_the_engine_of_the_machine(acting: Acting, job_image: str) -> None:
    token, workflow = secrets.token_hex(16), acting.example("services.yml")
    for job in workflow["jobs"].values():
        job["container"] = job_image
        job["steps"].append({"run": "echo $(curl --fail --silent http://relay:5000/v2/app/tags/list)"})

    ran = acting.run(_shown(workflow), token)

    assert ran.status == 0
    assert len(set(_images(ran))) == 1
    assert ran.said.count('{"name": "app", "tags": ["ci"]}') == 2
    assert f"tested {token}" in ran.said


def test_what_one_job_saves_is_loaded_by_many(acting: Acting) -> None:
    token, workflow = secrets.token_hex(16), acting.example("migrate.yml")
    strategy = acting.example("matrix.yml")["jobs"]["test"]["strategy"]
    workflow["jobs"]["test"]["strategy"] = strategy

    ran = acting.run(_shown(workflow, "app:ci"), token)

    assert ran.status == 0
    assert len(_images(ran)) == 4
    assert len(set(_images(ran))) == 1
    assert ran.said.count(f"tested {token}") == 3


def test_dockers_guide_with_the_relay_in_the_place_of_its_artifact(acting: Acting) -> None:
    token, workflow = secrets.token_hex(16), acting.example("docker-guide.yml")
    build, use = (workflow["jobs"][name]["steps"] for name in ("build", "use"))
    # act takes no action from elsewhere: this is what the two of Docker do
    by_hand = "docker build --tag myimage:latest . && docker save --output /tmp/myimage.tar myimage:latest"
    build[1:3] = [{"uses": "actions/checkout@v6"}, {"run": by_hand}]
    use.insert(0, {"run": "docker image rm --force myimage:latest"})

    ran = acting.run(workflow, token)

    assert ran.status == 0
    assert f"tested {token}" in ran.said
    assert [path.name for path in ran.artifacts.glob("*/image-*")] == ["image-myimage@latest"]


def test_what_a_reusable_workflow_has_built_is_there_for_its_caller(acting: Acting) -> None:
    token, text = secrets.token_hex(16), (ROOT / "examples" / "reusable.yml").read_text()
    called = ".github/workflows/image.yml"
    shown = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#   "))

    ran = acting.run(acting.flow(f"on: push\n{dedent(shown)}"), token, {called: text})

    assert f"uses: ./{called}" in shown
    assert ran.status == 0
    assert ran.said.count(f"tested {token}") == 2


def test_each_of_the_images_of_a_bake_file_is_tested(acting: Acting) -> None:
    token, workflow = secrets.token_hex(16), acting.example("bake.yml")
    names = workflow["jobs"]["test"]["strategy"]["matrix"]["image"]
    file = f'group "default" {{\n  targets = {json.dumps(names)}\n}}\n'
    file += "".join(f'target "{name}" {{\n  tags = ["localhost:5000/{name}:ci"]\n}}\n' for name in names)

    ran = acting.run(workflow, token, {"docker-bake.hcl": file})

    assert ran.status == 0
    assert ran.said.count(f"tested {token}") == 3
    assert {path.name for path in ran.artifacts.glob("*/image-*")} == {f"image-{name}@ci" for name in names}


def test_a_push_without_the_action_fails_and_says_what_to_do(acting: Acting) -> None:
    workflow = acting.example("services.yml")
    for job in workflow["jobs"].values():
        job["steps"] = [step for step in job["steps"] if "image-relay" not in step.get("uses", "")]

    ran = acting.run(workflow, secrets.token_hex(16))

    assert ran.status == 1
    assert f"denied: {NO_SESSION}" in ran.said
    assert list(ran.artifacts.glob("*/image-*")) == []


def test_jobs_without_an_image_of_the_relay_have_it_as_a_process(bridged: Bridged, once: Once, tmp_path: Path) -> None:
    image = building.python_job(bridged, tmp_path, "python-job", uv=False)
    acting = Acting(bridged, tmp_path, building.wheels(once), image)
    token, workflow = secrets.token_hex(16), acting.example("migrate.yml")
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            if "image-relay" in step.get("uses", ""):
                step.setdefault("with", {}).update({"mode": "process", "port": "0"})

    ran = acting.run(_shown(workflow, "app:ci"), token)

    assert ran.status == 0
    assert ran.said.count("the relay is a process of this job: as the input mode says") == 2
    assert len(set(_images(ran))) == 1
    assert f"tested {token}" in ran.said
    assert [path.name for path in ran.artifacts.glob("*/image-*")] == ["image-app@ci"]


def test_what_github_is_asked_to_run_passes_here_but_for_what_only_github_has(
    bridged: Bridged, once: Once, tmp_path: Path
) -> None:
    """Left out are the facts, which the emulator is asked for, and a job of the official action, which is not here."""
    image = building.python_job(bridged, tmp_path, "python-job-with-uv", uv=True)
    building.import_busybox(bridged, "busybox", tmp_path)
    acting = Acting(bridged, tmp_path, building.wheels(once), image)
    workflow = workflows.read(ROOT / ".github" / "workflows" / "github.yml")
    jobs = {name: job for name, job in workflow["jobs"].items() if name not in {"facts", "official"}}
    for job in jobs.values():
        if "strategy" in job:
            job["strategy"]["max-parallel"] = 1
    jobs["pull"]["strategy"]["matrix"]["runner"] = ["ubuntu-latest"]  # all of them are one image here
    jobs["cleanup"]["needs"].remove("official")

    ran = acting.run_own({"name": "github", "on": "push", "jobs": jobs})

    assert ran.status == 0
    assert sorted(jobs) == ["cleanup", "merge", "no-engine", "pull", "push", "save"]
    assert ran.said.count("the relay is a process of this job") == 7
    assert len(re.findall(r"packages for cpython \S+ by uv", ran.said)) == 7
    assert "hello:ci is there" in ran.said
    assert list(ran.artifacts.glob("*/image-*")) == []
