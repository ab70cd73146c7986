"""What crowds cost: others beside them, memory and descriptors; the relay beside Debian's docker-registry.

Beside each crowd one client pulls a layer of 50 MiB, a few times, and then four ask for a manifest, one request after
the other on each connection. The crowd and these clients are two processes, so that they share two cores with the
registry. Every crowd meets a registry that was just started.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import repeat, takewhile
from pathlib import Path
from typing import NamedTuple

from benchmarks.asking import Request, ask
from benchmarks.crowds import CROWDS, SIZE, at_work
from benchmarks.many_layers import Image
from benchmarks.measuring import MANIFEST, MIB, Failed, Registry, Server, load, mib, noise, peak_rss, relay, table
from benchmarks.registries import docker_registry
from benchmarks.watching import Descriptors, Watch

_RSS = 150 * MIB
_FILES = 256  # descriptors of all but connections
_SPARE = 0.2  # seconds that a fast reader may lose in a crowd, beside twice its time alone
_READS = 3  # of the fast reader
_READING = 10.0  # seconds after which it does not begin again
_ASKING = 3.0  # seconds of requests for a manifest
_MANIFEST: Request = ("GET", "/v2/load/manifests/v1", f"Accept: {MANIFEST}\r\n")


class Result(NamedTuple):
    """What one registry did in one crowd: seconds, and bytes."""

    reader: float
    half: float  # of the requests for a manifest were answered within this time
    slowest: float  # all but 1 %
    rss: int
    descriptors: Descriptors
    was_over: bool  # the crowd had ended before all was measured


class Compared(NamedTuple):
    """A crowd, with the results of all rounds of the relay and of docker-registry."""

    crowd: str
    ours: Sequence[Result]
    theirs: Sequence[Result]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crowds", nargs="+", choices=CROWDS, default=list(CROWDS), help="all by default")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where the data goes, 6 GiB at most; default: the folder for temporary files")
    options = parser.parse_args()
    print(f"A layer of {mib(SIZE)}, {options.rounds} rounds; {load()}\n", flush=True)
    measure = partial(_measured, options.folder)
    try:
        results = [
            Compared(
                crowd,
                [measure(relay, crowd) for _ in range(options.rounds)],
                [measure(docker_registry, crowd) for _ in range(options.rounds)],
            )
            for crowd in dict.fromkeys(["alone", *options.crowds])
        ]
        print(_report(results), flush=True)
        if "manifest" in options.crowds:
            print(_of_many_layers(options.folder), flush=True)
    except (Failed, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"\nAt the end: {load()}")
    return 0 if all(not missed(each, results[0]) for each in results) else 1


def _measured(folder: str | None, start: Callable[[Path], Server], name: str) -> Result:
    """Measure one registry in one crowd."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=folder) as data, start(Path(data)) as server:
        registry = Registry(server.port, "load")
        layer = registry.push(noise(SIZE))
        registry.tag("v1", layer)
        registry.pull(layer[0])
        if name == "manifest":
            Image(server.port).send_layers()
        with Watch(server.pid) as watch, at_work(server.port, layer[0], name) as crowd:
            reader = statistics.median(_pulls(registry, layer[0]))
            end = time.monotonic() + _ASKING
            asked = ask(server.port, takewhile(lambda _: time.monotonic() < end, repeat(_MANIFEST)), connections=4)
            was_over = crowd.poll() is not None
        half, slowest = statistics.median(asked.each), asked.slowest(0.01)
        result = Result(reader, half, slowest, peak_rss(server.pid), watch.most, was_over)
    print(Path(server.command[0]).name, name, *result, sep="  ", file=sys.stderr, flush=True)
    return result


def _pulls(registry: Registry, digest: str) -> Iterator[float]:
    """Pull a layer a few times, and yield the seconds of each."""
    end = time.monotonic() + _READING
    for _ in range(_READS):
        began = time.monotonic()
        registry.pull(digest)
        yield time.monotonic() - began
        if time.monotonic() > end:
            break


def _of_many_layers(folder: str | None) -> str:
    """Push and pull an image of very many layers, alone."""
    found = list[dict[str, float]]()
    for start in (relay, docker_registry):
        with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=folder) as data, start(Path(data)) as server:
            image = Image(server.port)
            with Watch(server.pid) as watch:
                found.append(image.took())
            print(f"{start.__name__}: {watch.most}, {mib(peak_rss(server.pid))}", file=sys.stderr, flush=True)
    ours, theirs = found
    rows = [(step, f"{seconds:.2f} s", f"{theirs[step]:.2f} s") for step, seconds in ours.items()]
    return "\n" + table([("an image of 5,000 layers, alone", "image-relay", "docker-registry"), *rows])


def missed(each: Compared, alone: Compared) -> str:
    """Return which bounds the relay misses in a crowd."""
    most = 2 * _median(alone.ours, "reader") + _SPARE
    missed = {
        "reader": _median(each.ours, "reader") > most,
        "p99": _median(each.ours, "slowest") > _median(each.theirs, "slowest"),
        "RSS": max(result.rss for result in each.ours) >= _RSS,
        "files": max(result.descriptors.files for result in each.ours) >= _FILES,
    }
    return ", ".join(bound for bound, is_missed in missed.items() if is_missed)


def _median(results: Sequence[Result], field: str) -> float:
    return float(statistics.median(getattr(result, field) for result in results))


def _report(results: Sequence[Compared]) -> str:
    head = ("crowd", "registry", "a fast reader", "manifest p50", "p99", "peak RSS", "descriptors", "missed")
    rows: list[tuple[str, ...]] = [head]
    for each in results:
        rows.append(_row(each.crowd, "image-relay", each.ours, missed(each, results[0]) or "-"))
        rows.append(_row(each.crowd, "docker-registry", each.theirs, ""))
    return table(rows)


def _row(crowd: str, registry: str, results: Sequence[Result], missed: str) -> tuple[str, ...]:
    over = " (over early)" if CROWDS[crowd].size and any(result.was_over for result in results) else ""
    return (
        CROWDS[crowd].title + over,
        registry,
        f"{_median(results, 'reader'):.2f} s",
        f"{1e3 * _median(results, 'half'):.1f} ms",
        f"{1e3 * _median(results, 'slowest'):.1f} ms",
        mib(max(result.rss for result in results)),
        str(max(result.descriptors for result in results)),
        missed,
    )


if __name__ == "__main__":
    sys.exit(main())
