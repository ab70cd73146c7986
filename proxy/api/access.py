"""Who may ask what: the Host header, the password, and access that is limited to reading."""

import base64
import binascii
import hmac
import ipaddress
import logging
import re
from collections.abc import Callable, Collection
from functools import lru_cache

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.api.keys import STRANGER
from proxy.errors import Denied, Misdirected, Unauthorized
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_HOST = re.compile(r"\[(?P<v6>[^\]]*)\](:\d*)?|(?P<name>[^:]*)(:\d*)?")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/relay/health", "/relay/proof"})
_FLUSH = "/relay/flush"
_SESSION = "/relay/session"


def hosts(public_hosts: Callable[[], Collection[str]]) -> Middleware:
    """Refuse a Host with a dot that is not ours: a web page may point its own name at this machine (DNS rebinding).

    Addresses, names without a dot, those below localhost (which no server of names can give away: RFC 6761, 6.3),
    host.docker.internal and the `public_hosts` (`host` or `host:port`) pass.
    """

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = request.headers.get("Host", "")
        host = _host_of(asked)
        ours = {"host.docker.internal", *map(_host_of, public_hosts())} if "." in host else ()
        if "." in host and host not in ours and not host.endswith(".localhost") and not _is_address(host):
            shown = safe_text(asked)
            raise Misdirected(
                f"this relay does not answer for {shown}; if it should, start it with RELAY_PUBLIC_HOST={shown}"
            )
        return await handler(request)

    return check_host


@lru_cache(maxsize=256)
def _host_of(header: str) -> str:
    """Return the host without port and brackets, in lower case; what is malformed is given as it is."""
    match = _HOST.fullmatch(header.strip())
    host = (match["v6"] or match["name"] or "") if match else header
    return host.lower().removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def password(secret: str, public_host: Callable[[], str]) -> Middleware:
    """Ask for this password, with any user name (RFC 7617), for everything but health check and proof.

    `public_host` gives the host under which a client logs in, once it is known.
    """
    expected = secret.encode(errors="surrogateescape")  # bytes of the environment that are no text

    @web.middleware
    async def check_password(request: web.Request, handler: Handler) -> web.StreamResponse:
        header = request.headers.get("Authorization", "")
        given = _password_in(header)
        is_known = hmac.compare_digest(given, expected)
        if is_known or request.path in _OPEN:
            request[STRANGER] = not is_known
            return await handler(request)
        if given:  # else the client asks first whether it has to log in
            _log.warning("%s %s: wrong password", request.method, safe_text(request.path))
        what = "that is not the password of this relay" if given else "this relay has a password"
        raise Unauthorized(
            f"{what}: docker login {public_host()}, with any user name",
            {"WWW-Authenticate": 'Basic realm="image-relay"'},
        )

    return check_password


def _password_in(header: str) -> bytes:
    scheme, _, credentials = header.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        return b""


def open_for(closed: Callable[[], str], undeletable: Callable[[], str]) -> Middleware:
    """Refuse what changes something while there is a reason to; flushing only makes durable what was accepted before.

    `closed` gives the reason, or nothing; for deletions `undeletable` does. A session may be handed over at any time:
    that has rules of its own.
    """

    @web.middleware
    async def check_method(request: web.Request, handler: Handler) -> web.StreamResponse:
        changes = request.method not in _SAFE_METHODS and request.path not in {_FLUSH, _SESSION}
        if changes and (reason := undeletable() if request.method == "DELETE" else closed()):
            raise Denied(reason)
        return await handler(request)

    return check_method


@web.middleware
async def no_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a web page wants to change: no client of a registry sends an Origin (Fetch standard, 3.2).

    Most of it fails in the browser already, since nothing here answers to a preflight; a plain POST would not.
    """
    if request.method not in _SAFE_METHODS and "Origin" in request.headers:
        raise Denied("requests from web pages (with an Origin header) are refused")
    return await handler(request)
