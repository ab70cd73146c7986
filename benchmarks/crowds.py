"""Crowds of clients. Each is a process of its own, which ends when every member has done its part, or is killed.

`python -m benchmarks.crowds PORT DIGEST CROWD`; DIGEST is that of a layer of 50 MiB in the repository `load`.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from benchmarks.many_layers import Image
from benchmarks.measuring import MIB, Failed, Registry, noise

SIZE = 50 * MIB
_SLOW = 300_000  # bytes per second
_TICK = 0.1  # seconds between two reads of a slow reader
_LAYERS = 127  # the most that Docker takes
_GATHER = 3.0  # seconds until a crowd is at work


def _asked(port: int, digest: str) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port))
    opened.sendall(f"GET /v2/load/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return opened


def _idle(port: int, digest: str, _: int) -> None:
    """Ask for the layer, and read nothing of it."""
    with _asked(port, digest):
        threading.Event().wait()


def _slow(port: int, digest: str, _: int) -> None:
    """Read 300 KB/s until the layer is there."""
    with _asked(port, digest) as opened:
        while opened.recv(int(_SLOW * _TICK), socket.MSG_WAITALL):
            time.sleep(_TICK)


def _pulling(port: int, digest: str, _: int) -> None:
    """Pull the layer once, as fast as it comes."""
    Registry(port, "load").pull(digest)


def _pushing(port: int, _: str, number: int) -> None:
    """Push a layer of its own."""
    Registry(port, f"load{number}").push(noise(SIZE))


def _at_once(port: int, _: str, __: int) -> None:
    """Push the 127 layers of an image at once, and pull them at once, again and again."""
    registry = Registry(port, "load127")
    with ThreadPoolExecutor(_LAYERS) as threads:
        while True:
            layers = list(threads.map(registry.push, [noise(MIB) for _ in range(_LAYERS)]))
            registry.tag("v1", *layers)
            list(threads.map(registry.pull, [digest for digest, _ in layers]))


def _many_layers(port: int, _: str, __: int) -> None:
    """Push and pull manifests of 5,000 layers, which are there."""
    image = Image(port)
    while True:
        image.push_manifest()
        image.pull_manifest()


class Crowd(NamedTuple):
    """So many members, each of which is called with the port, the digest of the layer, and its number."""

    title: str
    size: int
    member: Callable[[int, str, int], None]


CROWDS = {
    "alone": Crowd("alone", 0, _idle),
    "nothing": Crowd("300 that read nothing", 300, _idle),
    "slow": Crowd("100 at 300 KB/s", 100, _slow),
    "pulls": Crowd("200 pulls of 50 MiB", 200, _pulling),
    "pushes": Crowd("50 pushes of 50 MiB", 50, _pushing),
    "layers": Crowd("127 layers at once", 1, _at_once),
    "manifest": Crowd("manifests of 5,000 layers", 1, _many_layers),
}


@contextmanager
def at_work(port: int, digest: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Have a crowd at work for as long as the block lasts; the process has a status once all have done their part."""
    command = [sys.executable, "-m", "benchmarks.crowds", str(port), digest, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as crowd:
        try:
            time.sleep(_GATHER)
            yield crowd
        finally:
            crowd.kill()


def main(port: str, digest: str, name: str) -> None:
    """Be a crowd."""
    crowd = CROWDS[name]

    def take_part(number: int) -> None:
        try:
            crowd.member(int(port), digest, number)
        except (OSError, Failed) as error:
            print(f"{crowd.title}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def end_with_parent() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    members = [threading.Thread(target=take_part, args=(number,), daemon=True) for number in range(crowd.size)]
    for each in members:
        each.start()
    for each in members:
        each.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
