import asyncio
import errno
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from proxy.api.errors import as_oci_errors
from proxy.api.server import bind_all, listen
from proxy.errors import BlobUnknown, Denied, RegistryError, Unauthorized

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serving(handler: Handle) -> AbstractAsyncContextManager[int]:
    """A real server with one handler at GET and PUT of /v2/x, behind the middleware under test."""
    app = web.Application(middlewares=[as_oci_errors], client_max_size=10)
    app.router.add_get("/v2/x", handler)
    app.router.add_put("/v2/x", handler)
    return listen(app, bind_all(["127.0.0.1"], 0))


def raising(error: Exception) -> Handle:
    async def handler(_: web.Request) -> web.Response:
        raise error

    return handler


async def read_body(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def ask(port: int, method: str = "GET", path: str = "/v2/x", **more: Any) -> tuple[int, Any, str]:
    """Return status, headers and text of an answer."""
    url = URL(f"http://127.0.0.1:{port}{path}", encoded=True)
    async with ClientSession() as session, session.request(method, url, **more) as answer:
        return answer.status, answer.headers, await answer.text()


async def raw(port: int, text: str) -> bytes:
    """Send bytes as they are and give everything that comes back until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    received = bytearray()
    try:
        while part := await asyncio.wait_for(reader.read(65536), 5):
            received += part
    finally:
        writer.transport.abort()
    return bytes(received)


def error_of(text: str) -> tuple[str, str]:
    (only,) = json.loads(text)["errors"]
    assert only.keys() == {"code", "message", "detail"}
    assert only["detail"] is None
    return only["code"], only["message"]


async def test_an_error_of_the_registry_becomes_its_status_code_and_sentence() -> None:
    async with serving(raising(BlobUnknown("no such blob", {"X-Why": "gone"}))) as port:
        status, headers, text = await ask(port)

    assert status == 404
    assert headers["Content-Type"].startswith("application/json")
    assert headers["X-Why"] == "gone"
    assert error_of(text) == ("BLOB_UNKNOWN", "no such blob")


async def test_too_many_open_files_are_no_fault_of_the_relay() -> None:
    async with serving(raising(OSError(errno.EMFILE, "Too many open files"))) as port:
        status, headers, text = await ask(port)

    assert (status, headers["Retry-After"]) == (429, "5")
    assert error_of(text) == (
        "TOOMANYREQUESTS",
        "the relay has too many files open; raise its limit (ulimit -n), or do less at once, and try again",
    )


async def test_the_sentence_is_made_harmless() -> None:
    async with serving(raising(Denied("::error::\n" + "x" * 3000))) as port:
        _, _, text = await ask(port)

    message = error_of(text)[1]
    assert len(message) == 600
    assert message.startswith(": :error::�xxx")


async def test_the_answer_to_head_has_no_body() -> None:
    async with serving(raising(BlobUnknown("no such blob"))) as port:
        answer = await raw(port, "HEAD /v2/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404")
    assert body == b""


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "message"),
    [
        ("GET", "/v2/nothing", 404, "NAME_UNKNOWN", "there is nothing at /v2/nothing"),
        ("GET", "/%0a%23%23[x]", 404, "NAME_UNKNOWN", "there is nothing at /�# #[x]"),
        ("POST", "/v2/x", 405, "UNSUPPORTED", "POST is not possible at /v2/x, only GET, HEAD, PUT"),
    ],
)
async def test_what_aiohttp_refuses_has_the_same_form(
    method: str, path: str, status: int, code: str, message: str
) -> None:
    async with serving(read_body) as port:
        answered, headers, text = await ask(port, method, path)

    assert answered == status
    assert error_of(text) == (code, message)
    assert headers.get("Allow") == ("GET,HEAD,PUT" if status == 405 else None)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (web.HTTPBadRequest(text="odd"), "UNSUPPORTED", "odd"),
        (web.HTTPBadRequest(), "UNSUPPORTED", "400: Bad Request"),
        (web.HTTPRequestRangeNotSatisfiable(text="beyond"), "RANGE_INVALID", "beyond"),
    ],
)
async def test_other_refusals_keep_their_text(error: web.HTTPException, code: str, message: str) -> None:
    async with serving(raising(error)) as port:
        status, _, text = await ask(port)

    assert status == error.status
    assert error_of(text) == (code, message)


async def test_a_body_over_the_limit_is_refused_in_the_same_form() -> None:
    async with serving(read_body) as port:
        status, _, text = await ask(port, "PUT", data=b"x" * 11)

    assert status == 413
    assert error_of(text)[0] == "SIZE_INVALID"


async def test_a_redirect_is_no_error() -> None:
    async with serving(raising(web.HTTPTemporaryRedirect("/v2/x"))) as port:
        status, headers, _ = await ask(port, allow_redirects=False)

    assert (status, headers["Location"]) == (307, "/v2/x")


async def test_what_nobody_foresaw_is_logged_once_and_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(raising(KeyError("secret detail"))) as port:
        status, _, text = await ask(port)

    assert status == 500
    assert error_of(text) == ("UNKNOWN", "this is a fault of image-relay; its log says more")
    (line,) = caplog.records
    assert line.getMessage() == "GET /v2/x failed"
    assert line.exc_info


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (BlobUnknown("no"), logging.DEBUG),
        (Unauthorized("no"), logging.DEBUG),
        (Denied("no"), logging.INFO),
        (RegistryError("no"), logging.ERROR),
    ],
)
async def test_a_refusal_is_one_line_as_loud_as_it_matters(
    error: RegistryError, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "proxy")

    async with serving(raising(error)) as port:
        await ask(port)

    lines = [record for record in caplog.records if record.name == "proxy.api.errors"]
    assert [(line.levelno, line.getMessage()) for line in lines] == [
        (level, f"GET /v2/x: {error.status} {error.code}: no")
    ]


def half_an_answer(error: Exception, *, length: int | None) -> Handle:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = length
        await response.prepare(request)
        await response.write(b"first half ")
        raise error

    return handler


@pytest.mark.parametrize("error", [RegistryError("bad piece"), ValueError("a bug"), web.HTTPNotFound()])
@pytest.mark.parametrize("length", [None, 22])
async def test_a_failure_after_the_first_byte_cuts_the_connection(error: Exception, length: int | None) -> None:
    async with serving(half_an_answer(error, length=length)) as port:
        answer = await raw(port, "GET /v2/x HTTP/1.1\r\nHost: localhost\r\n\r\n")

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert body in {b"first half ", b"b\r\nfirst half \r\n"}  # neither the rest, nor a last chunk, nor an error in it


async def test_a_cut_body_without_length_is_a_reset_for_old_clients() -> None:
    async with serving(half_an_answer(RegistryError("bad piece"), length=None)) as port:
        with pytest.raises(ConnectionResetError):
            await raw(port, "GET /v2/x HTTP/1.0\r\n\r\n")


async def test_the_head_alone_is_enough_to_cut() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await web.StreamResponse().prepare(request)
        raise Denied("no")

    async with serving(handler) as port:
        answer = await raw(port, "GET /v2/x HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")
    assert b"DENIED" not in answer


async def test_the_connection_serves_on_after_an_error() -> None:
    async with serving(raising(Denied("no"))) as port:
        request = "GET /v2/x HTTP/1.1\r\nHost: localhost\r\n"
        answer = await raw(port, f"{request}\r\n{request}Connection: close\r\n\r\n")

    assert answer.count(b"HTTP/1.1 403") == 2


async def test_a_malformed_body_is_a_bad_request(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(raising(web.RequestPayloadError("bad chunk"))) as port:  # of aiohttp's parser in Python alone
        status, _, text = await ask(port)

    assert status == 400
    assert error_of(text) == ("SIZE_INVALID", "the body of the request is malformed")
    assert not [record for record in caplog.records if record.exc_info]


async def receive(request: web.Request) -> web.StreamResponse:
    return web.Response(body=await request.read())


async def send(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 65536)


async def send_and_fail(request: web.Request) -> web.StreamResponse:
    try:
        return await send(request)
    except ConnectionError:
        raise Denied("too late") from None


@pytest.mark.parametrize(
    ("handler", "level"), [(receive, logging.DEBUG), (send, logging.DEBUG), (send_and_fail, logging.INFO)]
)
async def test_a_client_that_leaves_is_no_error(handler: Handle, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "proxy")
    asked = asyncio.Event()

    async def and_tell(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await handler(request)

    async with serving(and_tell) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT /v2/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
        await asked.wait()
        writer.transport.abort()

    lines = [record for record in caplog.records if record.name.startswith("proxy")]
    assert [(line.levelno, line.exc_info) for line in lines] == [(level, None)]
