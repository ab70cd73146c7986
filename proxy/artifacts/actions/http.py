"""What requests to GitHub's services share: the token, and an answer of bounded size.

A request has this token and no other: aiohttp would take what ~/.netrc has for a host, or refuse to send both.

Its client reads that file wherever it honours the proxies of the environment, which it has to.
"""

import json
from typing import Any

import aiohttp

NO_JSON = "it answered with a page instead of JSON; is a proxy in between?"


def bearer(token: str) -> aiohttp.ClientMiddlewareType:
    """Let requests go out with this token (RFC 6750, 2.1)."""

    async def authorized(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"Bearer {token}"
        return await send(request)

    return authorized


def without(request: aiohttp.ClientRequest) -> None:
    """Take whatever token a request has: a signed URL says all, and storage refuses what has more."""
    request.headers.popall("Authorization", None)


async def read_bounded(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """Return the body of an answer; None if it has more than so many bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, parsed; None for anything else, such as a page of HTML."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
