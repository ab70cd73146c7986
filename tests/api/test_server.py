import asyncio
import errno
import gzip
import json
import logging
import socket
import ssl

import pytest
from aiohttp import ClientSession, web

from proxy.api.server import Bind, CannotListen, PortTaken, bind, bind_all, listen
from tests.machine import no_file_left_to_open, require_ipv6
from tests.ports import free_port

BOTH = ("127.0.0.1", "::1")


def echo() -> web.Application:
    async def body(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers={"Seen": request.headers.get("Content-Encoding", "")})

    app = web.Application()
    app.router.add_route("*", "/", body)
    return app


async def exchange(port: int, request: bytes) -> bytes:
    """Send bytes and give what comes back until the other side ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_every_host_answers_at_the_same_free_port() -> None:
    require_ipv6()
    async with listen(echo(), bind_all(BOTH, 0)) as port, ClientSession() as session:
        for host in ("127.0.0.1", "[::1]"):
            async with session.get(f"http://{host}:{port}/") as answer:
                assert answer.status == 200


async def test_the_port_that_was_asked_for_is_the_one_that_answers() -> None:
    wanted = free_port()

    async with listen(echo(), bind_all(["127.0.0.1"], wanted)) as port:
        assert port == wanted
        assert b"200 OK" in await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def test_nothing_answers_after_the_end() -> None:
    async with listen(echo(), bind_all(["127.0.0.1"], 0)) as port:
        pass

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_compressed_body_stays_as_it_came() -> None:
    body = gzip.compress(b"x" * 1000)

    async with listen(echo(), bind_all(["127.0.0.1"], 0)) as port, ClientSession() as session:
        url = f"http://127.0.0.1:{port}/"
        async with session.post(url, data=body, headers={"Content-Encoding": "gzip"}) as answer:
            assert await answer.read() == body
            assert answer.headers["Seen"] == "gzip"


async def test_a_taken_port_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(PortTaken) as refused:
            async with listen(echo(), bind_all(["127.0.0.1"], port)):
                raise AssertionError("it listens")

    assert str(refused.value) == f"port {port} is taken; use RELAY_PORT={port + 1}"


def machine(code: int, *without: str) -> Bind:
    """A machine on which binding some addresses fails with an error number."""

    def bind_or_fail(host: str, port: int) -> socket.socket:
        if host in without:
            raise OSError(code, "the system says so")
        return bind(host, port)

    return bind_or_fail


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("0.0.0.0", "::")])  # noqa: S104
def test_a_machine_without_ipv6_is_served_by_ipv4_alone(
    hosts: tuple[str, str], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    (only,) = bind_all(hosts, 0, machine(code, "::1", "::"))

    with only:
        assert only.family == socket.AF_INET
    assert "is ignored" in caplog.text


@pytest.mark.parametrize(
    ("code", "host", "port", "sentence"),
    [
        (errno.EADDRINUSE, "127.0.0.1", 5000, "port 5000 is taken (macOS: AirPlay Receiver); use RELAY_PORT=5001"),
        (errno.EADDRINUSE, "::1", 5001, "port 5001 is taken; use RELAY_PORT=5002"),
        (errno.EADDRINUSE, "::1", 65535, "port 65535 is taken; use RELAY_PORT=1"),
        (errno.EACCES, "127.0.0.1", 80, "port 80 needs special rights; use RELAY_PORT=5000"),
        (errno.EADDRNOTAVAIL, "10.9.8.7", 5000, "this machine has no address 10.9.8.7; see RELAY_HOST"),
        (errno.EADDRNOTAVAIL, "::1", 5000, "this machine has no address ::1; see RELAY_HOST"),
        (errno.EMFILE, "::1", 5000, "cannot listen at ::1 port 5000: the system says so"),
    ],
)
def test_an_address_that_is_not_to_be_had_says_why_and_what_to_do(
    code: int, host: str, port: int, sentence: str
) -> None:
    with pytest.raises(CannotListen) as refused:
        bind_all([host], port, machine(code, host))

    assert str(refused.value) == sentence


def test_a_failure_leaves_no_socket_behind() -> None:
    port = free_port()

    with pytest.raises(CannotListen):
        bind_all(["127.0.0.1", "10.9.8.7"], port, machine(errno.EADDRNOTAVAIL, "10.9.8.7"))

    bind("127.0.0.1", port).close()


def test_a_free_port_must_be_free_at_every_host() -> None:
    with pytest.raises(PortTaken) as refused:
        bind_all(["127.0.0.1", "127.0.0.1"], 0)

    assert str(refused.value) == "no port is free at all of 127.0.0.1, 127.0.0.1; see RELAY_HOST"


@pytest.mark.parametrize(
    ("name", "request_bytes"),
    [
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("no HTTP at all", b"\x00\x01\x02\r\n\r\n"),
        ("a bad header", b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n"),
        ("a bad second request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x00\r\n\r\n"),
        ("a bad chunk", b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        ("two lengths", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        ("a very long line", b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a very long header", b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10_000 + b"\r\n\r\n"),
        ("a negative length", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
        ("an unknown method", b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ],
)
async def test_what_is_not_http_is_refused_with_one_quiet_line(
    name: str, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "proxy")

    async with listen(echo(), bind_all(["127.0.0.1"], 0)) as port:
        answer = await exchange(port, request_bytes)

    assert b"400 Bad Request" in answer, name
    (told,) = json.loads(answer.rpartition(b"\r\n\r\n")[2])["errors"]
    what = (
        "its address, or a header, is longer than 8190 bytes" if "long" in name else "it is not HTTP/1.1, or a header"
    )
    assert (told["code"], told["message"].startswith(f"the request cannot be read: {what}")) == ("UNSUPPORTED", True)
    assert [record.levelno for record in caplog.records if record.name == "proxy.api.server"] == [logging.DEBUG]
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_tls_hello_is_answered_at_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "proxy")
    said, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(heard, said, server_hostname="localhost").do_handshake()

    async with listen(echo(), bind_all(["127.0.0.1"], 0)) as port, asyncio.timeout(9):  # clients give up after 10 s
        await exchange(port, said.read())

    assert not [record for record in caplog.records if record.exc_info]


async def test_a_fault_below_the_handlers_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: web.Request) -> web.Response:
        raise ValueError("a bug")

    app = web.Application()
    app.router.add_get("/", fail)

    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        answer = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert b"500 Internal Server Error" in answer
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_below_the_handlers_plain_lines_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    async with listen(echo(), bind_all(["127.0.0.1"], 0)):
        logging.getLogger("proxy.api.server.protocol").warning("a plain line")

    assert "a plain line" in caplog.text


async def test_an_answer_under_way_is_finished_at_the_end_and_then_the_application_cleans_up() -> None:
    asked, events = asyncio.Event(), list[str]()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(0.2)
        events.append("answered")
        return web.Response(text="whole")

    async def clean_up(_: web.Application) -> None:
        events.append("cleaned up")

    app = web.Application()
    app.router.add_get("/", slow)
    app.on_cleanup.append(clean_up)

    async with asyncio.TaskGroup() as group:
        async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
            answer = group.create_task(exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
            await asked.wait()
        assert events == ["answered", "cleaned up"]

    assert answer.result().endswith(b"whole")


async def test_an_idle_connection_does_not_delay_the_end() -> None:
    async with (
        asyncio.timeout(4),
        listen(echo(), bind_all(["127.0.0.1"], 0)) as port,
    ):  # answers under way would get 5 s
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")

    assert await reader.read() == b""
    writer.close()


async def test_a_handler_goes_on_when_its_client_has_left() -> None:
    started, finished = asyncio.Event(), asyncio.Event()

    async def push(_: web.Request) -> web.Response:
        started.set()
        await asyncio.sleep(0.05)
        finished.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", push)

    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await started.wait()
        writer.transport.abort()
        await asyncio.wait_for(finished.wait(), 5)


async def test_an_application_that_can_not_start_gives_the_port_back() -> None:
    async def fail(_: web.Application) -> None:
        raise ValueError("no disk")

    app, port = web.Application(), free_port()
    app.on_startup.append(fail)

    with pytest.raises(ValueError, match="no disk"):
        async with listen(app, bind_all(["127.0.0.1"], port)):
            raise AssertionError("it serves")

    bind("127.0.0.1", port).close()


async def test_without_a_descriptor_left_connections_wait_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listen(echo(), bind_all(["127.0.0.1"], 0)) as port:
        with socket.socket() as client:
            client.setblocking(False)
            with no_file_left_to_open():
                await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
                while "new connections wait" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                    await asyncio.sleep(0.01)
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 100), 10)

    assert answer.startswith(b"HTTP/1.0 200")
    assert caplog.text.count("new connections wait: too many open files; raise the limit (ulimit -n)") == 1
    assert "Traceback" not in caplog.text
