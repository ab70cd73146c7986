"""How much memory and disk the relay needs at most: for one large layer, and for many transfers on a small budget.

One image of 4 GiB is pushed (POST, one PATCH in chunks, PUT), sealed, and pulled from a fresh relay. Then, on a budget
of 16 MiB, three clients pull a layer of 1 GiB while two push others. Every pull is checked by its digest. Disk is what
lies below the data folder, with files that are removed but still open, beside the archives there are in the end: of
what is being pushed it may hold one full copy more.
"""

import argparse
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import GIB, MIB, Failed, Registry, Server, load, mib, noise, peak_rss, relay, table

_RSS = 150 * MIB
_PATIENCE = 600.0  # seconds in which every step has to be over
_SAMPLE = 0.05  # seconds between two looks at the disk
_LARGE, _SMALL = 4 * GIB, GIB
_SLACK = MIB  # bytes of small files: locks, links, manifests; and frame headers, 24 in a million

Work = Callable[[], object]


class Result(NamedTuple):
    """What a relay needed at most from its start to the end of a step, in bytes, and how long the step took."""

    what: str
    rss: int
    disk: int
    archives: int
    copies: int  # what the disk may hold beyond the archives
    seconds: float

    @property
    def is_sound(self) -> bool:
        """Whether it is within the limits."""
        return self.rss < _RSS and self.disk <= self.archives + self.copies * (1 + 1e-4) + _SLACK

    def row(self) -> tuple[str, ...]:
        """Write it as a row of the table."""
        sizes = mib(self.rss), mib(self.disk), mib(self.archives), mib(self.copies)
        return (self.what, *sizes, f"{self.seconds:.1f} s", "yes" if self.is_sound else "NO")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the data goes, 9 GiB at most; default: the folder for temporary files")
    folder = parser.parse_args().folder
    print(f"At most {mib(_RSS)} of memory, and one copy beyond the archives; {load()}\n", flush=True)
    head = ("in one process", "peak RSS", "most on disk", "archives", "allowed copy", "took", "sound")
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=folder) as data:
        try:
            results += _large(Path(data, "large"))
            results += _crowd(Path(data, "crowd"))
        except (Failed, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print(table([head, *(result.row() for result in results)]), f"\nAt the end: {load()}")
    return 0 if all(result.is_sound for result in results) else 1


def _large(data: Path) -> Iterator[Result]:
    """Push, seal and pull one layer of 4 GiB."""
    layers: list[tuple[str, int]] = []
    with relay(data) as server, _observed(server, data) as observed:
        registry = Registry(server.port, "large")
        yield observed.during("push of 4 GiB", lambda: layers.append(registry.push(noise(_LARGE))), copies=_LARGE)
        digest = layers[0][0]
        yield observed.during("... and pull from the spool", lambda: registry.pull(digest), copies=_LARGE)
        yield observed.during("... and seal", lambda: registry.tag("v1", layers[0]), copies=_LARGE)
    with relay(data) as server, _observed(server, data) as observed:
        registry = Registry(server.port, "large")
        yield observed.during("pull of 4 GiB from the archive", lambda: registry.pull(digest))
        yield observed.during("... and again", lambda: registry.pull(digest))
    _empty(data)


def _crowd(data: Path) -> Iterator[Result]:
    """Pull one image three times and push two others at once, on a small budget."""

    def push(registry: Registry) -> tuple[str, int]:
        layer = registry.push(noise(_SMALL))
        registry.tag("v1", layer)
        return layer

    with relay(data) as server:
        digest, _ = push(Registry(server.port, "pulled"))
    with relay(data, "--memory-budget", "16MiB") as server, _observed(server, data) as observed:
        registries = [Registry(server.port, name) for name in ("pulled", "pushed/one", "pushed/two")]
        pulls = [lambda: registries[0].pull(digest)] * 3
        pushes = [lambda: push(registries[1]), lambda: push(registries[2])]
        yield observed.during("3 pulls and 2 pushes of 1 GiB", *pulls, *pushes, copies=2 * _SMALL)


def _empty(folder: Path) -> None:
    for path in folder.glob("*.tar.zst"):
        path.unlink()


class _Observed:
    """A relay whose disk is looked at all the time."""

    def __init__(self, server: Server, data: Path) -> None:
        self._server = server
        self._data = data
        self._most = 0
        self._ended = threading.Event()

    def look(self) -> None:
        """Note the largest number of bytes on disk until the end."""
        while not self._ended.wait(_SAMPLE):
            self._most = max(self._most, _below(self._data) + _removed(self._server.pid))

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def during(self, what: str, *works: Work, copies: int = 0) -> Result:
        """Do some work, all of it at once and within ten minutes, and tell what it took."""
        began = time.monotonic()
        with ThreadPoolExecutor(len(works)) as threads:
            futures = [threads.submit(work) for work in works]
            if wait(futures, _PATIENCE).not_done:
                self._server.kill()  # that ends the threads, too
                raise Failed(f"not over after {_PATIENCE:.0f} s: {what}")
            for future in futures:
                future.result()
        seconds = time.monotonic() - began
        archives = sum(path.stat().st_size for path in self._data.glob("*.tar.zst"))
        return Result(what, peak_rss(self._server.pid), self._most, archives, copies, seconds)


@contextmanager
def _observed(server: Server, data: Path) -> Iterator[_Observed]:
    observed = _Observed(server, data)
    looking = threading.Thread(target=observed.look)
    looking.start()
    try:
        yield observed
    finally:
        observed.end()
        looking.join()


def _below(folder: Path) -> int:
    """Add up the files below a folder; what vanishes meanwhile does not count."""
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            with suppress(FileNotFoundError):
                total += Path(root, file).stat().st_size
    return total


def _removed(pid: int) -> int:
    """Add up the files that a process keeps open though they have no name any more: they still take space."""
    total = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            status = descriptor.stat()
            total += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
    return total


if __name__ == "__main__":
    sys.exit(main())
