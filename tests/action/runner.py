"""The runner's part: starts the steps of the action as GitHub's runner does, and keeps all that they tell.

Inputs come from the defaults of action.yml and from `with`; what main leaves for post is handed on; commands and files
of the runner are read back. Nothing of the caller's environment reaches a step but what it needs to run.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.machine import require, require_node

ROOT = Path(__file__).parents[2]
SECONDS = 100.0  # for one step; one may install the relay
_COMMAND = re.compile(r"^::([a-z-]+)(?: ([^:]*))?::(.*)$")
_ESCAPED = {"%0A": "\n", "%0D": "\r", "%25": "%"}


def manifest() -> dict[str, Any]:
    """Read action.yml."""
    read: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return read


@dataclass(slots=True)
class Ended:
    """A step that is over: its status, all that it printed, and what the runner reads out of that."""

    status: int
    said: str
    outputs: dict[str, str]
    summary: str

    @property
    def annotations(self) -> list[tuple[str, str]]:
        """Every annotation: its level and its text."""
        found = (_COMMAND.match(line) for line in self.said.splitlines())
        return [(match[1], _plain(match[3])) for match in found if match and match[1] in {"error", "warning", "notice"}]

    @property
    def error(self) -> str:
        """The text of the only error."""
        (text,) = [text for level, text in self.annotations if level == "error"]
        return text

    @property
    def masked(self) -> list[str]:
        found = (_COMMAND.match(line) for line in self.said.splitlines())
        return [_plain(match[3]) for match in found if match and match[1] == "add-mask"]


@dataclass(slots=True)
class Step:
    """One use of the action in a job: `main`, and at the end of the job `post`."""

    folder: Path
    environment: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    before: Sequence[str] = ()  # what stands before the command, such as a change of the network
    state: dict[str, str] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)  # variables that all steps of the job have
    status: str = "success"  # of the job, when a stage begins

    def main(self, cancelled: tuple[float, signal.Signals] | None = None) -> Ended:
        """Run the step, to its end or until a signal ends it after so many seconds."""
        after = (
            [require("timeout"), "--foreground", "--signal", cancelled[1].name, str(cancelled[0])] if cancelled else []
        )
        return self._run("main", after)

    def post(self) -> Ended:
        return self._run("post")

    def _run(self, stage: str, after: Sequence[str] = ()) -> Ended:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {name: self.folder / f"{stage}-{name.lower()}" for name in ("OUTPUT", "STATE", "STEP_SUMMARY", "ENV")}
        for path in files.values():
            path.touch()
        done = subprocess.run(  # noqa: S603
            [*self.before, *after, require_node(), str(ROOT / manifest()["runs"][stage])],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                **self.environment,
                **self.exported,
                **{f"GITHUB_{name}": str(path) for name, path in files.items()},
                **{f"INPUT_{name.upper()}": value for name, value in self._inputs().items()},
                **{f"STATE_{name}": value for name, value in self.state.items()},
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
            text=True,
        )
        print(done.stdout)  # noqa: T201 - pytest shows it beside a failure
        self.state |= _pairs(files["STATE"])
        self.exported |= _pairs(files["ENV"])
        return Ended(done.returncode, done.stdout, _pairs(files["OUTPUT"]), files["STEP_SUMMARY"].read_text())

    def _inputs(self) -> dict[str, str]:
        unknown = self.inputs.keys() - manifest()["inputs"].keys()
        assert not unknown, f"action.yml has no {unknown}"
        evaluated = {
            "${{ toJSON(job) }}": json.dumps(self.job),
            "${{ toJSON(matrix) }}": "null",
            "${{ job.status }}": self.status,
            "${{ github.token }}": self.environment.get("GITHUB_TOKEN", ""),
        }
        defaults = {name: str(each.get("default", "")) for name, each in manifest()["inputs"].items()}
        return {name: evaluated.get(value, value) for name, value in defaults.items()} | dict(self.inputs)


def service(alias: str, ports: Mapping[str, str], number: str = "") -> dict[str, Any]:
    """Describe a job in a container, with one service, as the runner does."""
    network = {"network": "github_network_0"}
    return {"container": {"id": "c0", **network}, "services": {alias: {"id": number, "ports": dict(ports), **network}}}


def _pairs(path: Path) -> dict[str, str]:
    found = re.findall(r"^([\w-]+)<<(\S+)\n(.*?)\n\2$", path.read_text(), re.MULTILINE | re.DOTALL)
    return {name: value for name, _, value in found}


def _plain(text: str) -> str:
    return re.sub("%(0A|0D|25)", lambda match: _ESCAPED[match[0]], text)
