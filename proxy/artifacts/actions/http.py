"""The token of a request to GitHub's services.

A request has this token and no other: aiohttp would take what ~/.netrc has for a host, or refuse to send both.

Its client reads that file wherever it honours the proxies of the environment, which it has to.
"""

import aiohttp


def bearer(token: str) -> aiohttp.ClientMiddlewareType:
    """Let requests go out with this token (RFC 6750, 2.1)."""

    async def authorized(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers["Authorization"] = f"Bearer {token}"
        return await send(request)

    return authorized


def without(request: aiohttp.ClientRequest) -> None:
    """Take whatever token a request has: a signed URL says all, and storage refuses what has more."""
    request.headers.popall("Authorization", None)
