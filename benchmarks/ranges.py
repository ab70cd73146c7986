"""How much a fresh relay reads from a 1 GiB archive for one manifest, and for 1 MiB of a layer.

The figures are the bytes that its system calls read from the archive, by strace. Without strace they are what the whole
process read meanwhile (rchar of /proc/<pid>/io), a little more. A start reads no archive, so only requests count.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import GIB, MIB, Failed, Registry, load, mib, noise, relay, table

_NAME, _TAG = "ranges", "v1"
_CALLS = "read,readv,pread64,preadv,preadv2,sendfile,copy_file_range,splice"
_READ = re.compile(r"\w+\(.*?\.tar\.zst\W.* = (\d+)$")  # a call on the archive, and how many bytes it gave
_PATIENCE = 10.0  # seconds until strace has written its last line


class Case(NamedTuple):
    """A request to a fresh relay, and how many bytes it may read."""

    what: str
    limit: int
    ask: Callable[[Registry, str], object]


def _slice(start: int) -> Callable[[Registry, str], object]:
    def ask(registry: Registry, digest: str) -> None:
        if len(registry.range(digest, start, start + MIB)) != MIB:
            raise Failed(f"the 1 MiB from {start} on is no 1 MiB")

    return ask


CASES = (
    Case("one manifest", MIB // 2, lambda registry, _: registry.manifest(_TAG)),
    Case("1 MiB of the layer, within a piece", 6 * MIB, _slice(GIB // 2 + MIB)),
    Case("1 MiB of the layer, across two pieces", 6 * MIB, _slice(GIB // 2 - MIB // 2)),
)


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        data = Path(folder, "data")
        with relay(data) as server:
            registry = Registry(server.port, _NAME)
            layer = registry.push(noise(GIB))
            registry.tag(_TAG, layer)
        results = [(case, _bytes_read(data, Path(folder, "calls"), case, layer[0])) for case in CASES]
    by = "strace" if shutil.which("strace") else "rchar; install strace for exact figures"
    print(f"Bytes read from an archive of 1 GiB by a fresh relay ({by}), {load()}\n")
    rows = [(case.what, mib(count), mib(case.limit)) for case, count in results]
    print(table([("", "read", "wanted under"), *rows]))
    return 1 if any(count >= case.limit for case, count in results) else 0


def _bytes_read(data: Path, calls: Path, case: Case, digest: str) -> int:
    if not shutil.which("strace"):
        with relay(data) as server:
            before = _rchar(server.pid)
            case.ask(Registry(server.port, _NAME), digest)
            return _rchar(server.pid) - before
    calls.mkdir(exist_ok=True)
    # -D: the relay is our child, not strace's; -ff: a file for each thread; -y: the path of each descriptor
    strace = ["strace", "-D", "-ff", "-y", "-s", "0", "-e", _CALLS, "-o", str(calls / case.what)]
    with relay(data, before=strace) as server:
        case.ask(Registry(server.port, _NAME), digest)
    lines = _traced(list(calls.glob(f"{case.what}.*")))
    return sum(int(match[1]) for line in lines if (match := _READ.match(line)))


def _traced(files: list[Path]) -> list[str]:
    """Return the lines of all threads, once strace has seen their end."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        threads = [file.read_text().splitlines() for file in files]
        if threads and all(lines and lines[-1].startswith("+++") for lines in threads):
            return [line for lines in threads for line in lines]
        time.sleep(0.05)
    raise Failed("strace does not finish")


def _rchar(pid: int) -> int:
    return int(Path(f"/proc/{pid}/io").read_text().split("rchar:")[1].split()[0])


if __name__ == "__main__":
    sys.exit(main())
