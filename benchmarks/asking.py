"""A client that keeps some connections busy with small requests, one after the other on each, and takes the times."""

import selectors
import socket
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.measuring import Failed

_PART = 256 * 1024  # bytes per read of an answer


Request = tuple[str, str] | tuple[str, str, str]  # method, path, and lines of headers


class Asked(NamedTuple):
    """How long each request took, in the order in which they ended, and all of them together; in seconds."""

    each: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.each) / self.seconds

    def slowest(self, share: float) -> float:
        """Return the time within which all but this share of the requests ended."""
        return sorted(self.each)[-max(1, round(share * len(self.each)))]


class _Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._is_head = False
        self._began = 0.0

    def ask(self, method: str, path: str, headers: str = "") -> None:
        self._is_head, self._began = method == "HEAD", time.perf_counter()
        self._received.clear()
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())

    def took(self) -> float | None:
        """Read what there is, and return how long the request took if its answer is whole. Raise Failed."""
        if not (part := self.socket.recv(_PART)):
            raise Failed("a connection was closed")
        self._received += part
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        status = int(head[9:12])
        if not 200 <= status < 300:  # noqa: PLR2004 - of HTTP
            raise Failed(f"a request was answered with {bytes(head[:200])!r}")
        fields = head.lower().partition(b"\r\ncontent-length: ")[2]
        length = 0 if self._is_head or not fields else int(fields.partition(b"\r\n")[0])
        return time.perf_counter() - self._began if len(body) >= length else None


def ask(port: int, requests: Iterator[Request], connections: int) -> Asked:
    """Send requests until there are no more. Raise Failed if one is answered with an error."""
    times, began = list[float](), time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for _, request in zip(range(connections), requests, strict=False):
            line = _Line(port)
            selector.register(line.socket, selectors.EVENT_READ, line)
            line.ask(*request)
        while selector.get_map():
            for key, _ in selector.select():
                line = key.data
                if (took := line.took()) is None:
                    continue
                times.append(took)
                if following := next(requests, None):
                    line.ask(*following)
                else:
                    selector.unregister(line.socket)
                    line.socket.close()
    return Asked(times, time.perf_counter() - began)
