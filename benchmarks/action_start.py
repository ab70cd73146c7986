"""How long the first step of a job takes in which the action starts the relay, and the processor time that this costs.

`process, pip` and `process, uv` begin with an empty cache, and use the index that PIP_INDEX_URL or pip.conf names: its
latency counts. `container` needs a Docker engine and `--image`, which is in the engine already.
"""

import argparse
import os
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import ROOT, cpu_seconds, load, table
from tests.action.runner import Step
from tests.ports import free_port

_BOUNDS = {"pip": 15.0, "uv": 4.0}  # seconds on two cores
_PASSED = ("PIP_", "UV_", "SSL_", "DOCKER_")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", default=getattr(sys, "_base_executable", sys.executable), help="the one with pip")
    parser.add_argument("--image", help="of the relay; without one no container is started")
    chosen = parser.parse_args()
    ways = ["pip", *(["uv"] if shutil.which("uv") else []), *(["container"] if chosen.image else [])]
    figures: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as name, _artifact_service(Path(name)) as environment:
        for number in range(chosen.rounds):
            for way in ways:
                folder = Path(name, f"{way}{number}")
                figures[way].append(_start(_step(way, folder, environment, chosen), folder))
    medians = {
        way: [statistics.median(column) for column in zip(*found, strict=True)] for way, found in figures.items()
    }
    rows: list[tuple[str, ...]] = [("", "step", "CPU of the step", "CPU of the relay")]
    rows += [(_title(way), *(f"{each:.1f} s" for each in found)) for way, found in medians.items()]
    pip = subprocess.run([chosen.python, "-m", "pip", "--version"], capture_output=True, check=True, text=True).stdout
    print(f"medians of {chosen.rounds}, {load()}, {' '.join(pip.split()[:2])}\n\n{table(rows)}")
    slow = [way for way, bound in _BOUNDS.items() if way in medians and medians[way][0] > bound]
    for way in slow:
        print(f"\nThe relay serves later than after {_BOUNDS[way]:g} s with {way}.", file=sys.stderr)
    return 1 if slow else 0


def _title(way: str) -> str:
    return way if way == "container" else f"process, {way}"


def _step(way: str, folder: Path, environment: dict[str, str], chosen: argparse.Namespace) -> Step:
    """Make a step whose PATH has nothing but what that way needs."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    (programs / "python3").symlink_to(chosen.python)
    for tool in {"uv": ["uv"], "container": ["docker"]}.get(way, []):
        if found := shutil.which(tool):
            (programs / tool).symlink_to(found)
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    told = {**passed, **environment, "PATH": str(programs), "RUNNER_TEMP": str(folder), "HOME": str(folder)}
    inputs = {"image": chosen.image, "mode": "container"} if way == "container" else {"mode": "process"}
    return Step(folder / "step", told, {"port": "0", **inputs})


def _start(step: Step, folder: Path) -> tuple[float, float, float]:
    """Return the seconds of the step, its processor time with all that it has waited for, and that of the relay."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = step.main()
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.status:
        raise SystemExit("the step has failed")
    records = [path.read_text() for path in folder.glob("*/process.json")]
    of_relay = sum(cpu_seconds(int(found[1])) for text in records if (found := re.search(r'"pid":(\d+)', text)))
    step.post()
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, of_relay


@contextmanager
def _artifact_service(folder: Path) -> Iterator[dict[str, str]]:
    """Serve artifacts as Forgejo does; yield the environment of a job. act breaks off the listings of an empty run."""
    port = free_port()
    where = ["--flavour", "forgejo", "--host", "127.0.0.1", "--port", str(port), "--data", str(folder / "service")]
    command = [sys.executable, "-m", "tests.fakes.actions", *where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as serving:
        try:
            any(line.startswith("# job test") for line in serving.stdout or [])
            pairs = re.findall(r"^export (\w+)=(.*)$", (folder / "service" / "build.env").read_text(), re.MULTILINE)
            yield {name: shlex.split(value)[0] for name, value in pairs}
        finally:
            serving.terminate()
            serving.communicate()  # it tells at its end what came


if __name__ == "__main__":
    sys.exit(main())
