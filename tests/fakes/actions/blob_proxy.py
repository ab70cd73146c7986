"""What stands between a client and Azurite: counts, plays faults, and refuses what Azure punishes or what we forbid.

Bodies pass through in both directions as they come.
"""

from collections.abc import AsyncGenerator
from urllib.parse import parse_qs

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from tests.fakes.actions import kinds
from tests.fakes.actions.faults import RangeIgnored, WrongContentRange
from tests.fakes.actions.options import Options
from tests.fakes.actions.playing import SEEN, Cut, received, send_body
from tests.fakes.actions.sas import Issued
from tests.fakes.actions.violations import Violations, range_violation

_HOP_BY_HOP = {"connection", "host", "keep-alive", "server", "date", "te", "trailer", "transfer-encoding", "upgrade"}
_SOURCE = "x-ms-copy-source"
_LONGEST_SOURCE = 2048  # characters
_MOST_COPIED = 100 * 1024 * 1024  # bytes of one Put Block From URL
_RANGES = (hdrs.RANGE, "x-ms-range")
_NOT_AUTHENTICATED = (
    "Server failed to authenticate the request. "
    "Make sure the value of Authorization header is formed correctly including the signature."
)


def kind_of(request: web.Request) -> str:
    """Name a request to blob storage."""
    ranged = any(name in request.headers for name in _RANGES)
    return kinds.of_blob_request(request.method, _query(request, "comp"), ranged, _SOURCE in request.headers)


class BlobProxy:
    """The handler of everything that goes to blob storage."""

    def __init__(
        self, options: Options, session: aiohttp.ClientSession, azurite: str, issued: Issued, violations: Violations
    ) -> None:
        self._options = options
        self._session = session
        self._azurite = azurite
        self._issued = issued
        self._violations = violations

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, unless something speaks against it."""
        if refusal := self._refusal(request) or self._refused_source(request):
            return refusal
        body = received(request) if request.method == "PUT" else None
        try:
            async with self._session.request(
                request.method,
                URL(self._azurite + request.raw_path, encoded=True),
                headers=self._passed_on(request),
                data=body,
                allow_redirects=False,
                skip_auto_headers=(hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT),
            ) as upstream:
                return await self._pass_back(request, upstream)
        except (aiohttp.ClientError, ConnectionError):  # one of the two left
            raise Cut from None

    def _refusal(self, request: web.Request) -> web.Response | None:
        if hdrs.AUTHORIZATION in request.headers:
            self._violations.record("a token was sent to blob storage")
            return azure_error(403, "AuthenticationFailed", _NOT_AUTHENTICATED)
        if self._issued.expired(_query(request, "sig") or ""):
            detail = f"Signature not valid in the specified time frame: Expiry [{_query(request, 'se')}]"
            return azure_error(403, "AuthenticationFailed", _NOT_AUTHENTICATED, detail)
        if request.method == "PUT" and request.content_length is None:
            return azure_error(411, "MissingContentLengthHeader", "Content-Length HTTP header was not specified")
        for name in _RANGES:
            if complaint := range_violation(request.headers.get(name)):
                self._violations.record(complaint)
                return azure_error(400, "InvalidHeaderValue", complaint)
        return None

    def _refused_source(self, request: web.Request) -> web.Response | None:
        """Check the source of a copy as Azure does, before anything is read."""
        source = request.headers.get(_SOURCE)
        if source is None:
            return None
        start, _, end = request.headers.get("x-ms-source-range", "").removeprefix("bytes=").partition("-")
        is_range = start.isdigit() and end.isdigit() and 0 < int(end) + 1 - int(start) <= _MOST_COPIED
        if not is_range or len(source) > _LONGEST_SOURCE or request.content_length != 0:
            self._violations.record("Put Block From URL needs a range of at most 100 MiB, a URL of 2 KiB, and no body")
            return azure_error(400, "InvalidHeaderValue", _SOURCE)
        if not self._options.copies or self._issued.expired(parse_qs(source.partition("?")[2]).get("sig", [""])[0]):
            return azure_error(403, "CannotVerifyCopySource", "This request is not authorized.")
        return None

    def _passed_on(self, request: web.Request) -> dict[str, str]:
        """Return the headers for Azurite, which copies from itself alone."""
        dropped = _HOP_BY_HOP | {"expect"}
        if isinstance(request[SEEN].fault, RangeIgnored):
            dropped |= {name.lower() for name in _RANGES}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
        for name in [name for name in headers if name.lower() == _SOURCE]:
            headers[name] = self._azurite + str(URL(headers[name], encoded=True).raw_path_qs)
        return headers

    async def _pass_back(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = {name: value for name, value in upstream.headers.items() if name.lower() not in _HOP_BY_HOP}
        if request.method not in {"GET", "HEAD"}:
            body = await upstream.read()
            headers.pop(hdrs.CONTENT_LENGTH, None)
            return web.Response(status=upstream.status, headers=headers, body=body)
        if kind_of(request) == kinds.GET_WHOLE and self._too_big(upstream):
            complaint = f"{upstream.content_length} bytes were asked for without Range"
            self._violations.record(complaint)
            return azure_error(400, "InvalidHeaderValue", complaint)
        if upstream.status == 206 and upstream.content_length == 0:  # Azurite's answer just past the end
            return azure_error(416, "InvalidRange", "The range specified is invalid for the current size.")
        fault = request[SEEN].fault
        if isinstance(fault, WrongContentRange) and upstream.status == 206:
            headers.pop(hdrs.CONTENT_RANGE)
            headers |= {hdrs.CONTENT_RANGE: fault.value} if fault.value else {}
        response = web.StreamResponse(status=upstream.status, headers=headers)
        return await send_body(request, response, _chunks(upstream))

    def _too_big(self, upstream: aiohttp.ClientResponse) -> bool:
        limit = self._options.whole_read_limit
        return limit is not None and upstream.status == 200 and (upstream.content_length or 0) > limit


def azure_error(status: int, code: str, message: str, detail: str = "") -> web.Response:
    """Write an error as Azure does."""
    detail = detail and f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>"
    body = (
        f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message>{detail}</Error>'
    )
    return web.Response(status=status, text=body, content_type="application/xml", headers={"x-ms-error-code": code})


def _query(request: web.Request, name: str) -> str | None:
    return parse_qs(request.raw_path.partition("?")[2]).get(name, [None])[0]


async def _chunks(upstream: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
    async for chunk in upstream.content.iter_any():
        yield chunk
