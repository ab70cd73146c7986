"""How long a start takes: from the process to the first 200 on /v2/, with the health check beside it.

A bare Python is the floor. `image-relay health` is what a container engine runs every few seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measuring import load, relay, table

_LIMIT = 0.7  # seconds
_PROGRAM = Path(sys.executable).with_name("image-relay")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        data = Path(folder, "data")
        started = _times(lambda: _start(data), rounds)
        with relay(data) as server:
            health = [str(_PROGRAM), "health", "--port", str(server.port)]
            checked = _times(lambda: _run(health), rounds)
    bare = _times(lambda: _run([sys.executable, "-c", "pass"]), rounds)
    rows = [("", "median", "max"), _row("process start to 200 on /v2/", started)]
    rows += [_row("image-relay health", checked), _row("python -c pass", bare)]
    print(f"{rounds} rounds after one that does not count, {load()}\n\n{table(rows)}")
    if (typical := statistics.median(started)) > _LIMIT:
        print(f"\nA start takes {typical:.2f} s, more than {_LIMIT} s.", file=sys.stderr)
        return 1
    return 0


def _times(act: Callable[[], float], rounds: int) -> list[float]:
    act()
    return [act() for _ in range(rounds)]


def _start(data: Path) -> float:
    with relay(data) as server:
        return server.started_in


def _run(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def _row(what: str, times: Sequence[float]) -> tuple[str, ...]:
    return what, f"{statistics.median(times):.3f} s", f"{max(times):.3f} s"


if __name__ == "__main__":
    sys.exit(main())
