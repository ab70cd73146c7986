"""CPU seconds of the relay per GiB: what it costs to take a layer, to store it, to fetch it from afar, to give it.

The artifact service is the emulator of `tests/fakes/actions`, its storage the light blob server of
`benchmarks.handover` in a process of its own. In each round a layer that does not compress is pushed to a relay and
sealed with its manifest; a second relay, with an empty disk, gives it twice. Every pull is checked by its digest.
What is compared, TLS and another checkout, takes turns within each round.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks import storage
from benchmarks.measuring import (
    GIB,
    MIB,
    ROOT,
    Failed,
    Registry,
    Server,
    certificate,
    cpu_seconds,
    load,
    noise,
    peak_rss,
    ratio,
    relay,
    table,
    warm,
)
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread
from tests.ports import free_port

T = TypeVar("T")

_STEPS = ("receive", "seal and upload", "far pull", "pull from the cache")
_SPARE = 3  # layers that fit into the memory made warm


class Took(NamedTuple):
    """The processors' and the wall's seconds of one step."""

    cpu: float
    wall: float


class Way(NamedTuple):
    """A checkout, and how its relay reaches storage."""

    name: str
    checkout: Path
    actions: Emulator
    blobs: Server
    environment: Mapping[str, str]


Round = dict[str, Took]  # by step


def main() -> int:
    arguments = _arguments()
    size = arguments.mebibytes * MIB
    print(f"A layer of {arguments.mebibytes} MiB, {arguments.rounds} rounds; {load()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=arguments.folder) as data, ExitStack() as stack:
        ways = stack.enter_context(_ways(Path(data), arguments.tls, arguments.against))
        results: dict[str, list[Round]] = {way.name: [] for way in ways}
        try:
            for number in range(arguments.rounds):
                for way in ways if number % 2 == 0 else reversed(ways):
                    results[way.name].append(_round(way, Path(data), size))
        except (Failed, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    print("CPU seconds per GiB", _compared(results, lambda took: took.cpu * GIB / size), sep="\n\n")
    print("\nWall seconds per GiB", _compared(results, lambda took: took.wall * GIB / size), sep="\n\n")
    print(f"\nAt the end: {load()}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=512, help="size of the layer, 512 by default")
    parser.add_argument("--rounds", type=int, default=3, help="3 by default")
    parser.add_argument("--tls", action="store_true", help="also with storage over TLS; needs openssl")
    parser.add_argument("--against", type=Path, help="another checkout, whose relay is measured too")
    parser.add_argument("--folder", help="where the data goes; default: the folder for temporary files")
    return parser.parse_args()


@contextmanager
def _ways(data: Path, tls: bool, against: Path | None) -> Iterator[list[Way]]:
    """Start storage and services, and list what takes turns."""
    tls_port = free_port()
    with ExitStack() as stack:
        second, trusted = [], {}
        if tls:
            own, public = certificate(data)
            second, trusted = [str(tls_port), str(own)], {"SSL_CERT_FILE": str(public)}
        (data / "blobs").mkdir()
        server = stack.enter_context(storage.prepare(data / "blobs", *second))
        origins = {"": ""} | ({", TLS": f"https://127.0.0.1:{tls_port}"} if tls else {})
        checkouts = {"this": ROOT} | ({"other": against.resolve()} if against else {})
        ways = []
        for suffix, origin in origins.items():
            options = Options(direct=True, direct_origin=origin)
            service = in_thread(options, data / f"emulator{suffix}", f"http://127.0.0.1:{server.port}")
            actions = stack.enter_context(service)
            environment = trusted if origin else {}
            ways += [Way(name + suffix, path, actions, server, environment) for name, path in checkouts.items()]
        yield ways


def _round(way: Way, data: Path, size: int) -> Round:
    """Push and pull one layer, in a run of its own, and leave nothing behind."""
    took: Round = {}
    jobs = data / "jobs"
    warm(_SPARE * size)
    with _job(way, "build", jobs) as server:
        registry = Registry(server.port, "bench")
        layer, took["receive"] = _measured(server, lambda: registry.push(noise(size)))
        _, took["seal and upload"] = _measured(server, lambda: registry.tag("v1", layer))
    with _job(way, "test", jobs) as server:
        registry = Registry(server.port, "bench")
        registry.manifest("v1")
        for step in _STEPS[2:]:
            _, took[step] = _measured(server, lambda: registry.pull(layer[0]))
        rss = peak_rss(server.pid)
    shutil.rmtree(jobs)
    way.actions.ledger.records.clear()
    storage.clear(way.blobs)
    figures = ", ".join(f"{step} {each.cpu:.2f} s of CPU in {each.wall:.2f} s" for step, each in took.items())
    print(f"{way.name}: {figures}; {rss // MIB} MiB; {load()}", file=sys.stderr, flush=True)
    return took


def _job(way: Way, name: str, jobs: Path) -> Server:
    """Prepare the relay of a job, with an empty folder."""
    environment = {**way.actions.environment(way.actions.job(name)), **way.environment}
    return relay(jobs / name, "--store", "actions", environment=environment, checkout=way.checkout)


def _measured(server: Server, work: Callable[[], T]) -> tuple[T, Took]:
    os.sync()
    cpu, began = cpu_seconds(server.pid), time.perf_counter()
    result = work()
    return result, Took(cpu_seconds(server.pid) - cpu, time.perf_counter() - began)


def _compared(results: Mapping[str, Sequence[Round]], figure: Callable[[Took], float]) -> str:
    """Write the medians of each way, and its ratios to the first one, round by round."""
    names = list(results)
    figures = {name: {step: [figure(each[step]) for each in results[name]] for step in _STEPS} for name in names}
    head = ("step", *names, *(f"{name} ÷ {names[0]}" for name in names[1:]))
    rows = [
        (
            step,
            *(f"{statistics.median(figures[name][step]):.2f}" for name in names),
            *(f"{ratio(figures[name][step], figures[names[0]][step]):.2f}" for name in names[1:]),
        )
        for step in _STEPS
    ]
    return table([head, *rows])


if __name__ == "__main__":
    sys.exit(main())
