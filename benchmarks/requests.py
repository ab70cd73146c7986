"""Small requests per second, and the processor time of each: the relay beside Debian's docker-registry, in turns.

The client is one process with some connections, so that it shares two cores with the registry.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from typing import NamedTuple

from benchmarks.asking import Request, ask
from benchmarks.measuring import CONFIG, ROOT, Failed, Registry, Server, cpu_seconds, load, ratio, relay, table
from benchmarks.registries import docker_registry

_ACCEPT = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json\r\n"
_WARM = 500  # requests before the others


class Figures(NamedTuple):
    """Of one kind of request in one round: per second, processor seconds of each, and the slowest but for 1 %."""

    rate: float
    cpu: float
    p99: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000, help="of each kind in each round")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--against", type=Path, help="another checkout of the relay, instead of docker-registry")
    options = parser.parse_args()
    other: Callable[[Path], Server] = partial(relay, checkout=options.against) if options.against else docker_registry
    starts: list[Callable[[Path], Server]] = [partial(relay, checkout=ROOT), other]
    print(f"{options.requests} requests on {options.connections} connections; {load()}\n", flush=True)
    rounds: list[list[dict[str, Figures]]] = [[], []]
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 else (1, 0):
            with tempfile.TemporaryDirectory(prefix="relay-bench-") as data:
                try:
                    rounds[which].append(_round(starts[which], Path(data), options.requests, options.connections))
                except (Failed, OSError) as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
                    return 1
    print(_report(*rounds), f"\nAt the end: {load()}")
    return 0


def _round(start: Callable[[Path], Server], data: Path, count: int, connections: int) -> dict[str, Figures]:
    with start(data) as server:
        registry = Registry(server.port, "bench")
        layer = registry.push(iter([bytes(100_000)]))
        config = registry.push(iter([CONFIG]))
        registry.tag("v1", layer)
        digest = registry.digest("v1")
        kinds: dict[str, Request] = {
            "GET manifest by tag": ("GET", "/v2/bench/manifests/v1", _ACCEPT),
            "GET manifest by digest": ("GET", f"/v2/bench/manifests/{digest}", _ACCEPT),
            "HEAD manifest by tag": ("HEAD", "/v2/bench/manifests/v1", _ACCEPT),
            "HEAD blob": ("HEAD", f"/v2/bench/blobs/{layer[0]}"),
            "GET small blob": ("GET", f"/v2/bench/blobs/{config[0]}"),
        }
        found = {}
        for kind, request in kinds.items():
            ask(server.port, islice(repeat(request), _WARM), connections)
            before = cpu_seconds(server.pid)
            asked = ask(server.port, islice(repeat(request), count), connections)
            found[kind] = Figures(asked.rate, (cpu_seconds(server.pid) - before) / count, asked.slowest(0.01))
    return found


def _report(ours: Sequence[dict[str, Figures]], theirs: Sequence[dict[str, Figures]]) -> str:
    rows = [("", "per second", "the other", "ratio", "CPU of each", "the other", "p99", "the other")]
    for kind in ours[0]:
        mine, other = [each[kind] for each in ours], [each[kind] for each in theirs]
        rows.append(
            (
                kind,
                f"{statistics.median(each.rate for each in mine):,.0f}",
                f"{statistics.median(each.rate for each in other):,.0f}",
                f"{ratio([each.rate for each in mine], [each.rate for each in other]):.2f}",
                f"{1e6 * statistics.median(each.cpu for each in mine):.0f} µs",
                f"{1e6 * statistics.median(each.cpu for each in other):.0f} µs",
                f"{1e3 * statistics.median(each.p99 for each in mine):.1f} ms",
                f"{1e3 * statistics.median(each.p99 for each in other):.1f} ms",
            )
        )
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
