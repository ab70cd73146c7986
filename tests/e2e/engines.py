"""Real Docker engines side by side: the oldest and the newest, and of that one each of Docker's image stores.

Each engine lives in process and mount namespaces of its own and dies with the process that
started it. So nothing has to be unmounted, no container outlives a run, and a run that crashed
leaves no more than its temporary folder and some empty control groups, which the next clears.
"""

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

from tests.e2e.clients import Toolbox, require_newer, run
from tests.machine import missing, require, require_root

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_CGROUPS = Path("/sys/fs/cgroup")
_DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})", re.IGNORECASE)


class Engine:
    """A dockerd that belongs to this test run alone."""

    name = "engine"
    graph_store = False  # whether image ids are digests of configs, not of manifests
    namespaces: tuple[str, ...] = ("--mount", "--pid")
    network: tuple[str, ...] = ("--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")

    def __init__(self, toolbox: Toolbox) -> None:
        self.toolbox = toolbox
        self.folder = toolbox.work / self.name
        self.socket = self.folder / "docker.sock"
        self._cgroup = f"image-relay-{self.name}-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return what starts this engine's dockerd, to be followed by its options."""
        raise NotImplementedError

    def client(self) -> list[str]:
        """Return what starts this engine's own docker client, to be followed by a command."""
        raise NotImplementedError

    def settings(self) -> dict[str, object]:
        """Return the engine's daemon.json."""
        return {}

    @property
    def log(self) -> str:
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def start(self) -> None:
        command = self.command()  # first, because it asks for all that the machine must have
        clear_left_over_cgroups()
        if self.network:
            refuse_busy_bridge()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        (self.folder / "daemon.json").write_text(json.dumps(self.settings()))
        lifeline = ["setpriv", "--pdeathsig", "KILL", "unshare", *self.namespaces, "--fork"]
        lifeline += ["--kill-child", "--mount-proc", "--propagation", "private", "--"]
        with (self.folder / "dockerd.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*lifeline, *command, *self._options()],
                env=self.toolbox.env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_answering(self._process)

    def _options(self) -> list[str]:
        folder = self.folder
        return [
            *("--config-file", f"{folder}/daemon.json", "--pidfile", f"{folder}/docker.pid"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
            *("--host", f"unix://{self.socket}", "--cgroup-parent", f"/{self._cgroup}"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs", *self.network),
        ]

    def _wait_until_answering(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.socket):
            if process.poll() is not None or time.monotonic() > deadline:
                said = self.log[-4000:]
                self.stop()
                raise AssertionError(f"{self.name} did not start:\n{said}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End the engine, all its containers and mounts, and remove its folder."""
        if self._process is None:
            return
        first = first_child(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._process = None
        if first is not None:
            wait_until_gone(first)
        shutil.rmtree(self.folder)
        clear_left_over_cgroups()

    def path(self) -> str:
        """Return a PATH on which `docker` is this engine's own client."""
        command, path = self.folder / "bin" / "docker", self.toolbox.env()["PATH"]
        command.parent.mkdir(exist_ok=True)
        # Its own folder is not on the path of what it starts, which may look for a docker in another root.
        command.write_text(f'#!/bin/sh\nPATH={path} exec {shlex.join(self.client())} "$@"\n')
        command.chmod(0o755)
        return f"{command.parent}:{path}"

    def docker(self, *arguments: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> str:
        """Run a docker command and return what it printed."""
        return run([*self.client(), *arguments], self.toolbox.env(), stdin).stdout

    def logs(self, container: str) -> str:
        """Return what a container has printed, to wherever."""
        said = run([*self.client(), "logs", container], self.toolbox.env())
        return said.stdout + said.stderr

    def probed(self, container: str) -> dict[str, Any]:
        """Wait until the health of a container was looked at for the first time, and return its state."""
        while (state := self._state(container))["Health"]["Status"] == "starting":
            time.sleep(_POLL_SECONDS)
        assert state["Running"], self.logs(container)
        print(f"started {state['StartedAt']}, probed {state['Health']['Log'][0]['End']}")  # noqa: T201 - for the report
        return state

    def _state(self, container: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.docker("inspect", "--format", "{{json .State}}", container))
        return state

    def push(self, reference: str) -> str:
        """Push, and return the digest that the engine reports."""
        return reported_digest(self.docker("push", reference))

    def pull(self, reference: str) -> str:
        """Pull, and return the digest that the engine reports."""
        return reported_digest(self.docker("pull", reference))

    def build(self, context: Path, *options: str) -> str:
        """Build with buildx, and return the digest of the result."""
        noted = context / f"{secrets.token_hex(4)}.json"
        self.docker("buildx", "build", "--quiet", "--metadata-file", str(noted), *options, str(context))
        return str(json.loads(noted.read_text())["containerimage.digest"])

    def run(self, reference: str) -> str:
        """Start a container without a network, and return what its command printed."""
        return self.docker("run", "--rm", "--network", "none", reference).strip()

    def image_id(self, reference: str) -> str:
        return self.inspect(reference, "{{.Id}}")

    def layers(self, reference: str) -> str:
        """Return the digests of the unpacked layers, which both image stores know."""
        return self.inspect(reference, "{{json .RootFS.Layers}}")

    def inspect(self, reference: str, wanted: str) -> str:
        return self.docker("image", "inspect", "--format", wanted, reference).strip()


class Docker20(Engine):
    """Debian 12's Docker 20.10 with overlay2: reads manifest.json only, knows no zstd."""

    name = "docker20"
    graph_store = True

    def command(self) -> list[str]:
        require_root()
        for tool in ("setpriv", "unshare", "containerd", "runc"):
            require(tool)
        shell = 'mount -t tmpfs tmpfs /run && exec "$@"'  # its shims keep their sockets there
        return ["sh", "-c", shell, "sh", require("dockerd"), "--storage-driver", "overlay2"]

    def client(self) -> list[str]:
        return [require("docker"), "--host", f"unix://{self.socket}"]


class Docker28(Engine):
    """Debian testing's Docker 28 with the containerd store: reads index.json, keeps digests."""

    name = "docker28"

    def command(self) -> list[str]:
        require_root()
        for tool in ("setpriv", "unshare"):
            require(tool)
        return [*self.toolbox.entering(), require_newer("dockerd")]

    def settings(self) -> dict[str, object]:
        return {"features": {"containerd-snapshotter": not self.graph_store}}

    def client(self) -> list[str]:
        docker = require_newer("docker")
        return [*self.toolbox.entering(), docker, "--host", f"unix://{self.socket}"]


class Docker28Graph(Docker28):
    """The same with the classic store (overlay2), as Ubuntu 24.04 runners have it: takes zstd, keeps no digests."""

    name = "docker28graph"
    graph_store = True


class FullDisk(Docker28):
    """Docker 28 with the containerd store, on a disk that a larger image fills."""

    name = "full"
    size = 64  # MiB

    def command(self) -> list[str]:
        data = f"{self.folder}/data"
        mounted = f'mkdir -p {data} && mount -t tmpfs -o size={self.size}m tmpfs {data} && exec "$@"'
        return [*self.toolbox.entering(), "sh", "-c", mounted, "sh", require_newer("dockerd")]


def reported_digest(said: str) -> str:
    found = _DIGEST.search(said)
    assert found, f"no digest in: {said}"
    return found[1]


def answers(path: Path) -> bool:
    """Whether something accepts connections on this socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def refuse_busy_bridge() -> None:
    """An engine without a bridge removes docker0 at its start: never under another engine."""
    if Path("/sys/class/net/docker0").exists() and answers(Path("/var/run/docker.sock")):
        missing("a machine without a running dockerd", "stop it: these engines would remove its docker0")


def first_child(parent: int) -> int | None:
    """Return the first process of the namespace that `unshare --fork` made."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(children[0]) if children else None


def wait_until_gone(process: int) -> None:
    """Wait until a killed namespace is empty: its first process is the last one to go."""
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":
            return
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"process {process} does not end")


def clear_left_over_cgroups() -> None:
    """Remove the empty control groups of engines that are gone; busy ones refuse by themselves."""
    roots = [*_CGROUPS.glob("image-relay-*"), *_CGROUPS.glob("*/image-relay-*")]
    for root in roots:
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
