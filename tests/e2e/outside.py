"""What runs in the network of an engine that has one of its own: an artifact service, and somebody else's server."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.e2e.bridged import Bridged

_ROOT = Path(__file__).parents[2]
_PORT = 8000


@contextmanager
def artifact_service(engine: Bridged, folder: Path) -> Iterator[dict[str, dict[str, str]]]:
    """Serve the artifacts of a run where containers reach them; gives the environments of two jobs, build and test."""
    where = ("--host", engine.address, "--port", str(_PORT), "--data", str(folder))
    with _running(engine, "tests.fakes.actions", ["--flavour", "act", *where], "# job test") as serving:
        yield {job: _environment(folder / f"{job}.env") for job in ("build", "test")}
        serving.terminate()


def _environment(path: Path) -> dict[str, str]:
    pairs = re.findall(r"^export (\w+)=(.*)$", path.read_text(), re.MULTILINE)
    return {name: shlex.split(value)[0] for name, value in pairs}


@contextmanager
def stranger(engine: Bridged, port: int, heard: list[str]) -> Iterator[None]:
    """Listen at a port of the engine's machine; at the end `heard` has every request that came."""
    with _running(engine, "tests.action.stranger", [str(port)], "ready") as listening:
        yield
        said, _ = listening.communicate()
        heard.extend(said.split("\n\n"))


@contextmanager
def _running(engine: Bridged, module: str, arguments: Sequence[str], ready: str) -> Iterator["subprocess.Popen[str]"]:
    command = [*engine.inside(), sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout
            _read_until(started.stdout, ready)
            yield started
        finally:
            started.kill()


def _read_until(said: IO[str], ready: str) -> None:
    for line in said:
        if line.startswith(ready):
            return
    raise AssertionError("it ended before it was ready")
