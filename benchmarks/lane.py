"""How long an image takes from one job to the next: today's recipes, push and pull, and the tarball lane.

The image has three layers of real files, 1 GB in all by default. A real dockerd with the graph store (Debian's) saves,
pushes, pulls and loads; the artifact service is the emulator of `tests/fakes/actions` with its blobs in Azurite on
disk; GitHub's own client uploads and downloads where the recipe says so. Every round does every flow once, one after
the other, from an image that is in the engine to one that is in it again; between, the engine forgets it.

Needs root, and what `tools/install-test-tools` and `tools/install-actions-emulator` install.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import GIB, ROOT, Failed, Server, load, mib, ratio, relay, table
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Docker20, Engine
from tests.fakes.actions import azurite
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.official import OfficialClient
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread

_NAME = "localhost:5000/app:v1"
_NAMED = ("--public-host", "localhost:5000")
_LAYERS = 3
_PATIENCE = 900.0  # seconds of the official client


class Run:
    """One workflow run after the other, on one engine."""

    def __init__(self, engine: Engine, actions: Emulator, folder: Path) -> None:
        self.engine = engine
        self.actions = actions
        self.folder = folder
        self._number = 0

    def begin(self) -> None:
        """Start a run that has no artifacts."""
        self._number += 1
        self.work = self.folder / f"run{self._number}"
        self.work.mkdir()

    def environment(self, job: str) -> dict[str, str]:
        """Give the environment of a job of this run."""
        return self.actions.environment(self.actions.job(job, run=1000 + self._number))

    def official(self, job: str) -> OfficialClient:
        """Give GitHub's client in a job."""
        return OfficialClient(azurite.TOOLS, self.environment(job), self.work, _PATIENCE)

    @contextmanager
    def relay(self, job: str) -> Iterator[Server]:
        """Run the relay of a job, with an empty disk."""
        environment = self.environment(job)
        os.environ |= {key: value for key, value in environment.items() if not key.startswith("RELAY_")}
        hosts = environment["RELAY_TRUSTED_HOSTS"]
        with relay(self.work / job, "--store", "actions", "--trusted-hosts", hosts, *_NAMED) as server:
            yield server

    def shell(self, command: str) -> None:
        """Run a pipe as a step of a job does; `docker` is that of the engine."""
        docker = shlex.join(self.engine.client())
        script = f'set -eo pipefail; docker() {{ {docker} "$@"; }}; {command}'
        done = subprocess.run(["bash", "-c", script], cwd=self.work, capture_output=True, check=False, text=True)
        if done.returncode:
            raise Failed(f"{command}: {done.stderr[-2000:]}")

    def command(self, server: Server, *arguments: str) -> None:
        """Run a command of image-relay."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.engine.socket}"}
        command = [sys.executable, "-m", "proxy", *arguments, "--port", str(server.port)]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def guide(run: Run, forget: Callable[[], None]) -> None:
    """Docker's guide: a tar, upload-artifact as it is, download-artifact, docker load."""
    run.shell(f"docker save --output myimage.tar {_NAME}")
    forget()
    _through_artifact(run, "myimage.tar", 6)
    run.shell("docker load --input got/myimage.tar")


def by_hand(run: Run, forget: Callable[[], None]) -> None:
    """Do the best that is done by hand: zstd on all cores, the zip without compression."""
    run.shell(f"docker save {_NAME} | zstd -q -T0 -3 -o myimage.tar.zst")
    forget()
    _through_artifact(run, "myimage.tar.zst", 0)
    run.shell("zstd -dc got/myimage.tar.zst | docker load")


def _through_artifact(run: Run, file: str, level: int) -> None:
    run.official("build").upload("myimage", [run.work / file], compressionLevel=level)
    receiver = run.official("use")
    (found,) = receiver.list(latest=True)
    receiver.download(int(found["id"]), run.work / "got", str(found["digest"]))


def push_and_pull(run: Run, forget: Callable[[], None]) -> None:
    """Docker push to a relay, docker pull from another."""
    with run.relay("build") as server:
        run.shell(f"docker tag {_NAME} localhost:{server.port}/app:v1")
        run.engine.push(f"localhost:{server.port}/app:v1")
        run.shell(f"docker image rm localhost:{server.port}/app:v1")
    forget()
    _pull(run)


def _pull(run: Run) -> None:
    with run.relay("use") as server:
        run.engine.pull(f"localhost:{server.port}/app:v1")
        run.shell(f"docker tag localhost:{server.port}/app:v1 {_NAME}")
        run.shell(f"docker image rm localhost:{server.port}/app:v1")


