"""What stands between a relay and a registry: passes requests on, and does to answers what a test says."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE = 64 * 1024
_DROPPED = frozenset({"connection", "transfer-encoding"})


class Between(ThreadingHTTPServer):
    """Answers for the registry at a port; `fault`, if there is one, gives each answer to a GET in its place."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, registry: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.registry = registry
        self.host = f"127.0.0.1:{self.server_port}"
        self.fault: Fault | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._passed()

    def do_GET(self) -> None:
        self._passed()

    def _passed(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.server.registry, timeout=60)
        try:
            connection.request(self.command, self.path, headers=dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()  # of a test, which is small
            is_content = self.command == "GET" and answer.status in {200, 206}
            if is_content and self.server.fault:
                self.server.fault(self, answer, content)
            else:
                self.answered(answer, content)
        finally:
            connection.close()

    def answered(self, answer: HTTPResponse, content: bytes, pause: float = 0.0) -> None:
        """Answer as the registry does, with this content, piece by piece."""
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _DROPPED:
                self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(content), _PIECE):
            time.sleep(pause)
            self.wfile.write(content[start : start + _PIECE])

    def refused(self, status: int, retry_after: int | None = None) -> None:
        """Answer with a status alone."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the relay has what it wants, or gave up
            super().handle()

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - as the class has it
        """Say nothing."""


Fault = Callable[[_Handler, HTTPResponse, bytes], None]


@contextmanager
def between(registry: int) -> Iterator[Between]:
    """Stand before the registry at a port until the end of the block."""
    with Between(registry) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def is_blob(handler: _Handler) -> bool:
    """Tell a blob from a manifest, by the path."""
    return "/blobs/" in handler.path


def once(fault: Fault) -> Fault:
    """Do it to the first answer for each path."""
    seen = set[str]()

    def first(handler: _Handler, answer: HTTPResponse, content: bytes) -> None:
        if handler.path in seen:
            handler.answered(answer, content)
            return
        seen.add(handler.path)
        fault(handler, answer, content)

    return first


def of_blobs(fault: Fault) -> Fault:
    """Do it to blobs alone."""

    def blobs(handler: _Handler, answer: HTTPResponse, content: bytes) -> None:
        (fault if is_blob(handler) else _Handler.answered)(handler, answer, content)

    return blobs


def limited(seconds: int) -> Fault:
    """Tell that there were too many requests, and for how long none is accepted."""
    return lambda handler, *_: handler.refused(429, seconds)


def unavailable(handler: _Handler, *_: object) -> None:
    """Tell that the service is unavailable."""
    handler.refused(503)


def slow(handler: _Handler, answer: HTTPResponse, content: bytes) -> None:
    """Begin after three seconds, and send 640 KiB in each."""
    time.sleep(3)
    handler.answered(answer, content, pause=0.1)


def cut(handler: _Handler, answer: HTTPResponse, content: bytes) -> None:
    """End the connection in the middle."""
    handler.answered(answer, content[: len(content) // 2])
    handler.close_connection = True


def flipped(handler: _Handler, answer: HTTPResponse, content: bytes) -> None:
    """Change a bit of the last byte."""
    handler.answered(answer, content[:-1] + bytes([content[-1] ^ 1]))
