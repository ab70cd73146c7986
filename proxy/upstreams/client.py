"""Requests to upstreams: with a token where one is wanted, retried, redirects followed, rate limits kept.

Only the registries that were named are asked. One may redirect to another host, which gets no token and no login, over
https or, where the upstream itself is on this machine, over http. Whoever reads an answer has to check its digest.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from http import HTTPStatus

import aiohttp
from yarl import URL

from proxy.artifacts.retry import RetryableError, is_retryable, retry
from proxy.errors import BlobUnknown, ManifestUnknown, TooManyRequests
from proxy.events import Call, EventBus, Retried
from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_LIST, DOCKER_MANIFEST, LIMIT, OCI_INDEX, OCI_MANIFEST
from proxy.oci.names import Tag
from proxy.runtime.limits import UPSTREAMS, Policy
from proxy.runtime.patience import Patience
from proxy.runtime.transport import FAILURES, authorization, in_words, read_bounded
from proxy.text import counted, format_duration
from proxy.upstreams.failures import Limited, LoopDetected, UpstreamFailed, WrongBytes, limited
from proxy.upstreams.hosts import AddressUnusable, Remote
from proxy.upstreams.tokens import SERVICE, Tokens, refusal

_log = logging.getLogger(__name__)
_TYPES = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
_HEADERS = {"User-Agent": "image-relay", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 5
_PATIENCE = 20.0  # seconds; a rate limit that ends later is told, not waited for
_PROGRESS = 1024 * 1024  # bytes after which a layer may break off as often as before
_LENGTH = re.compile(r"[0-9]{1,18}")


class UpstreamClient:
    """Asks upstreams for manifests and blobs. Close it at the end."""

    def __init__(
        self, events: EventBus, policy: Policy = UPSTREAMS, stall: float = 25.0, patience: float = 55.0
    ) -> None:
        """`stall`: seconds without a byte; `patience`: seconds of all tries together, since bytes last moved."""
        self._session: aiohttp.ClientSession | None = None
        self._tokens = Tokens(self._http, events)
        self._events = events
        self._policy = policy
        self._patience = patience
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=stall)
        self._random = random.Random()  # noqa: S311 - jitter
        self._limited: dict[str, float] = {}  # until when each host takes no requests (monotonic seconds)

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _http(self) -> aiohttp.ClientSession:
        """Return the session, which begins with the first request: most relays have no upstream."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                trust_env=True,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def manifest(self, remote: Remote, reference: Tag | Digest) -> tuple[bytes, str]:
        """Return a manifest and its media type, which has the digest that was asked for.

        Raise ManifestUnknown, UpstreamFailed, TooManyRequests.
        """
        try:
            async with self._answer(remote, "GET", f"manifests/{reference}", {"Accept": _TYPES}) as (response, call):
                content = await read_bounded(response, LIMIT)
                if content is None:
                    raise WrongBytes(f"{remote.upstream.host} sends a manifest of more than {LIMIT} bytes")
                call.received = len(content)
        except FAILURES as error:
            raise UpstreamFailed(f"{remote.upstream.host} broke off ({in_words(error)}); try again") from None
        told = response.headers.get("Docker-Content-Digest", "")
        wanted = str(reference) if isinstance(reference, Digest) else told
        if wanted and wanted != str(Digest.of(content, "sha512" if wanted.startswith("sha512:") else "sha256")):
            raise wrong(remote, f"{remote.path}, {wanted}")
        return content, response.headers.get("Content-Type", "")

    async def digest(self, remote: Remote, reference: Tag | Digest) -> str:
        """Return the digest that an upstream tells of a manifest; empty where it does not.

        Raise ManifestUnknown, UpstreamFailed, TooManyRequests.
        """
        async with self._answer(remote, "HEAD", f"manifests/{reference}", {"Accept": f"{_TYPES}, */*"}) as (
            response,
            _,
        ):
            return response.headers.get("Docker-Content-Digest", "")

    async def size(self, remote: Remote, digest: Digest) -> int:
        """Return how many bytes a blob has; raise BlobUnknown, UpstreamFailed, TooManyRequests.

        Not every upstream tells that of a HEAD.
        """
        for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-0"})):
            async with self._answer(remote, method, f"blobs/{digest}", headers) as (response, _):
                is_part = response.status == HTTPStatus.PARTIAL_CONTENT
                told = response.headers.get("Content-Range" if is_part else "Content-Length", "").rpartition("/")[2]
                if _LENGTH.fullmatch(told):
                    return int(told)
        raise UpstreamFailed(f"{remote.upstream.host} does not say how long {digest} is")

    async def blob(self, remote: Remote, digest: Digest) -> AsyncGenerator[bytes]:
        """Yield the bytes of a blob as they come, unchecked; what breaks off goes on where it was.

        Raise BlobUnknown, UpstreamFailed, TooManyRequests. Use it within `contextlib.aclosing`.
        """
        at = reached = 0
        waits, patience = self._policy.backoff(self._random), Patience(self._patience)
        while True:
            headers = {"Range": f"bytes={at}-"} if at else {}
            try:
                async with self._answer(remote, "GET", f"blobs/{digest}", headers, patience) as (response, call):
                    left = at if response.status == HTTPStatus.OK else 0  # to pass over where there are no ranges
                    begins = response.headers.get("Content-Range", "").startswith(f"bytes {at}-")
                    if response.status == HTTPStatus.PARTIAL_CONTENT and not begins:
                        raise wrong(remote, f"the bytes of {digest} from {at} on")
                    async for chunk in response.content.iter_any():
                        call.received += len(chunk)
                        fresh = chunk[left:]
                        left -= len(chunk) - len(fresh)
                        if fresh:
                            patience.moved()
                            at += len(fresh)
                            yield fresh
                    return
            except FAILURES as error:
                if at - reached >= _PROGRESS:
                    reached, waits = at, self._policy.backoff(self._random)
                wait = next(waits, None)
                if wait is None or wait >= patience.left:
                    raise UpstreamFailed(
                        f"{remote.upstream.host} broke off in {digest} ({in_words(error)}); try again"
                    ) from None
                _log.info("%s broke off after %s of %s; it is asked for the rest", remote, counted(at, "byte"), digest)
                await asyncio.sleep(wait)

    @asynccontextmanager
    async def _answer(
        self, remote: Remote, method: str, what: str, headers: dict[str, str], patience: Patience | None = None
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, Call]]:
        """Yield a good answer; what would not get better by asking again is raised."""
        host = remote.upstream.host
        with self._events.call(SERVICE, method) as call:
            async with AsyncExitStack() as held:
                try:
                    response = await retry(
                        self._policy,
                        self._random,
                        partial(self._good, held, remote, method, what, headers),
                        lambda fault: _log.info("%s: %s", host, fault),
                        lambda: self._events.emit(Retried(SERVICE)),
                        patience or Patience(self._patience),
                    )
                except Limited as fault:
                    raise TooManyRequests(f"{host} {fault}", {"Retry-After": f"{max(1.0, fault.wait):.0f}"}) from None
                except RetryableError as fault:
                    raise UpstreamFailed(f"{host} has failed ({fault}); try again later") from None
                call.status = response.status
                yield response, call

    async def _good(
        self, held: AsyncExitStack, remote: Remote, method: str, what: str, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        """Ask once, and once more with a token if one is wanted; `held` closes the answer."""
        await asyncio.sleep(self._limit_left(remote))
        url = remote.upstream.origin.with_path(f"/v2/{remote.path}/{what}")
        try:
            sent = self._tokens.current(remote)
            response = await self._followed(remote, method, url, headers, sent)
            if response.status == HTTPStatus.UNAUTHORIZED and response.url.origin() == remote.upstream.origin:
                response.release()
                await self._tokens.renew(remote, sent, response.headers.getall("WWW-Authenticate", []))
                response = await self._followed(remote, method, url, headers, self._tokens.current(remote))
            held.callback(response.release)
            self._check(remote, what, response)
        except aiohttp.ClientConnectorCertificateError as error:
            raise UpstreamFailed(
                f"{remote.upstream.host} gives no answer: the certificate of {error.host} is not trusted; "
                "SSL_CERT_FILE can name a file with that of its authority"
            ) from None
        except FAILURES as error:
            raise RetryableError(in_words(error)) from None
        except Limited as limit:
            self._limited[remote.upstream.host] = time.monotonic() + limit.wait
            self._limit_left(remote)  # if that is long, it is told and not waited for
            raise
        return response

    async def _followed(
        self, remote: Remote, method: str, url: URL, headers: dict[str, str], authorized: str
    ) -> aiohttp.ClientResponse:
        """Ask, and go where the answer points to; only the upstream itself gets what a request is authorized with."""
        origin, host = remote.upstream.origin, remote.upstream.host
        for _ in range(_HOPS):
            response = await self._http().request(
                method,
                url,
                headers=_HEADERS | {"Via": remote.via} | headers,
                allow_redirects=False,
                timeout=self._timeout,
                middlewares=(authorization(authorized if url.origin() == origin else ""),),
            )
            if response.status not in _REDIRECTS:
                return response
            response.release()
            try:
                url = remote.upstream.address(response.headers.get("Location", ""), url)
            except AddressUnusable as why:
                raise UpstreamFailed(f"{host} redirects to an address that cannot be used: {why}") from None
        raise UpstreamFailed(f"{host} redirects in a circle")

    def _check(self, remote: Remote, what: str, response: aiohttp.ClientResponse) -> None:
        host, status = remote.upstream.host, response.status
        if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            kind, _, reference = what.partition("/")
            if kind == "blobs":
                raise BlobUnknown(f"{host} has no blob {reference} in {remote.path}")
            separator = "@" if ":" in reference else ":"
            raise ManifestUnknown(f"neither this relay nor {host} has {remote.path}{separator}{reference}")
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise refusal(remote)
        if status == HTTPStatus.LOOP_DETECTED:
            failure = LoopDetected if remote.is_for_relay else UpstreamFailed  # of a 5xx Docker shows the number only
            raise failure(f"{host} leads back to this relay; name the address of another registry in RELAY_UPSTREAMS")
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise limited(response.headers)
        if is_retryable(status):
            raise RetryableError(f"it answered {status}")
        raise UpstreamFailed(f"{host} answered {status} when it was asked for {remote.path}")

    def _limit_left(self, remote: Remote) -> float:
        """Return the seconds until a registry takes requests again. Raise TooManyRequests if that is not soon."""
        left = max(0.0, self._limited.get(remote.upstream.host, 0.0) - time.monotonic())
        if left <= _PATIENCE:
            return left
        advice = "" if remote.upstream.login else "; with a login it may allow more (RELAY_UPSTREAM_AUTH)"
        raise TooManyRequests(
            f"{remote.upstream.host} accepts no more requests from this machine for {format_duration(left)}{advice}",
            {"Retry-After": f"{left:.0f}"},
        )


def wrong(remote: Remote, what: str) -> WrongBytes:
    """Return the error for an answer that is not what was asked for."""
    return WrongBytes(f"{remote.upstream.host} sent other bytes than those of {what}; nothing of them is kept")
