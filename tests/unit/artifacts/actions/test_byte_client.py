"""Bytes of storage by threads: proxies, certificates, deadlines and cancellation, over connections to this machine."""

import asyncio
import logging
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession
from yarl import URL

from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.byte_client import Response
from proxy.artifacts.retry import RetryableError
from proxy.events import Call
from proxy.runtime.limits import Timeouts
from proxy.runtime.memory import MemoryBudget
from tests.machine import require

_BODY = b"0123456789"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + _BODY
_LONG = 60.0
_HASTY = Timeouts(connect=0.5, stall=0.5, transfer=_LONG)
_PATIENT = Timeouts(connect=_LONG, stall=_LONG, transfer=_LONG)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Return the port of a server of one handler."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    handling: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        running = [task for task in handling if task and task.cancel()]
        await asyncio.gather(*running, return_exceptions=True)


class Host:
    """A server that answers every request, and notes each one and each connection."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(_ANSWER)


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[str]) -> None:
    """Be a proxy that connects to another host."""
    asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
    host, port = asked[-1].split()[1].rsplit(":", 1)
    there, to = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while part := await source.read(65536):
            sink.write(part)
        sink.close()

    try:
        await asyncio.gather(pass_on(reader, to), pass_on(there, writer))
    finally:
        to.close()
        await to.wait_closed()


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate that vouches for itself, with its key."""
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=storage"
    where = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(  # noqa: S603 - our own words
        [require("openssl"), *what.split(), *where],
        check=True,
        capture_output=True,
    )
    return made


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


@asynccontextmanager
async def storage(timeouts: Timeouts = _PATIENT) -> AsyncIterator[BlobStorage]:
    async with ClientSession() as http:
        opened = BlobStorage(http, MemoryBudget(0), timeouts=timeouts)
        yield opened
        if opened.ranges:
            opened.ranges.close()


async def fetched(opened: BlobStorage, url: str) -> bytes:
    return await opened.get(URL(url, encoded=True), {}, whole, opened.timeouts.transfer)


def whole(answer: Response, _: Call) -> bytes:
    return answer.read()


async def test_a_connection_is_used_again() -> None:
    host = Host()
    async with listening(host.serve) as port, storage() as opened:
        for _ in range(3):
            assert await fetched(opened, f"http://127.0.0.1:{port}/x?sig=a%2Fb%3D") == _BODY

    assert host.connections == 1
    assert host.heads[0].startswith("GET /x?sig=a%2Fb%3D HTTP/1.1\r\n")


async def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)

    async with listening(once) as port, storage() as opened:
        for _ in range(3):
            assert await fetched(opened, f"http://127.0.0.1:{port}/x") == _BODY
            await asyncio.sleep(0.1)  # until the end of the connection has come


async def test_the_proxy_of_the_environment_is_used_with_its_password_unless_it_is_excepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, host = Host(), Host()
    async with listening(proxy.serve) as port, listening(host.serve) as direct:
        monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{port}")
        async with storage() as opened:
            assert await fetched(opened, "http://storage.test/x?sig=1") == _BODY
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with storage() as opened:
            assert await fetched(opened, f"http://127.0.0.1:{direct}/x") == _BODY

    (head,) = proxy.heads
    assert head.startswith("GET http://storage.test/x?sig=1 HTTP/1.1\r\n")
    assert "proxy-authorization: basic bwu6cebzcw==" in head.lower()
    assert len(host.heads) == 1


async def test_https_goes_through_a_proxy_that_sees_only_the_host(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    host, asked = Host(), list[str]()
    async with (
        listening(host.serve, tls_of(certificate)) as port,
        listening(lambda reader, writer: tunnel(reader, writer, asked)) as proxy,
    ):
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with storage() as opened:
            assert await fetched(opened, f"https://127.0.0.1:{port}/x?sig=secret") == _BODY

    assert len(asked) == 1
    assert asked[0].startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.")
    assert "secret" not in asked[0]


async def test_a_certificate_of_ones_own_is_trusted_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    async with listening(Host().serve, tls_of(certificate)) as port:
        async with storage() as opened:
            with pytest.raises(RetryableError, match=r"^its certificate is not trusted$"):
                await fetched(opened, f"https://127.0.0.1:{port}/x")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with storage() as opened:
            assert await fetched(opened, f"https://127.0.0.1:{port}/x") == _BODY


@pytest.mark.parametrize("said", [b"", _ANSWER[:-1]])
async def test_a_server_that_falls_silent_is_given_up(said: bytes) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()  # until the client has gone

    async with listening(silent) as port, storage(_HASTY) as opened:
        with pytest.raises(RetryableError, match="no byte came within the time limit"):
            await fetched(opened, f"http://127.0.0.1:{port}/x?sig=secret")


async def test_a_server_that_takes_no_connection_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):  # more than it keeps for later
            line = waiting.enter_context(socket.socket())
            line.setblocking(False)
            line.connect_ex(full.getsockname())
        async with storage(_HASTY) as opened:
            with pytest.raises(RetryableError, match="no connection within the time limit"):
                await fetched(opened, f"http://127.0.0.1:{full.getsockname()[1]}/x?sig=secret")


async def test_an_answer_that_goes_on_for_ever_is_given_up() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_ANSWER[:-9])
        while not writer.is_closing():
            await asyncio.sleep(0.05)
            writer.write(b"x")

    async with listening(drip) as port, storage(Timeouts(connect=_LONG, stall=_LONG, transfer=0.3)) as opened:
        with pytest.raises(RetryableError, match="no answer within the time limit"):
            await fetched(opened, f"http://127.0.0.1:{port}/x")


@pytest.mark.parametrize("said", [b"", _ANSWER[:-1]])
@pytest.mark.parametrize("secure", [False, True])
async def test_who_waits_no_longer_cuts_the_connection(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, said: bytes, secure: bool
) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        asked.set()
        with suppress(OSError):
            await reader.read()
        gone.set()

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with listening(silent, tls_of(certificate) if secure else None) as port, storage() as opened:
        waiting = asyncio.create_task(fetched(opened, f"http{'s' * secure}://127.0.0.1:{port}/x"))
        await asked.wait()
        await asyncio.sleep(0.1)  # until it waits for more
        waiting.cancel()

        async with asyncio.timeout(_LONG / 2):
            await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    host = Host()

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n".encode())

    async with listening(host.serve) as port, listening(elsewhere) as other, storage() as opened:
        url = URL(f"http://127.0.0.1:{other}/x")
        assert await opened.get(url, {}, lambda answer, _: answer.status, None) == 302

    assert host.connections == 0


async def test_no_line_of_the_log_has_a_signature(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 10\r\n\r\n" + _BODY)

    caplog.set_level(logging.DEBUG)
    async with listening(Host().serve) as port, listening(wrong) as other, storage(_HASTY) as opened:
        for each in (port, other, 1):
            with suppress(RetryableError):
                await fetched(opened, f"http://127.0.0.1:{each}/x?sig=secret")

    assert "secret" not in caplog.text
