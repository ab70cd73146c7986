"""Many requests of all kinds, one after the other and side by side; memory and descriptors have to stay what they were.

Of ten rounds the first three warm up. The relay is idle when it is looked at.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.asking import Request, ask
from benchmarks.measuring import MIB, Failed, Registry, load, mib, noise, open_files, relay

_ROUNDS = 10
_WARMING = 3
_IDLE = 3.0  # seconds; then pulls are over, and connections closed
_REPLACED = 65.0  # seconds; then images that were replaced are no longer kept open for pulls
_GROWTH = 5 * MIB  # bytes of memory from the third round to the last
_IMAGES = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    chance = random.Random(1)  # noqa: S311 - the same requests each time
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as data, relay(Path(data)) as server:
        print(f"{options.requests} requests; {load()}\n", flush=True)
        try:
            digests = list(_pushed(server.port))
        except (Failed, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        looks = [_look(server.pid)]
        for number in range(_ROUNDS):
            count = options.requests // _ROUNDS
            asked = ask(server.port, islice(_mixed(digests, chance), count), connections=32)
            for each in range(5):
                registry = Registry(server.port, f"pushed{each}")
                registry.tag("v1", registry.push(noise(MIB)))
            time.sleep(_IDLE)
            looks.append(_look(server.pid))
            memory, descriptors = looks[-1]
            print(f"{(number + 1) * count}: {mib(memory)}, {descriptors} descriptors, {asked.rate:.0f}/s", flush=True)
        time.sleep(_REPLACED)
        looks.append(_look(server.pid))
        print(f"a minute later: {mib(looks[-1][0])}, {looks[-1][1]} descriptors", flush=True)
    grown = looks[-1][0] - looks[_WARMING][0]
    print(f"\nmemory: {mib(looks[0][0])} at first, {mib(grown)} more from round {_WARMING} to the end; {load()}")
    return 0 if grown < _GROWTH and looks[-1][1] <= looks[_WARMING][1] + 2 else 1


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


def _look(pid: int) -> tuple[int, int]:
    """Return the resident memory of a process in bytes, and how many descriptors it has."""
    (pages,) = Path(f"/proc/{pid}/statm").read_text().split()[1:2]
    return int(pages) * os.sysconf("SC_PAGE_SIZE"), open_files(pid)


if __name__ == "__main__":
    sys.exit(main())
