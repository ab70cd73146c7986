"""What requests are authorized with, answers of bounded size, and failures in words.

Those have no classes of Python in them, and no URLs, which may have a password.
"""

import json
import os
import ssl
from typing import Any

import aiohttp

FAILURES = (aiohttp.ClientError, OSError, ValueError)  # of a request; the last where a proxy has a bad address
_WORDS: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits
    (ssl.SSLCertVerificationError, "its certificate is not trusted"),
    (ssl.SSLError, "no TLS connection"),
    (aiohttp.ConnectionTimeoutError, "no connection within the time limit"),
    (aiohttp.SocketTimeoutError, "no byte came within the time limit"),
    (TimeoutError, "no answer within the time limit"),
    (aiohttp.ClientConnectorCertificateError, "its certificate is not trusted"),
    (aiohttp.ClientSSLError, "no TLS connection"),
    (aiohttp.ServerDisconnectedError, "the connection was closed before an answer"),
    (aiohttp.ClientPayloadError, "the connection broke in the middle of the answer"),
    (aiohttp.ClientResponseError, "the answer is not HTTP"),
    (ValueError, "an address is not valid; is a proxy set to something else than http://HOST:PORT?"),
)


def authorization(value: str) -> aiohttp.ClientMiddlewareType:
    """Let a request go out with this Authorization, or with none: a client middleware.

    aiohttp would take what ~/.netrc has for the host, or refuse to send both: it reads that file wherever it honours
    the proxies of the environment, which it has to.
    """

    async def authorized(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.popall("Authorization", None)
        if value:
            request.headers["Authorization"] = value
        return await send(request)

    return authorized


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


def in_words(error: BaseException) -> str:
    """Return what went wrong with a request; of a proxy the host, never its password."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy {error.request_info.real_url.host} answered {error.status}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy {error.host} cannot be reached ({_reason(error)})"
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # perhaps that of a proxy
        return f"the host name {error.host} cannot be resolved"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return _reason(error) if isinstance(error, OSError) else "the connection failed"


def is_unreachable(error: BaseException) -> bool:
    """Return whether a request failed since its host, or a proxy, refuses connections or has no address."""
    return isinstance(error, aiohttp.ClientConnectorError)


def _reason(error: OSError) -> str:
    """Return what the system says, such as `connection refused`; not what a library has made of it."""
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "the connection failed"
    return reason[:1].lower() + reason[1:]
