"""Workflows as nektos/act runs them: real jobs in containers, with act's own artifact server as their storage.

The examples are taken as they are. Only what differs under act is added: the owner, what service containers are not
told there (see docs/action.md), and steps that show what a job has.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests import workflows
from tests.action.runner import ROOT
from tests.e2e.bridged import Bridged
from tests.e2e.building import JOB
from tests.e2e.images import dockerfile
from tests.machine import require

_PORT = 34567
_SECONDS = 240.0
OWNER = "owner"
NOTHING: Mapping[str, str] = MappingProxyType({})
RUNNERS = ("ubuntu-latest", "ubuntu-24.04", "ubuntu-24.04-arm", "ubuntu-slim")


@dataclass(frozen=True, slots=True)
class Ran:
    """A workflow that is over: its status, and all that act said."""

    status: int
    said: str
    artifacts: Path


class Acting:
    """Runs workflows in a repository of its own, in the network of an engine."""

    def __init__(self, engine: Bridged, folder: Path, wheels: Path | None = None, image: str = JOB) -> None:
        self.engine = engine
        self.wheels = wheels
        self.image = image
        self.folder = folder
        self._repository = folder / "repository"
        self._artifacts = folder / "artifacts"

    @property
    def trusted(self) -> str:
        return f"{self.engine.address}:{_PORT}"

    def example(self, name: str) -> dict[str, Any]:
        """Read one of the examples, for this owner; with what service containers need here."""
        return self.flow((ROOT / "examples" / name).read_text())

    def flow(self, text: str) -> dict[str, Any]:
        """Read a workflow, for this owner; with what service containers need here, and jobs that share a machine."""
        workflow = workflows.parse(text.replace("OWNER", OWNER))
        for job in workflow["jobs"].values():
            for service in job.get("services", {}).values():
                service["env"] = {"RELAY_STORE": "actions", "RELAY_TRUSTED_HOSTS": self.trusted}
            if "strategy" in job:
                job["strategy"]["max-parallel"] = 1  # on one machine, where a port is free once
        return workflow

    def run(self, workflow: Mapping[str, Any], token: str, files: Mapping[str, str] = NOTHING) -> Ran:
        """Run a workflow to its end, in a repository with more files, whose image tests itself by telling the token."""
        dockerfile(self._repository, token)
        (self._repository / "test").write_text("#!/bin/busybox sh\necho tested $(/bin/busybox cat /token)\n")
        (self._repository / "test").chmod(0o755)
        with (self._repository / "Dockerfile").open("a") as file:
            file.write("COPY test /test\n")
        return self._run(workflow, files, "--local-repository", f"{OWNER}/image-relay@v1={self._published()}")

    def run_own(self, workflow: Mapping[str, Any]) -> Ran:
        """Run a workflow of this project to its end, one job after the other, in a repository that is a copy of it."""
        self._copy_to(self._repository)
        shutil.copytree(ROOT / ".github", self._repository / ".github", ignore=shutil.ignore_patterns("workflows"))
        return self._run(workflow, NOTHING, "--concurrent-jobs", "1")

    def _run(self, workflow: Mapping[str, Any], files: Mapping[str, str], *options: str) -> Ran:
        act, _ = require("act"), require("git")
        self._commit(workflow, files)
        # A runner has none of the images of a workflow before: `docker run` would take them for those of this one.
        listed = self.engine.docker("image", "ls", "--format={{.Repository}}:{{.Tag}}", "localhost:*/*")
        for image in set(listed.split()):
            if not image.endswith(":<none>"):  # pulled by digest, or replaced: no name leads to it
                self.engine.docker("image", "rm", "--force", image)
        done = subprocess.run(
            [*self.engine.inside(), act, *self._options(), *options],
            cwd=self._repository,
            env={
                **self.engine.toolbox.env(),
                "DOCKER_HOST": f"unix://{self.engine.socket}",
                "XDG_CACHE_HOME": str(self.folder / "cache"),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
            text=True,
        )
        print(done.stdout)  # noqa: T201 - pytest shows it beside a failure
        return Ran(done.returncode, done.stdout, self._artifacts)

    def _options(self) -> list[str]:
        return [
            *("push", "--pull=false", "--rm", "--no-cache-server"),
            *(f"--platform={runner}={self.image}" for runner in RUNNERS),
            *("--container-daemon-socket", f"unix://{self.engine.socket}"),
            *("--artifact-server-path", str(self._artifacts), "--artifact-server-addr", self.engine.address),
            *("--artifact-server-port", str(_PORT), "--env", f"RELAY_TRUSTED_HOSTS={self.trusted}"),
        ]

    def _published(self) -> Path:
        """Publish the action as its owner does: under a name of theirs."""
        folder = self.folder / "published"
        self._copy_to(folder)
        (folder / "action.yml").write_text((ROOT / "action.yml").read_text().replace("OWNER", OWNER))
        return folder

    def _copy_to(self, folder: Path) -> None:
        for name in ("action", "proxy", "config"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "action.yml"):
            shutil.copy(ROOT / name, folder)
        if self.wheels:
            shutil.copytree(self.wheels, folder / "wheels")

    def _commit(self, workflow: Mapping[str, Any], files: Mapping[str, str]) -> None:
        flows = self._repository / ".github" / "workflows"
        flows.mkdir(parents=True, exist_ok=True)
        (flows / "flow.yml").write_text(yaml.safe_dump(dict(workflow)))
        for name, text in files.items():
            (self._repository / name).parent.mkdir(parents=True, exist_ok=True)
            is_flow = name.startswith(".github/workflows/")
            (self._repository / name).write_text(yaml.safe_dump(self.flow(text)) if is_flow else text)
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(self._repository)]
        for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
            subprocess.run([*git, *command], check=True)
