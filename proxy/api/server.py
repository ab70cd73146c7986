"""Sockets: every address that was asked for, or a sentence that says which one is not to be had, and what to do.

Clients try TLS first, dockerd at every command: what is not HTTP is answered at once, without a traceback in the log.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from threading import Timer
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from proxy.api.errors import error_answer
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_GRACE = 0.3  # seconds for the last bytes of answers, and once more for handlers that do not end
_LAST = 7.8  # seconds from the signal on, after which the process is over; `docker stop` kills after 10
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_BACKLOG = 1024  # connections not yet accepted; Docker 20.10 opens a new one for each request
_SEND_BUFFER = 256 * 1024  # bytes; what is sent stays in the CPU's cache: pulls are a third faster than by default
_RECEIVED = 32 * 1024  # bytes of a body after which its connection is not read: a crowd of uploads waits with that many
_ATTEMPTS = 20  # to find a port that is free at every address
_OPTIONAL = frozenset({"::1", "::"})  # machines without IPv6 are common, and 127.0.0.1 does for them
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_QUIET = 60.0  # seconds

Bind = Callable[[str, int], socket.socket]


class CannotListen(Exception):
    """An address is not to be had; the message says why, and what to do."""


class PortTaken(CannotListen):
    """Another program listens on this port."""


async def _nothing() -> None:
    pass


class Connection(RequestHandler):
    """The connection of a client: what is no request is refused in the form of the specification, too."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what aiohttp cannot read; raise ConnectionError if one has begun."""
        answer = super().handle_error(request, status, exc, message)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return answer
        what = "it is not HTTP/1.1, or a header of it is wrong"
        if isinstance(exc, LineTooLong):
            what = "its address, or a header, is longer than 8190 bytes"
        answer = error_answer(status, "UNSUPPORTED", f"the request cannot be read: {what}")
        answer.force_close()
        return answer


class ConnectionServer(web.Server):
    """Makes a `Connection` for each client."""

    def __call__(self) -> Connection:
        """Return what speaks with one client."""
        return Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class Runner(web.AppRunner):
    """Runs the application behind `Connection`s."""

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return ConnectionServer(made.request_handler, request_factory=made.request_factory, **self._kwargs)


@asynccontextmanager
async def listen(
    app: web.Application, sockets: Sequence[socket.socket], end: Callable[[], Awaitable[None]] = _nothing
) -> AsyncIterator[int]:
    """Serve at these sockets until the block ends; yield the port of the first.

    At the end no connection is taken any more; then `end` runs, connections are closed, and the clean-up of the
    application runs. All sockets are closed then.
    """
    protocol_log = logging.getLogger(f"{__name__}.protocol")  # of what is wrong below the handlers
    protocol_log.addFilter(_without_foreign_protocols)
    asyncio.get_running_loop().set_exception_handler(_Exhaustion())
    runner = Runner(
        app,
        access_log=None,
        auto_decompress=False,  # bytes are kept as they came, and nothing can blow up
        handler_cancellation=False,  # a push goes on when its client has left
        shutdown_timeout=_GRACE,
        read_bufsize=_RECEIVED,
        logger=protocol_log,
    )
    try:
        await runner.setup()
        for each in sockets:
            await web.SockSite(runner, each, backlog=_BACKLOG).start()
        yield int(sockets[0].getsockname()[1])
        for site in runner.sites:
            await site.stop()
        await end()
    finally:
        await runner.cleanup()
        for each in sockets:  # also if the application could not start
            each.close()


def signalled() -> asyncio.Event:
    """Return what SIGTERM or SIGINT sets; from then on the process has eight seconds, and ends at once at the next one.

    Both hold whatever a thread waits for, such as a name service that does not answer; the exit status is 1 or that of
    the signal.
    """
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    def first() -> None:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, _leave)  # by default nothing happens to the first process of a container
        last = Timer(_LAST, os._exit, [1])
        last.daemon = True
        last.start()
        asked.set()

    for each in _SIGNALS:
        loop.add_signal_handler(each, first)
    return asked


def _leave(number: int, _: object) -> None:
    os._exit(128 + number)


def bind(host: str, port: int) -> socket.socket:
    """Open a socket that waits at one address, of IPv6 without what IPv4 there is in it. OSError if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections inherit it
    return opened


def bind_all(hosts: Sequence[str], port: int, bind: Bind = bind) -> list[socket.socket]:
    """Return a socket at each host, all with the same port, of `0` one that is free. Raise CannotListen."""
    for _ in range(_ATTEMPTS):
        try:
            return _bind_once(hosts, port, bind)
        except PortTaken:
            if port:
                raise
    raise PortTaken(f"no port is free at all of {', '.join(hosts)}; see RELAY_HOST")


def _bind_once(hosts: Sequence[str], port: int, bind: Bind) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    with ExitStack() as opened:
        for host in hosts:
            try:
                sockets.append(opened.enter_context(bind(host, port)))
            except OSError as error:
                if host not in _OPTIONAL or error.errno not in _NOT_HERE:
                    raise _refusal(host, port, error) from error
                _log.info("this machine has no IPv6 address %s; it is ignored", host)
            else:
                port = sockets[0].getsockname()[1]
        if not sockets:
            raise CannotListen(f"this machine has no address {', '.join(hosts)}; see RELAY_HOST")
        opened.pop_all()
    return sockets


def _refusal(host: str, port: int, error: OSError) -> CannotListen:
    match error.errno:
        case errno.EADDRINUSE:
            who = " (macOS: AirPlay Receiver)" if port == 5000 else ""  # noqa: PLR2004 - known for this one
            return PortTaken(f"port {port} is taken{who}; use RELAY_PORT={port % 65535 + 1}")
        case errno.EACCES:
            return CannotListen(f"port {port} needs special rights; use RELAY_PORT=5000")
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return CannotListen(f"this machine has no address {host}; see RELAY_HOST")
        case _:
            return CannotListen(f"cannot listen at {host} port {port}: {error.strerror}")


class _Exhaustion:
    """Says once a minute that there is no descriptor for a new connection: asyncio logs a traceback for each one.

    They wait in the backlog, and asyncio tries again after a second, even if nobody listens any more by then.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, ValueError) and "_start_serving" in message:
            return
        if not (isinstance(error, OSError) and error.errno in _EXHAUSTED and "accept" in message):
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            self._quiet_until = loop.time() + _QUIET
            _log.error("new connections wait: %s; raise the limit (ulimit -n)", (error.strerror or "").lower())


def _without_foreign_protocols(record: logging.LogRecord) -> bool:
    """Keep a client that speaks TLS, HTTP/2 or nonsense to one line of the debug log."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        _log.debug("a request is not HTTP/1.1, which is harmless: clients try TLS first (%s)", safe_text(error.message))
        return False
    return True
