"""Failures of HTTP transport in words: no classes of Python, and no URLs, which may contain a signature or password."""

import os
import ssl

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
