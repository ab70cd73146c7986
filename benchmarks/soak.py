"""Many requests of all kinds, one after the other and side by side; memory and descriptors have to come back.

Of ten rounds the first three warm up. The relay is idle when it is looked at; at the end, 70 s after the last request,
since files of replaced images are kept open for a minute. Then come crowds, and it is looked at again.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

from benchmarks.asking import Request, ask
from benchmarks.crowds import CROWDS, SIZE, at_work
from benchmarks.measuring import MIB, Failed, Registry, load, mib, noise, peak_rss, relay, table
from benchmarks.watching import Descriptors, resident

_ROUNDS = 10
_WARMING = 3
_IDLE = 2.0  # seconds; then pulls are over, and connections closed
_REPLACED = 70.0  # seconds; then images that were replaced are no longer kept open for pulls
_CROWD = 7.0  # seconds that a crowd is at work, once it has gathered
_GROWTH = 5 * MIB  # bytes of memory from the third round to the end
_SPARE = 2  # descriptors more than at first
_IMAGES = 50


class Look(NamedTuple):
    """What a process had at some time."""

    when: str
    memory: int
    descriptors: Descriptors

    @classmethod
    def at(cls, pid: int, when: str) -> Self:
        """Look at a process now."""
        found = cls(when, resident(pid), Descriptors.of(pid))
        print(*found, sep="  ", file=sys.stderr, flush=True)
        return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--crowds", nargs="*", choices=CROWDS, default=["pulls", "slow"])
    options = parser.parse_args()
    print(f"{options.requests} requests; {load()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as data, relay(Path(data)) as server:
        try:
            looks = list(_looks(server.port, server.pid, options.requests, options.crowds))
        except (Failed, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        peak = peak_rss(server.pid)
    print(table([("", "memory", "descriptors"), *((each.when, mib(each.memory), str(each[2])) for each in looks)]))
    first, warm, end, last = looks[0], looks[_WARMING], looks[_ROUNDS + 1], looks[-1]
    print(f"\n{mib(peak)} at most; {mib(end.memory - warm.memory)} more from round {_WARMING} to the end; {load()}")
    is_flat = end.memory - warm.memory < _GROWTH
    return 0 if is_flat and all(sum(each.descriptors) <= sum(first.descriptors) + _SPARE for each in (end, last)) else 1


def _looks(port: int, pid: int, requests: int, crowds: list[str]) -> Iterator[Look]:
    chance = random.Random(1)  # noqa: S311 - the same requests each time
    large = Registry(port, "load")
    layer = large.push(noise(SIZE))
    large.tag("v1", layer)
    digests = list(_pushed(port))
    time.sleep(_IDLE)
    yield Look.at(pid, "before")
    for number in range(_ROUNDS):
        ask(port, islice(_mixed(digests, chance), requests // _ROUNDS), connections=32)
        for each in range(5):
            registry = Registry(port, f"pushed{each}")
            registry.tag("v1", registry.push(noise(MIB)))
        time.sleep(_IDLE)
        yield Look.at(pid, f"after {(number + 1) * requests // _ROUNDS:,} requests")
    time.sleep(_REPLACED)
    yield Look.at(pid, f"{_REPLACED:.0f} s later")
    for crowd in crowds:
        with at_work(port, layer[0], crowd):
            time.sleep(_CROWD)
        time.sleep(_IDLE)
        yield Look.at(pid, f"idle after {CROWDS[crowd].title}")


def _pushed(port: int) -> Iterator[tuple[str, str]]:
    """Push images; yield each repository and the digest of its layer."""
    for number in range(_IMAGES):
        registry = Registry(port, f"soak{number}")
        layer = registry.push(noise(200_000))
        registry.tag("v1", layer)
        yield f"soak{number}", layer[0]


def _mixed(images: list[tuple[str, str]], chance: random.Random) -> Iterator[Request]:
    while True:
        name, digest = chance.choice(images)
        start = chance.randrange(100_000)
        kinds: list[Request] = [
            ("GET", f"/v2/{name}/manifests/v1"),
            ("HEAD", f"/v2/{name}/manifests/v1"),
            ("HEAD", f"/v2/{name}/blobs/{digest}"),
            ("GET", f"/v2/{name}/blobs/{digest}"),
            ("GET", f"/v2/{name}/blobs/{digest}", f"Range: bytes={start}-{start + 999}\r\n"),
            ("GET", f"/v2/{name}/tags/list"),
            ("GET", "/v2/_catalog"),
            ("GET", "/v2/"),
            ("GET", "/relay/health"),
            ("GET", f"/relay/images/{name}:v1"),
        ]
        yield chance.choice(kinds)


if __name__ == "__main__":
    sys.exit(main())