def lane(run: Run, forget: Callable[[], None]) -> None:
    """image-relay save to a relay, image-relay load from another."""
    with run.relay("build") as server:
        run.command(server, "save", _NAME)
    forget()
    with run.relay("use") as server:
        run.command(server, "load", _NAME)


def lane_and_pull(run: Run, forget: Callable[[], None]) -> None:
    """image-relay save to a relay, docker pull from another."""
    with run.relay("build") as server:
        run.command(server, "save", _NAME)
    forget()
    _pull(run)


def engine_alone(run: Run, forget: Callable[[], None]) -> None:
    """Docker save to a file, docker load from it: what nobody can be faster than."""
    run.shell(f"docker save --output myimage.tar {_NAME}")
    forget()
    run.shell("docker load --input myimage.tar")


FLOWS = {
    "guide": guide,
    "best by hand": by_hand,
    "push and pull": push_and_pull,
    "save and load": lane,
    "save and pull": lane_and_pull,
    "engine alone": engine_alone,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the data goes, some 15 GB; default: the folder for temporary files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the image, 1000 by default")
    parser.add_argument("--files", default="/usr", help="a folder of files that make the layers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-lane-", dir=arguments.folder) as data:
        took = _measured(Path(data), arguments.rounds, arguments.megabytes * 10**6, Path(arguments.files))
    rows = [("flow", "median", "all rounds", "guide takes", "best by hand takes")]
    for flow, seconds in took.items():
        rows.append(
            (
                flow,
                f"{statistics.median(seconds):.1f} s",
                ", ".join(f"{each:.1f}" for each in seconds),
                f"{ratio(took['guide'], seconds):.2f} x",
                f"{ratio(took['best by hand'], seconds):.2f} x",
            )
        )
    print(table(rows), f"\nAt the end: {load()}")
    return 0


def _measured(data: Path, rounds: int, size: int, files: Path) -> dict[str, list[float]]:
    """Give the seconds of each flow, round by round."""
    took: dict[str, list[float]] = {flow: [] for flow in FLOWS}
    engine = Docker20(Toolbox(data / "work"))
    with (
        azurite.running(data / "azurite.log", data / "azurite") as origin,
        in_thread(Options(whole_read_limit=None), data / "emulator", origin) as actions,
    ):
        engine.start()
        try:
            _build(engine, data / "context", size, files)
            run = Run(engine, actions, data)
            for _ in range(rounds):
                for flow, work in FLOWS.items():
                    took[flow].append(_timed(run, work))
                    print(f"{flow}: {took[flow][-1]:.1f} s; {load()}", file=sys.stderr, flush=True)
        finally:
            engine.stop()
    return took


def _timed(run: Run, work: Callable[[Run, Callable[[], None]], None]) -> float:
    """Do a flow; what it takes the engine to forget the image does not count."""
    pause = 0.0

    def forget() -> None:
        nonlocal pause
        began = time.monotonic()
        run.shell(
            f"docker image rm --force $(docker image inspect --format '{{{{.Id}}}}' {_NAME})"
        )  # under all its names
        run.shell("docker builder prune --force >/dev/null || true")
        os.sync()
        pause = time.monotonic() - began

    run.begin()
    before = run.engine.layers(_NAME)
    began = time.monotonic()
    work(run, forget)
    took = time.monotonic() - began - pause
    if run.engine.layers(_NAME) != before:
        raise Failed("what came is another image")
    subprocess.run(["rm", "-rf", str(run.work)], check=True)
    return took


def _build(engine: Engine, context: Path, size: int, files: Path) -> None:
    """Build an image of three layers of real files in the engine."""
    context.mkdir()
    every = (path for path in sorted(files.rglob("*")) if path.is_file() and not path.is_symlink())
    total = 0
    for number in range(_LAYERS):
        held = 0
        with tarfile.open(context / f"{number}.tar", "w") as layer:
            for path in every:
                layer.add(path, arcname=str(path.relative_to(files)))
                held += path.stat().st_size
                if held >= size / _LAYERS:
                    break
        total += held
    adds = "\n".join(f"ADD {number}.tar /" for number in range(_LAYERS))
    (context / "Dockerfile").write_text(f'FROM scratch\n{adds}\nCMD ["x"]\n')
    engine.docker("build", "--quiet", "--no-cache", "--tag", _NAME, str(context))
    engine.docker("image", "inspect", _NAME)
    print(f"An image of {mib(total)} in {_LAYERS} layers; {load()}\n", flush=True)
    if total < size - GIB // 10:
        print(f"(there were no more files in {files})", flush=True)
    subprocess.run(["rm", "-rf", str(context)], check=True)


if __name__ == "__main__":
    sys.exit(main())
