"""Very many repositories, and one of very many tags: how long listings take, and others beside them.

One image is pushed; its archive is then there under all other names too: as copies of the file, or as artifacts of the
emulator with the same bytes. The relay that lists them has just started, on an empty disk with the Actions store.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import repeat, takewhile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks import storage
from benchmarks.asking import Asked, Request, ask
from benchmarks.measuring import (
    MIB,
    ROOT,
    Failed,
    Registry,
    Server,
    load,
    mib,
    noise,
    peak_rss,
    relay,
    table,
    without_settings,
)
from benchmarks.watching import Watch
from proxy.artifacts.naming import SUFFIX, Naming
from proxy.oci.names import Name, Tag
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread

_IMAGES = "/relay/images"
_LIST = "image-relay list"
_LISTINGS = ("/v2/_catalog", "/v2/many/tags/list", _IMAGES, "/relay/summary", _LIST)
_OTHER: Request = ("GET", "/v2/many/manifests/v0")
_LONGEST = 2.0  # seconds of a listing
_SLOWEST = 0.1  # seconds of all but 1 % of the other requests
_MOST = 256  # descriptors that are no connections
_RSS = 150 * MIB
_WARM = 200  # requests before the others
_BETWEEN = 0.5  # seconds between two listings
_JOIN = 20.0  # seconds in which the emulator has to end


class Row(NamedTuple):
    """How long a listing took, twice, and what others saw meanwhile."""

    listing: str
    seconds: list[float]
    others: Asked

    @property
    def missed(self) -> str:
        """Which bounds it misses."""
        slow = [which for which, each in zip(("first", "again"), self.seconds, strict=True) if each >= _LONGEST]
        return ", ".join([*slow, *(["p99"] if self.others.slowest(0.01) >= _SLOWEST else [])])

    def cells(self) -> tuple[str, ...]:
        """Write it as a row of the table."""
        seconds = (f"{each:.2f} s" for each in self.seconds)
        slowest = f"{1e3 * self.others.slowest(0.01):.0f} ms", f"{max(self.others.each):.2f} s"
        return self.listing, *seconds, *slowest, self.missed or "-"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=2_000, help="of one repository more")
    parser.add_argument("--stores", nargs="+", choices=_STORES, default=list(_STORES))
    parser.add_argument("--folder", help="where the data goes; default: the folder for temporary files")
    options = parser.parse_args()
    names = list(_names(options.repositories, options.tags))
    print(f"{options.repositories} repositories, and one of {options.tags} tags; {load()}", flush=True)
    is_sound = True
    for store in options.stores:
        with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=options.folder) as data:
            try:
                with _STORES[store](Path(data), names) as server:
                    is_sound = _is_sound(server, store) and is_sound
            except (Failed, OSError, EOFError, subprocess.SubprocessError) as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                return 1
    print(f"\nAt the end: {load()}")
    return 0 if is_sound else 1


def _names(repositories: int, tags: int) -> Iterator[str]:
    """Yield the names of all artifacts but the one that is pushed, `many:v0`."""
    naming = Naming("image-")
    for number in range(repositories):
        yield naming.encode(Name.parse(f"team{number % 100}/app{number}"), Tag.parse("v1"))
    for number in range(1, tags):
        yield naming.encode(Name.parse("many"), Tag.parse(f"v{number}"))


# Stores that are full


@contextmanager
def _directory(data: Path, names: list[str]) -> Iterator[Server]:
    """Have a relay whose folder is full."""
    with relay(data) as server:
        _push(server)
    (stored,) = data.glob(f"*{SUFFIX}")
    for name in names:
        shutil.copyfile(stored, data / (name + SUFFIX))
    with relay(data) as server:
        yield server


@contextmanager
def _actions(data: Path, names: list[str]) -> Iterator[Server]:
    """Have a relay whose run has all artifacts; the emulator is a process of its own."""
    (data / "blobs").mkdir()
    spawned = get_context("spawn")
    ours, theirs = spawned.Pipe()
    with storage.prepare(data / "blobs") as blobs:
        arguments = theirs, data / "emulator", f"http://127.0.0.1:{blobs.port}", names
        emulator = spawned.Process(target=_emulate, args=arguments, daemon=True)
        emulator.start()
        theirs.close()  # so that it is seen here if the process ends
        options = "--store", "actions", "--artifact-format", "raw"  # a zip has the name of its artifact inside
        with relay(data / "build", *options, environment=ours.recv()) as server:
            _push(server)
        ours.send("full")
        with relay(data / "test", *options, environment=ours.recv()) as server:
            yield server
        ours.send("over")
        emulator.join(_JOIN)


def _emulate(pipe: Connection, folder: Path, origin: str, names: list[str]) -> None:
    """Serve a run: to a job that pushes one image, and then with all artifacts to another job."""
    with in_thread(Options(direct=True), folder, origin) as actions:
        pipe.send(actions.environment(actions.job("build")))
        pipe.recv()
        records = actions.ledger.records
        (stored,) = records
        records += [replace(stored, id=stored.id + number, name=name) for number, name in enumerate(names, 1)]
        by_name = {each.name: each for each in records}
        # The emulator's own search goes through all records, which takes longer than what is measured.
        actions.ledger.wanted = lambda run, asked: by_name[asked.name]  # type: ignore[method-assign]
        pipe.send(actions.environment(actions.job("test")))
        pipe.recv()


def _push(server: Server) -> None:
    registry = Registry(server.port, "many")
    registry.tag("v0", registry.push(noise(1000)))


_STORES: dict[str, Callable[[Path, list[str]], AbstractContextManager[Server]]] = {
    "directory": _directory,
    "actions": _actions,
}


# Listings


def _is_sound(server: Server, store: str) -> bool:
    """List all in every way, and print what that took."""
    with Watch(server.pid) as watch:
        ask(server.port, repeat(_OTHER, _WARM), connections=4)
        rows = [_beside(server.port, listing) for listing in _LISTINGS]
    head = (f"{store} store", "first", "again", "p99 of others", "slowest", "missed")
    print("", table([head, *(row.cells() for row in rows)]), sep="\n")
    rss = peak_rss(server.pid)
    print(f"\n{watch.most.files} descriptors and {watch.most.sockets} connections, {mib(rss)} at most", flush=True)
    return not any(row.missed for row in rows) and watch.most.files < _MOST and rss < _RSS


def _beside(port: int, listing: str) -> Row:
    """List twice, while other clients ask for a manifest."""
    over, found, seconds = threading.Event(), list[Asked](), list[float]()

    def others() -> None:
        found.append(ask(port, takewhile(lambda _: not over.is_set(), repeat(_OTHER)), connections=4))

    thread = threading.Thread(target=others)
    thread.start()
    try:
        for _ in range(2):
            began = time.monotonic()
            (_list if listing == _LIST else _get)(port, listing)
            seconds.append(time.monotonic() - began)
            time.sleep(_BETWEEN)
    finally:
        over.set()
        thread.join()
    if not found:
        raise Failed(f"a request beside {listing} failed")
    return Row(listing, seconds, found[0])


def _get(port: int, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != HTTPStatus.OK:
        raise Failed(f"GET {path}: {answer.status}")


def _list(port: int, _: str) -> None:
    command = [sys.executable, "-m", "proxy", "list", "--port", str(port)]
    subprocess.run(command, check=True, cwd=ROOT, env=without_settings(), stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
