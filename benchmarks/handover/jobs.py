"""The two jobs of a run: one builds an image, the other uses it.

Each has an engine, a folder, a session with the artifact service, and relays of its own, so that nothing passes from
one to the other but what a flow hands over.
"""

import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.handover.content import CONTEXT
from benchmarks.measuring import ROOT, Failed, Server, cpu_seconds, relay
from tests.e2e.clients import require_newer
from tests.e2e.engines import Engine
from tests.fakes.actions import azurite
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.official import OfficialClient
from tests.ports import free_port

IMAGE = "app:ci"
Artifact = dict[str, Any]  # what the official client tells of it
_PATIENCE = 1800.0  # seconds of the official client
_SETTINGS = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


class Job:
    """One job; `seconds` is the time that processors have worked in registries, and in commands of image-relay."""

    def __init__(self, name: str, engine: Engine, actions: Emulator, run: int) -> None:
        self.engine = engine
        self.folder = engine.toolbox.work / f"run{run}"
        self.folder.mkdir()
        self.seconds = 0.0
        self._environment = actions.environment(actions.job(name, run=run))

    @contextmanager
    def relay(self) -> Iterator[str]:
        """Run a relay with an empty disk; gives its host and port."""
        with self._counted(relay(self.folder / "relay", "--store", "actions", environment=self._environment)) as host:
            yield host

    @contextmanager
    def registry(self) -> Iterator[str]:
        """Run Debian's docker-registry with an empty disk; gives its host and port."""
        data, port = self.folder / "registry", free_port()
        data.mkdir()
        settings = data / "config.yml"
        settings.write_text(_SETTINGS.format(folder=data, port=port))
        quiet = 'exec docker-registry serve "$0" 2>"$0.log"'  # every blob that is not there yet is an error to it
        with self._counted(Server(["sh", "-c", quiet, str(settings)], port)) as host:
            yield host

    @contextmanager
    def _counted(self, server: Server) -> Iterator[str]:
        with server:
            yield f"localhost:{server.port}"
            self.seconds += cpu_seconds(server.pid)

    def command(self, host: str, *arguments: str) -> None:
        """Run a command of image-relay."""
        before = _children()
        port = host.rpartition(":")[2]
        environment = {**self.engine.toolbox.env(), "DOCKER_HOST": f"unix://{self.engine.socket}"}
        _run([sys.executable, "-m", "proxy", *arguments, "--port", port], ROOT, environment)
        self.seconds += _children() - before

    def shell(self, command: str) -> None:
        """Run a pipe as a step of a job does; `docker` is that of the engine."""
        docker = shlex.join(self.engine.client())
        script = f'set -eo pipefail; docker() {{ {docker} "$@"; }}; {command}'
        _run(["bash", "-c", script], self.folder, self.engine.toolbox.env())

    def build(self, *options: str) -> None:
        """Build with the newer client, since that of Docker 20.10 has no buildx."""
        toolbox = self.engine.toolbox
        client = [*toolbox.entering(), require_newer("docker"), "--host", f"unix://{self.engine.socket}"]
        command = [*client, "buildx", "build", "--quiet", *options, str(toolbox.work / CONTEXT)]
        _run(command, self.folder, toolbox.env())

    def upload(self, file: str, *, raw: bool = False) -> Artifact:
        """Do what actions/upload-artifact does: a zip at its own level of compression, or the bare file."""
        options = {} if raw else {"compressionLevel": 6}
        return self._official().upload("myimage", [self.folder / file], raw=raw, **options)

    def download(self, artifact: Artifact) -> None:
        """Do what actions/download-artifact does; what was uploaded goes to the folder `got`."""
        digest = f"sha256:{artifact['digest']}"
        if self._official().download(int(artifact["id"]), self.folder / "got", digest)["digestMismatch"]:
            raise Failed("another artifact came than was uploaded")

    def _official(self) -> OfficialClient:
        return OfficialClient(azurite.TOOLS, self._environment, self.folder, _PATIENCE)


class Run(NamedTuple):
    """One run of a workflow."""

    build: Job
    use: Job


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True
    )
    if done.returncode:
        raise Failed(f"{shlex.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def _children() -> float:
    """Return the seconds of processors in all programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
