"""Blob storage that costs little: what a client sends is one file of each blob, what it reads leaves by sendfile.

It stands in for Azure's where Azurite would take more of the processors than the relay: in benchmarks, and in tests of
gigabytes. It takes blocks (Put Block, Put Block List), gives ranges, and checks nothing: neither signatures nor
digests. It copies nothing either, so that a relay sends every byte.
"""

import itertools
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

_BUFFER = 1 << 20


class Stretch(NamedTuple):
    """Where a block lies in the file of its blob."""

    start: int
    length: int


@dataclass(slots=True)
class Blob:
    """A file of blocks in the order in which they came, and which of them make the content, in which order."""

    file: int
    end: int = 0
    blocks: dict[str, Stretch] = field(default_factory=dict)
    content: list[Stretch] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The length of the content in bytes."""
        return sum(stretch.length for stretch in self.content)

    def between(self, start: int, stop: int) -> list[Stretch]:
        """Return the stretches of the file that hold the bytes [start, stop) of the content."""
        found, at = [], 0
        for stretch in self.content:
            first, last = max(start, at), min(stop, at + stretch.length)
            if first < last:
                found.append(Stretch(stretch.start + first - at, last - first))
            at += stretch.length
        return found


class Blobs:
    """All blobs, by path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs: dict[str, Blob] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def reserve(self, path: str, block: str, length: int) -> tuple[int, Stretch]:
        """Return the file and the place for a block."""
        with self._lock:
            blob = self.blobs.get(path)
            if blob is None:
                name = self.folder / str(next(self._numbers))
                blob = self.blobs[path] = Blob(os.open(name, os.O_RDWR | os.O_CREAT, 0o600))
                name.unlink()  # the file goes with its last descriptor
            stretch = blob.blocks[block] = Stretch(blob.end, length)
            blob.end += length
            return blob.file, stretch

    def copy(self, path: str, target: Path) -> None:
        """Write the content of a blob to a file."""
        blob = self.blobs[path]
        with target.open("wb") as file:
            for stretch in blob.content:
                _copy(blob.file, stretch, file.fileno())

    def remove(self, path: str) -> None:
        """Forget a blob, or all below a path, which free their bytes."""
        with self._lock:
            for name in [name for name in self.blobs if name == path or name.startswith(f"{path}/")]:
                os.close(self.blobs.pop(name).file)


class Storage(ThreadingHTTPServer):
    """The blobs at one port, over TLS if there is a file with certificate and key."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, held: Blobs, certificate: str = "") -> None:
        super().__init__(("127.0.0.1", port), Requests)
        self.held = held
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is for the thread of the connection.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def origin(self) -> str:
        """Where it serves, without TLS."""
        return f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    server: Storage
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = 256 * 1024

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self._buffer = memoryview(bytearray(_BUFFER))

    def do_PUT(self) -> None:
        """Take a block, make blocks a blob, or make a container."""
        path, query = self._asked()
        match query:
            case {"comp": "block", "blockid": block} if "x-ms-copy-source" not in self.headers:
                self._store(*self.server.held.reserve(path, block, int(self.headers["Content-Length"])))
                self._answer(201)
            case {"comp": "blocklist"}:
                blob = self.server.held.blobs[path]
                listed = ElementTree.fromstring(self.rfile.read(int(self.headers["Content-Length"])))  # noqa: S314 - of our own relay
                blob.content = [blob.blocks[str(each.text)] for each in listed]
                self._answer(201)
            case {"restype": "container"}:
                self._answer(201)
            case _:
                self._answer(403, {"x-ms-error-code": "CannotVerifyCopySource"})

    def do_GET(self) -> None:
        """Return a blob, or a range of it."""
        path, query = self._asked()
        if path == "/v2/":  # by which benchmarks know that a server has started
            return self._answer(200)
        blob = self.server.held.blobs.get(path)
        if blob is None or not blob.content:
            return self._answer(404)
        start, stop = self._range(blob.size)
        headers = {"Content-Type": query.get("rsct", "application/octet-stream"), "ETag": '"0x1"'}
        if "rscd" in query:
            headers["Content-Disposition"] = query["rscd"]
        if (start, stop) != (0, blob.size):
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        self._answer(206 if "Content-Range" in headers else 200, headers, stop - start)
        if self.command == "GET":
            for stretch in blob.between(start, stop):
                self._send(blob.file, stretch)
        return None

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def do_DELETE(self) -> None:
        """Forget a blob, or all below a path."""
        self.server.held.remove(self._asked()[0])
        self._answer(202)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _asked(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        return url.path, {name: values[0] for name, values in parse_qs(url.query).items()}

    def _range(self, size: int) -> tuple[int, int]:
        header = self.headers.get("x-ms-range") or self.headers.get("Range") or "bytes=0-"
        first, _, last = header.removeprefix("bytes=").partition("-")
        return int(first), min(int(last) + 1, size) if last else size

    def _answer(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _store(self, file: int, stretch: Stretch) -> None:
        start, left = stretch
        while left:
            count = self.rfile.readinto1(self._buffer[:left])
            if not count:
                raise ConnectionError("the body ended too early")
            os.pwrite(file, self._buffer[:count], start)
            start, left = start + count, left - count

    def _send(self, file: int, stretch: Stretch) -> None:
        if not isinstance(self.connection, ssl.SSLSocket):
            return _copy(file, stretch, self.connection.fileno())
        start, left = stretch
        while left:
            count = os.preadv(file, [self._buffer[:left]], start)
            self.connection.sendall(self._buffer[:count])
            start, left = start + count, left - count
        return None


def _copy(file: int, stretch: Stretch, target: int) -> None:
    """Let the kernel write a stretch of a file to another file, or to a connection."""
    start, left = stretch
    while left:
        count = os.sendfile(target, file, start, left)
        start, left = start + count, left - count


@contextmanager
def serving(folder: Path) -> Iterator[Storage]:
    """Serve blobs that lie in a folder; at the end they are gone."""
    with Storage(0, Blobs(folder)) as storage:
        thread = threading.Thread(target=storage.serve_forever, daemon=True)
        thread.start()
        try:
            yield storage
        finally:
            storage.shutdown()
            thread.join()
            storage.held.remove("")


def main(folder: str, port: str, tls_port: str = "", certificate: str = "") -> None:
    """Serve until the process ends."""
    held = Blobs(Path(folder))
    if tls_port:
        threading.Thread(target=Storage(int(tls_port), held, certificate).serve_forever, daemon=True).start()
    Storage(int(port), held).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
