"""Tokens for upstreams (distribution: "Token Authentication Specification"): asked for when a registry wants one.

The login of an upstream goes to that registry and to the token server that it names, and nowhere else; never without
TLS, unless the upstream itself is on this machine.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from weakref import WeakValueDictionary

import aiohttp

from proxy.artifacts.retry import RetryableError, is_retryable
from proxy.events import EventBus
from proxy.runtime.transport import authorization, json_object, read_bounded
from proxy.upstreams.failures import UpstreamFailed, UpstreamRefused, limited
from proxy.upstreams.hosts import AddressUnusable, Remote

SERVICE = "upstream"  # in the events
_PARAMETER = re.compile(r'([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))[\s,]*', re.ASCII)
_CHALLENGE = re.compile(rf"(Bearer|Basic)\s+((?:{_PARAMETER.pattern})*)", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=15)
_LARGEST = 256 * 1024  # bytes of an answer
_SHORTEST = 60.0  # seconds that a token is good for, if nothing else is said
_LONGEST = 86_400.0  # seconds that one is used, whatever is said
_MARGIN = 10.0  # seconds before its end in which a token is not used any more
_MOST = 1000  # repositories whose tokens are kept


@dataclass(slots=True)
class Tokens:
    """What requests to upstreams are authorized with, by repository."""

    http: Callable[[], aiohttp.ClientSession]
    events: EventBus = field(default_factory=EventBus)
    _held: OrderedDict[Remote, tuple[str, float]] = field(default_factory=OrderedDict)  # until when (monotonic)
    _asking: WeakValueDictionary[Remote, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def current(self, remote: Remote) -> str:
        """Return what to send with a request for a repository; empty before its registry has asked for anything."""
        value, until = self._held.get(remote, ("", 0.0))
        return value if time.monotonic() < until else ""

    async def renew(self, remote: Remote, refused: str, challenges: Iterable[str]) -> None:
        """Get what a registry asks for in place of what it refused, once for all who wait for it.

        Raise UpstreamFailed if there is nothing that it would take, RetryableError if another try may go better.
        """
        async with self._asking.setdefault(remote, asyncio.Lock()):
            if self.current(remote) not in {"", refused}:
                return
            given, login = parse_challenges(challenges), remote.upstream.login
            if "bearer" in given:
                self._held[remote] = await self._fetch(remote, given["bearer"])
            elif "basic" in given and login:
                basic = aiohttp.encode_basic_auth(login.user, login.password, "utf-8")
                self._held[remote] = basic, float("inf")
            else:
                raise refusal(remote)
            self._held.move_to_end(remote)
        while len(self._held) > _MOST:
            self._held.popitem(last=False)

    async def _fetch(self, remote: Remote, challenge: Mapping[str, str]) -> tuple[str, float]:
        login = remote.upstream.login
        try:
            realm = remote.upstream.address(challenge.get("realm", ""))
        except AddressUnusable as why:
            raise UpstreamFailed(f"{remote.upstream.host} names a token server that cannot be used: {why}") from None
        scope = challenge.get("scope") or f"repository:{remote.path}:pull"
        query = {"service": challenge["service"]} if "service" in challenge else {}
        basic = aiohttp.encode_basic_auth(login.user, login.password, "utf-8") if login else ""
        with self.events.call(SERVICE, "token") as call:
            async with self.http().get(
                realm.update_query(query | {"scope": scope}),
                timeout=_TIMEOUT,
                allow_redirects=False,
                middlewares=(authorization(basic),),
            ) as response:
                call.status = response.status
                body = await read_bounded(response, _LARGEST) or b""
                call.received = len(body)
        if response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise limited(response.headers)
        if response.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise refusal(remote)
        if response.status != HTTPStatus.OK and is_retryable(response.status):
            raise RetryableError(f"its token server answered {response.status}")
        answer = json_object(body) or {}
        token, lasts = answer.get("token") or answer.get("access_token"), answer.get("expires_in")
        if response.status != HTTPStatus.OK or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise UpstreamFailed(f"the token server of {remote.upstream.host} gives no token ({response.status})")
        seconds = max(_SHORTEST, min(lasts, _LONGEST)) if isinstance(lasts, int) else _SHORTEST
        return f"Bearer {token}", time.monotonic() + seconds - _MARGIN


def refusal(remote: Remote) -> UpstreamRefused:
    """Return the error for a repository that its registry does not give away."""
    host = remote.upstream.host
    if remote.upstream.login:
        return UpstreamRefused(
            f"{host} refuses {remote.path} to the login in RELAY_UPSTREAM_AUTH, or has no such image"
        )
    return UpstreamRefused(
        f"{host} refuses {remote.path} without a login: there is no such image, or it is private "
        f"(RELAY_UPSTREAM_AUTH={host}=USER:TOKEN)"
    )


def parse_challenges(challenges: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the parameters of each challenge (RFC 9110, 11.6.1), by its scheme in lower case."""
    found: dict[str, dict[str, str]] = {}
    for header in challenges:
        for challenge in _CHALLENGE.finditer(header):
            found.setdefault(challenge[1].lower(), {}).update(
                (key.lower(), token or re.sub(r"\\(.)", r"\1", quoted))
                for key, quoted, token in _PARAMETER.findall(challenge[2])
            )
    return found
