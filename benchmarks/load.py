"""What a crowd costs: the time of one fast reader beside it, and memory; the relay beside Debian's docker-registry.

A layer of 50 MiB is pulled by one client alone, and again in each crowd: 200 pulls, 50 pushes, 300 readers that read
nothing, 100 that read 300 KB/s. All clients are one process, the crowd and the fast one two, so that they share two
cores with the registry. Every crowd meets a registry that was just started.
"""

import argparse
import hashlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import MIB, Failed, Registry, Server, load, mib, noise, peak_rss, relay, table
from benchmarks.registries import docker_registry

_SIZE = 50 * MIB
_RSS = 150 * MIB
_GATHER = 3.0  # seconds until a crowd is at work
_SLOW = 300_000  # bytes per second
_TICK = 0.1  # seconds between two reads of a slow reader
_SPARE = 0.2  # seconds that a fast reader may lose in a crowd, beside twice its time alone


class Result(NamedTuple):
    """The time of a fast reader in a crowd, and the most memory of the registry."""

    crowd: str
    seconds: float
    rss: int


Member = Callable[[int, str, int, threading.Event], None]


def _asked(port: int, digest: str) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port))
    opened.sendall(f"GET /v2/load/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return opened


def _idle(port: int, digest: str, _: int, over: threading.Event) -> None:
    """Ask for the layer, and read nothing of it."""
    with _asked(port, digest):
        over.wait()


def _slow(port: int, digest: str, _: int, over: threading.Event) -> None:
    """Read 300 KB/s."""
    with _asked(port, digest) as opened:
        while not over.wait(_TICK):
            opened.recv(int(_SLOW * _TICK), socket.MSG_WAITALL)


def _pulling(port: int, digest: str, _: int, over: threading.Event) -> None:
    """Pull the layer once, as fast as it comes."""
    if not over.is_set():
        Registry(port, "load").pull(digest)


def _pushing(port: int, _: str, number: int, over: threading.Event) -> None:
    """Push a layer of its own."""
    if not over.is_set():
        Registry(port, f"load{number}").push(noise(_SIZE))


CROWDS: dict[str, tuple[int, Member]] = {
    "alone": (0, _idle),
    "200 pulls": (200, _pulling),
    "50 pushes": (50, _pushing),
    "300 that read nothing": (300, _idle),
    "100 at 300 KB/s": (100, _slow),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the data goes, 6 GiB at most; default: the folder for temporary files")
    parser.add_argument("--crowd", help=argparse.SUPPRESS)  # this process is one: port, digest, name
    options = parser.parse_args()
    if options.crowd:
        return _join(*options.crowd.split(","))
    print(f"One layer of {mib(_SIZE)}; {load()}\n", flush=True)
    results: list[list[Result]] = []
    for start in (relay, docker_registry):
        with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=options.folder) as data:
            try:
                results.append(
                    [_measured(start, Path(data, f"{number}"), crowd) for number, crowd in enumerate(CROWDS)]
                )
            except (Failed, OSError) as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                return 1
    print(_report(*results), f"\nAt the end: {load()}")
    return 0 if all(_is_sound(each, results[0][0]) for each in results[0]) else 1


def _join(port: str, digest: str, name: str) -> int:
    """Be a crowd until the end of standard input."""
    over, (count, member) = threading.Event(), CROWDS[name]

    def take_part(number: int) -> None:
        with suppress(OSError, Failed):
            member(int(port), digest, number, over)

    for number in range(count):
        threading.Thread(target=take_part, args=(number,), daemon=True).start()
    sys.stdin.read()
    over.set()
    return 0


def _measured(start: Callable[[Path], Server], data: Path, crowd: str) -> Result:
    """Pull the layer in a crowd."""
    with start(data) as server:
        registry = Registry(server.port, "load")
        layer = registry.push(noise(_SIZE))
        registry.tag("v1", layer)
        registry.pull(layer[0])
        command = [sys.executable, "-m", "benchmarks.load", "--crowd", f"{server.port},{layer[0]},{crowd}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as others:
            time.sleep(_GATHER)
            began = time.monotonic()
            with _asked(server.port, layer[0]) as opened:
                _read(opened)
            took = time.monotonic() - began
            others.kill()
        result = Result(crowd, took, peak_rss(server.pid))
    print(Path(server.command[0]).name, *result, sep="  ", file=sys.stderr, flush=True)
    return result


def _read(opened: socket.socket) -> str:
    """Read an answer with the whole layer."""
    left, found = _SIZE, hashlib.sha256()
    head = b""
    while b"\r\n\r\n" not in head:
        head += opened.recv(1024)
    body = head.partition(b"\r\n\r\n")[2]
    while True:
        found.update(body)
        left -= len(body)
        if not left:
            return found.hexdigest()
        if not (body := opened.recv(MIB)):
            raise Failed(f"{left} bytes of the layer did not come")


def _is_sound(result: Result, alone: Result) -> bool:
    return result.rss < _RSS and result.seconds <= 2 * alone.seconds + _SPARE


def _report(ours: Sequence[Result], theirs: Sequence[Result]) -> str:
    head = ("a fast reader", "image-relay", "peak RSS", "sound", "docker-registry", "peak RSS")
    rows = [
        (
            our.crowd,
            f"{our.seconds:.2f} s",
            mib(our.rss),
            "yes" if _is_sound(our, ours[0]) else "NO",
            f"{their.seconds:.2f} s",
            mib(their.rss),
        )
        for our, their in zip(ours, theirs, strict=True)
    ]
    return table([head, *rows])


if __name__ == "__main__":
    sys.exit(main())
