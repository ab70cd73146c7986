"""What the documentation and the examples say, taken from there, and run as it is written."""

import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests import workflows
from tests.e2e.clients import Toolbox, require_newer
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import PUBLIC_HOST, Relay
from tests.machine import require

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "builds.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.yml"))
_BUILDS = "docker/build-push-action@"
_BUILDER = "docker/setup-buildx-action@"
_SECONDS = 120.0

Step = Mapping[str, Any]


def blocks(heading: str, language: str = "sh", page: Path = PAGE) -> list[str]:
    """Return the blocks of code of a section of a page."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no {language} below {heading}"
    return found


def steps(example: str, job: str) -> list[Step]:
    """Return the steps of a job of an example."""
    listed: list[Step] = workflows.read(ROOT / "examples" / f"{example}.yml")["jobs"][job]["steps"]
    return listed


def command(step: Step) -> str:
    """Return what a step runs; for docker/build-push-action, what it makes of its inputs."""
    if not step.get("uses", "").startswith(_BUILDS):
        return str(step.get("run", ""))
    given = step["with"]
    assert given.keys() <= {"outputs", "tags"}, "say here which options these inputs become"
    return f"docker buildx build --tag {given['tags']} --output {given['outputs']} ."


def builds() -> dict[str, str]:
    """Return the commands that build and push with the engine, each once, by the first place where it is written."""
    page = ROOT / "README.md"
    shown = workflows.parse(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)[0])
    (action,) = yaml.safe_load(blocks("docker/build-push-action", "yaml")[0])
    one, with_digest = blocks("docker build")
    found = {
        "README": shown["jobs"]["build"]["steps"][-1]["run"],
        "page": one,
        "digest": with_digest,
        "action": command(action),
        "bake": "docker buildx bake",
        "compose": blocks("Bake")[0],
        **{f"{path.stem} {job}": text for path in EXAMPLES for job, text in _pushing(path)},
    }
    first = {text.partition("#")[0].strip(): where for where, text in reversed(found.items())}
    return {where: text for text, where in reversed(first.items())}


def _pushing(example: Path) -> Iterator[tuple[str, str]]:
    """Yield the jobs of an example that build and push at once, and by what.

    Not with a builder in a container, nor with variables of the workflow.
    """
    for name, job in workflows.read(example)["jobs"].items():
        options = [step.get("with", {}) for step in job["steps"] if step.get("uses", "").startswith(_BUILDER)]
        if not any("driver-opts" in each for each in options):
            plain = [command(step) for step in job["steps"] if "env" not in step]
            yield from ((name, text) for text in plain if "push=true" in text)


class Kitchen:
    """A folder of a user with a build context, a relay, and a registry `elsewhere` that stands for ghcr.io.

    The image that is built there prints the token.
    """

    def __init__(self, folder: Path, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self.relay = Relay(folder / "relay")
        self.elsewhere = Relay(folder / "elsewhere")
        self.token = secrets.token_hex(16)
        self.context = dockerfile(folder / "context", self.token)
        self._tools = folder / "tools"
        self._tools.mkdir()
        self._paths = [str(self._tools)]

    @property
    def reference(self) -> str:
        """The image that the recipes push."""
        return f"{self.relay.host}/app:ci"

    def engine(self, engine: Engine) -> None:
        """Let `docker` be the client of this engine."""
        self._paths.append(engine.path().partition(":")[0])

    def tool(self, name: str, *options: str, newer: bool, **environment: str) -> None:
        """Let a name be a client of one of the generations, with options that a user need not give."""
        client = [*self.toolbox.entering(), require_newer(name)] if newer else [require(name)]
        told = [f"{variable}={value}" for variable, value in environment.items()]
        self.script(name, f'exec env {" ".join([*told, *client, *options])} "$@"')

    def script(self, name: str, text: str) -> None:
        """Let a name be a script, which itself finds what the machine has by this name."""
        (self._tools / name).write_text(f"#!/bin/sh\nPATH={self.toolbox.env()['PATH']}\n{text}\n")
        (self._tools / name).chmod(0o755)

    def here(self, text: str) -> str:
        """Return a text with the registries of this kitchen, for one entry of a matrix, and with the tag `ci`."""
        names = {PUBLIC_HOST: self.relay.host, "ghcr.io/YOUR-ORG": self.elsewhere.host, "${{ matrix.platform }}": "ci"}
        for written, meant in names.items():
            text = text.replace(written, meant)
        return re.sub(rf"({re.escape(self.relay.host)}/app)(:engine)?(?=[,\s])", r"\1:ci", text)

    def cook(self, text: str) -> dict[str, str]:
        """Run a recipe as a step of a workflow runs, and return the outputs of the step."""
        outputs = self.context.with_name("outputs")
        outputs.write_text("")
        text, env = self.here(text), self.toolbox.env()
        del env["DOCKER_BUILDKIT"]  # its default
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            cwd=self.context,
            env={
                **env,
                "PATH": ":".join([*self._paths, env["PATH"]]),
                "GITHUB_OUTPUT": str(outputs),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
            text=True,
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
        return dict(line.split("=", 1) for line in outputs.read_text().splitlines())

    def skopeo(self, *, newer: bool) -> None:
        """Let skopeo speak plain HTTP to the registry elsewhere, and to no other."""
        path = self.context.with_name("registries.conf")
        path.write_text(f'[[registry]]\nlocation = "{self.elsewhere.host}"\ninsecure = true\n')
        self.tool("skopeo", "--registries-conf", str(path), newer=newer)


def compressions(relay: Relay, reference: str = "ci") -> set[str]:
    """Return how the layers of an image are compressed; of an index, those of its one image."""
    manifest = relay.json(f"/v2/app/manifests/{reference}")
    for child in manifest.get("manifests", []):
        if child["platform"]["os"] == "linux":
            return compressions(relay, child["digest"])
    return {re.split("[.+]", each["mediaType"])[-1] for each in manifest["layers"]}
