"""GitHub's own artifact client, @actions/artifact on Node, as the third party that our side is compared with."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("official.mjs")


class OfficialError(Exception):
    """The client refused or failed; `name` is the class of its error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class OfficialClient:
    """The client in one job. Its answers are the JSON of its own."""

    def __init__(self, tools: Path, environment: dict[str, str], workspace: Path, seconds: float = 100.0) -> None:
        self._tools = tools
        self._workspace = workspace
        self._seconds = seconds
        self._environment = {
            "PATH": os.environ["PATH"],
            "GITHUB_WORKSPACE": str(workspace),
            **{name: value for name, value in environment.items() if name.startswith(("ACTIONS_", "GITHUB_"))},
        }

    def upload(self, name: str, files: list[Path], *, raw: bool = False, **options: Any) -> dict[str, Any]:
        """Upload as a zip, or with `raw` one file as it is, which then gives the artifact its name."""
        options = {"skipArchive": raw, "retentionDays": 1, **options}
        root = str(files[0].parent)
        return self._asked("uploadArtifact", name, [str(file) for file in files], root, options)

    def list(self, **options: Any) -> list[dict[str, Any]]:
        """Return what the run has."""
        found: list[dict[str, Any]] = self._asked("listArtifacts", options)["artifacts"]
        return found

    def get(self, name: str, **options: Any) -> dict[str, Any]:
        """Return one artifact by name."""
        found: dict[str, Any] = self._asked("getArtifact", name, options)["artifact"]
        return found

    def download(self, number: int, folder: Path, digest: str | None, **options: Any) -> dict[str, Any]:
        """Download, check the digest where there is one, and unzip what looks like a zip."""
        folder.mkdir(parents=True, exist_ok=True)
        expected = {"expectedHash": digest} if digest else {}
        return self._asked("downloadArtifact", number, {"path": str(folder), **expected, **options})

    def delete(self, name: str, **options: Any) -> dict[str, Any]:
        """Delete one artifact by name."""
        return self._asked("deleteArtifact", name, options)

    def _asked(self, method: str, *params: Any) -> dict[str, Any]:
        done = subprocess.run(
            ["node", "--input-type=module", "-"],  # noqa: S607 - wherever Node is on this machine
            input=_SCRIPT.read_text(),
            cwd=self._tools,
            env={**self._environment, "COMMAND": json.dumps({"method": method, "params": params})},
            capture_output=True,
            timeout=self._seconds,
            check=False,
            text=True,
        )
        if done.returncode != 0:
            raise OfficialError("Node", (done.stdout + done.stderr)[-2000:])
        outcome = json.loads(done.stdout.splitlines()[-1])
        if "error" in outcome:
            raise OfficialError(outcome["error"], outcome["message"])
        value: dict[str, Any] = outcome["value"]
        return value
