"""A folder with many repositories and a repository with many tags: how long listings take, and others beside them.

Then the manifest of an image of very many layers, beside Debian's docker-registry.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from itertools import islice, repeat, takewhile
from pathlib import Path

from benchmarks.asking import Asked, Request, ask
from benchmarks.measuring import CONFIG, MANIFEST, Failed, Registry, Server, load, manifest, open_files, relay, table
from benchmarks.registries import docker_registry

_LISTINGS = ("/v2/_catalog", "/v2/many/tags/list", "/v2/none/manifests/v1", "/relay/images", "/relay/summary")
_OTHER: Request = ("GET", "/v2/many/manifests/v1")
_LONGEST = 2.0  # seconds of a listing
_SLOWEST = 0.1  # seconds of all but 1 % of the other requests
_MOST = 256  # descriptors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--tags", type=int, default=2_000)
    parser.add_argument("--layers", type=int, default=5_000)
    parser.add_argument("--folder", help="where the data goes; default: the folder for temporary files")
    options = parser.parse_args()
    print(load(), flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=options.folder) as data:
        is_sound = _listings(Path(data, "many"), options.repositories, options.tags)
        rows = [("a manifest of many layers", "seconds", "descriptors")]
        for start in (relay, docker_registry):
            took, descriptors = _layers(start, Path(data, start.__name__), options.layers)
            rows.append((start.__name__, f"{took:.2f}", str(descriptors)))
    print(table(rows), f"\nAt the end: {load()}")
    return 0 if is_sound else 1


def _listings(data: Path, repositories: int, tags: int) -> bool:
    with relay(data) as server:
        registry = Registry(server.port, "many")
        config, layer = registry.push(iter([CONFIG])), registry.push(iter([b"layer"]))
        connection = HTTPConnection("127.0.0.1", server.port)
        began = time.monotonic()
        for number in range(repositories):
            name = f"team{number % 100}/app{number}"
            for blob in (config, layer):
                _ask(connection, "POST", f"/v2/{name}/blobs/uploads/?mount={blob[0]}&from=many", 201)
            _ask(connection, "PUT", f"/v2/{name}/manifests/v1", 201, manifest(config, layer))
        for number in range(tags):
            _ask(connection, "PUT", f"/v2/many/manifests/v{number}", 201, manifest(config, layer))
        print(f"{repositories + tags} pushes took {time.monotonic() - began:.0f} s", flush=True)
        _look(server)
    with relay(data) as server:
        rows, is_sound = [["", "first", "again", "p99 of others", "slowest"]], True
        for path in _LISTINGS:
            ask(server.port, islice(repeat(_OTHER), 100), connections=4)
            seconds, others = _beside(server.port, path)
            slowest = others.slowest(0.01)
            rows.append(
                [path, *(f"{each:.2f} s" for each in seconds), f"{1e3 * slowest:.0f} ms", f"{max(others.each):.2f} s"]
            )
            is_sound = is_sound and max(seconds) < _LONGEST and slowest < _SLOWEST
        print(table(rows), flush=True)
        return is_sound and _look(server) < _MOST


def _beside(port: int, path: str) -> tuple[list[float], Asked]:
    """Return how long a listing took, twice, and what other clients saw meanwhile."""
    over, found = threading.Event(), list[Asked]()

    def others() -> None:
        asked = takewhile(lambda _: not over.is_set(), repeat(_OTHER))
        found.append(ask(port, asked, connections=4))

    thread, seconds = threading.Thread(target=others), list[float]()
    thread.start()
    for _ in range(2):
        connection, began = HTTPConnection("127.0.0.1", port), time.monotonic()
        connection.request("GET", path)
        connection.getresponse().read()
        seconds.append(time.monotonic() - began)
        time.sleep(0.5)
    over.set()
    thread.join()
    return seconds, found[0]


def _layers(start: Callable[[Path], Server], data: Path, count: int) -> tuple[float, int]:
    """Return how long the manifest of an image of so many layers took, and the most descriptors meanwhile."""
    with start(data) as server:
        connection, blobs = HTTPConnection("127.0.0.1", server.port), list[dict[str, object]]()
        for number in range(count):
            content = str(number).encode() * 20
            location = _ask(connection, "POST", "/v2/layers/blobs/uploads/", 202)
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            joined = f"{location}{'&' if '?' in location else '?'}digest={digest}"
            _ask(connection, "PUT", joined, 201, content, "application/octet-stream")
            blobs.append(
                {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(content)}
            )

        config = Registry(server.port, "layers").push(iter([CONFIG]))
        fields = json.loads(manifest(config, config)) | {"layers": blobs}
        over, most = threading.Event(), [0]

        def watch() -> None:
            while not over.wait(0.005):
                most[0] = max(most[0], open_files(server.pid))

        thread = threading.Thread(target=watch)
        thread.start()
        began = time.monotonic()
        _ask(connection, "PUT", "/v2/layers/manifests/v1", 201, json.dumps(fields).encode())
        took = time.monotonic() - began
        over.set()
        thread.join()
        return took, most[0]


def _look(server: Server) -> int:
    descriptors = open_files(server.pid)
    print(f"{descriptors} descriptors", flush=True)
    return descriptors


def _ask(
    connection: HTTPConnection, method: str, path: str, expected: int, body: bytes = b"", kind: str = MANIFEST
) -> str:
    """Send a request, and return the Location of the answer."""
    path = "/" + path.split("/", 3)[3] if path.startswith("http") else path
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    if answer.status != expected:
        raise Failed(f"{method} {path}: {answer.status} instead of {expected}")
    return answer.headers.get("Location", "")


if __name__ == "__main__":
    sys.exit(main())
