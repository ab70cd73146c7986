"""GET requests whose answers are read by threads that block: half the processor time of an event loop, for bytes.

urllib3 has the connections. Proxies and certificates are those that aiohttp's client takes: of the environment.
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import urllib3
import urllib3.exceptions as failures
from urllib3.connection import HTTPConnection, HTTPSConnection
from yarl import URL

from proxy.artifacts.retry import RetryableError
from proxy.runtime.limits import Timeouts
from proxy.runtime.tasks import run_in_own_thread
from proxy.runtime.transport import in_words

T = TypeVar("T")
Response = urllib3.BaseHTTPResponse

_IDLE = 64  # connections to one host that are kept

# Its lines have the whole URL, which is a secret.
logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)


class ByteClient:
    """Connections to storage, kept for the next request."""

    def __init__(self) -> None:
        self._pools: dict[URL, urllib3.PoolManager] = {}  # by origin
        self._choosing = threading.Lock()

    async def get(self, url: URL, headers: Mapping[str, str], read: Callable[[Response], T], patience: Timeouts) -> T:
        """Ask once and return what `read` makes of the answer, in the thread; no redirect is followed.

        When this is cancelled, the connection is cut, and with it what `read` waits for. Raise RetryableError, without
        the URL, if the connection breaks.
        """
        line = _Line()

        def ask() -> T:
            with line:
                answer = self._pool(url).urlopen(
                    "GET",
                    str(url),
                    headers=headers,
                    timeout=urllib3.Timeout(connect=patience.connect, read=patience.stall),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
                try:
                    found = read(answer)
                except BaseException:
                    answer.close()  # what is left of the body is of no use
                    raise
                answer.release_conn()
                return found

        try:
            return await run_in_own_thread(ask)
        except failures.HTTPError as error:
            raise RetryableError(_in_words(error), unreachable=isinstance(error, failures.NewConnectionError)) from None
        finally:
            line.cut()

    def close(self) -> None:
        """Close the connections that nobody uses."""
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: URL) -> urllib3.PoolManager:
        origin = url.origin()
        with self._choosing:
            if origin not in self._pools:
                self._pools[origin] = self._new_pool(origin)
            return self._pools[origin]

    def _new_pool(self, origin: URL) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": _IDLE, "ssl_context": self._trust if origin.scheme == "https" else None}
        proxy = None if proxy_bypass(origin.raw_host or "") else getproxies().get(origin.scheme)
        if proxy is None:
            pool = urllib3.PoolManager(**options)
        else:
            user, password = URL(proxy).user, URL(proxy).password or ""
            headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None
            pool = urllib3.ProxyManager(proxy, proxy_headers=headers, proxy_ssl_context=self._trust, **options)
        pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
        return pool

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()


class _Line:
    """The connection that one thread reads from, for as long as it does, and another may cut."""

    def __init__(self) -> None:
        self._connection: _Watched | None = None
        self._is_cut = False

    def hold(self, connection: "_Watched") -> None:
        """Say what is read from now on. Raise ConnectionAbortedError where nobody waits for it any more."""
        with _changing:
            connection.reader, self._connection = self, connection
            if self._is_cut:
                raise ConnectionAbortedError

    def cut(self) -> None:
        """End what waits for bytes, at once."""
        with _changing:
            self._is_cut = True
            connection = self._connection
            if connection and connection.reader is self and connection.sock:
                with suppress(OSError):  # of the socket itself: what wraps it for TLS would go on without its keys
                    socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def __enter__(self) -> None:
        """Let the connections of this thread be held by this line."""
        _here.line = self

    def __exit__(self, *_: object) -> None:
        with _changing:
            self._connection = None


class _Watched(HTTPConnection):
    """A connection that tells its line that an answer is waited for."""

    reader: _Line | None = None

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        _here.line.hold(self)
        return super().getresponse()


class _WatchedTls(_Watched, HTTPSConnection):
    """The same over TLS."""


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Watched


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


def _in_words(error: Exception) -> str:
    """Return what went wrong; of TLS what Python says of it."""
    if isinstance(error, failures.SSLError) and isinstance(error.args[0], ssl.SSLError):
        return in_words(error.args[0])
    return next((words for kind, words in _WORDS if isinstance(error, kind)), in_words(error))


_WORDS: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (failures.NameResolutionError, "a host name cannot be resolved"),
    (failures.NewConnectionError, "the connection failed"),
    (failures.ConnectTimeoutError, "no connection within the time limit"),
    (failures.ReadTimeoutError, "no byte came within the time limit"),
    (failures.ProxyError, "the proxy gives no connection"),
    (failures.SSLError, "no TLS connection"),
    (failures.IncompleteRead, "the connection broke in the middle of the answer"),
    (failures.ProtocolError, "the connection broke in the middle of the answer"),
)
_here = threading.local()  # what this thread reads
_changing = threading.Lock()  # who reads what
