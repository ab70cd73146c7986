"""How faults are played: around a handler, and inside a body.

The middleware counts every request and plays what disturbs it as a whole. What disturbs a body is left for the handler,
which sends it through `send_body`. No body is ever held in memory.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from tests.fakes.actions.faults import (
    Answer,
    BodyReset,
    BodyStall,
    BodyTrickle,
    Corrupt,
    Delay,
    Fault,
    HeadTrickle,
    Plan,
    Reset,
    Truncated,
    UploadCorrupt,
    UploadReset,
)
from tests.fakes.actions.traffic import Seen, Traffic
from tests.fakes.actions.violations import Violations

SEEN = web.RequestKey("seen", Seen)


class Cut(Exception):
    """The line shall break here; `gently` closes it, so that what was written still arrives."""

    def __init__(self, gently: bool = False) -> None:
        super().__init__()
        self.gently = gently


def player(plan: Plan, traffic: Traffic, violations: Violations, kind_of: Callable[[web.Request], str]) -> Middleware:
    """Make the middleware of an application whose requests `kind_of` names."""

    @web.middleware
    async def play(request: web.Request, handler: Handler) -> web.StreamResponse:
        kind = kind_of(request)
        with traffic.serving(kind, request.headers.get(hdrs.RANGE)) as seen:
            request[SEEN] = seen
            seen.fault = plan.next(kind)
            try:
                response = await _disturbed(request, handler, seen.fault)
            except Cut as cut:
                _break(request, cut.gently)
                return web.Response()  # never arrives
            except ConnectionError:  # the client left
                return web.Response()
            except web.HTTPException as refusal:
                seen.answers(refusal.status)
                raise
            except Exception as error:
                violations.record(f"the emulator itself failed: {error!r}")  # a client may retry, and hide it
                raise
            seen.answers(response.status)
            return response

    return play


async def _disturbed(request: web.Request, handler: Handler, fault: Fault | None) -> web.StreamResponse:
    match fault:
        case Answer(effect=effect):
            if effect:
                await handler(request)
            return web.Response(
                status=fault.status, text=fault.body, content_type=fault.content_type, headers=fault.headers
            )
        case Reset(effect=effect):
            if effect:
                await handler(request)
            raise Cut
        case Delay(seconds, effect=True):
            response = await handler(request)
            await asyncio.sleep(seconds)
            return response
        case Delay(seconds):
            await asyncio.sleep(seconds)
            return await handler(request)
        case HeadTrickle(pause):
            await _trickle(request, pause)
            raise Cut
        case _:  # it concerns the body, which the handler sends
            return await handler(request)


async def _trickle(request: web.Request, pause: float) -> None:
    line, head = request.transport, b"HTTP/1.1 200 OK\r\nX-Padding: "
    while line and not line.is_closing():
        line.write(head)
        head = b"x"
        await asyncio.sleep(pause)


def _break(request: web.Request, gently: bool) -> None:
    transport = request.transport
    if transport is None:  # the client left first
        return
    if gently:
        transport.close()
        return
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends RST, not FIN
    transport.abort()


async def received(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the body of an upload as it comes, counted, up to the byte where the plan breaks or changes it."""
    seen = request[SEEN]
    async for chunk in request.content.iter_any():
        if isinstance(seen.fault, UploadCorrupt) and 0 <= (at := seen.fault.at - seen.received) < len(chunk):
            chunk = chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]  # noqa: PLW2901
        seen.took(len(chunk))
        if isinstance(seen.fault, UploadReset) and seen.received >= seen.fault.at:
            raise Cut
        yield chunk


async def send_body(
    request: web.Request, response: web.StreamResponse, body: AsyncGenerator[bytes]
) -> web.StreamResponse:
    """Send a head and a body, disturbed as planned."""
    seen = request[SEEN]
    fault = seen.fault
    seen.answers(response.status)
    if isinstance(fault, Truncated) and fault.agreed and not response.chunked:
        response.content_length = min(fault.at, response.content_length or 0)
    await response.prepare(request)
    try:
        async with aclosing(body), aclosing(_spoilt(body, fault)) as chunks:
            async for chunk in chunks:
                seen.gives(len(chunk))
                await response.write(chunk)
        await response.write_eof()
    except ConnectionError:  # the client has what it wanted
        raise Cut from None
    return response


async def _drops(content: bytes, pause: float) -> AsyncIterator[bytes]:
    for each in content:
        yield bytes([each])
        await asyncio.sleep(pause)


async def _spoilt(body: AsyncGenerator[bytes], fault: Fault | None) -> AsyncGenerator[bytes]:  # noqa: PLR0912 - a table
    start = 0
    async for chunk in body:
        at = getattr(fault, "at", -1) - start
        if not 0 <= at < len(chunk):
            yield chunk
        elif isinstance(fault, BodyTrickle):
            yield chunk[:at]
            async for each in _drops(chunk[at:], fault.pause):
                yield each
        elif isinstance(fault, Corrupt):
            yield chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
        else:
            yield chunk[:at]
            if isinstance(fault, BodyStall):
                await asyncio.sleep(fault.seconds)
            elif isinstance(fault, Truncated) and fault.agreed:
                return
            else:
                await asyncio.sleep(0.01)  # what was written leaves before the line breaks
                raise Cut(gently=not isinstance(fault, BodyReset))
            yield chunk[at:]
        start += len(chunk)
