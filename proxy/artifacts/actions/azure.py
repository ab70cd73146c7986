"""Requests to blob storage, behind signed URLs. Those are secrets: no message has one."""

import asyncio
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from proxy.artifacts.outages import Outages
from proxy.artifacts.retry import RetryableError, retry
from proxy.events import Call, EventBus, Retried
from proxy.runtime.limits import Policy, Timeouts
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.patience import Patience
from proxy.runtime.tasks import run_in_thread
from proxy.runtime.transport import FAILURES, authorization, in_words, is_unreachable

if TYPE_CHECKING:
    from proxy.artifacts.actions.byte_client import ByteClient, Response

T = TypeVar("T")
_log = logging.getLogger(__name__)
_SERVICE = "storage"  # in the events
_VERSION = {"x-ms-version": "2020-10-02"}  # of Azure's protocol
_UNAUTHORIZED = authorization("")  # a signed URL says all, and storage refuses what has more


class UrlRefused(Exception):
    """A signed URL was refused, or is no longer good: a new one may be."""


@dataclass(slots=True)
class BlobStorage:
    """How blob storage is reached; `up` and `down` are how many requests of one transfer run side by side."""

    http: aiohttp.ClientSession  # for all but ranges of bytes
    memory: MemoryBudget
    up: int = 8
    down: int = 8
    timeouts: Timeouts = field(default_factory=Timeouts)
    random: Random = field(default_factory=Random)
    events: EventBus = field(default_factory=EventBus)
    ranges: "ByteClient | None" = None  # for these alone
    is_slow: bool = False  # did a range take longer than it may at once?
    refusing: set[tuple[str | None, str | None]] = field(default_factory=set)  # hosts: to here none copies from there
    outages: Outages = field(init=False)

    def __post_init__(self) -> None:
        self.outages = Outages(self.timeouts.rest)

    async def get(
        self, url: URL, headers: dict[str, str], read: Callable[["Response", Call], T], limit: float | None
    ) -> T:
        """Ask for a range of bytes, once, and return what `read` makes of the answer in a thread.

        It may take `limit` seconds.

        Raise RetryableError, without the URL, if the connection breaks.
        """
        try:
            made = await run_in_thread(_byte_client) if self.ranges is None else self.ranges
            self.ranges = ranges = self.ranges or made  # another request may have made one meanwhile
            with self.events.call(_SERVICE, "GetRange") as call:
                async with asyncio.timeout(limit):
                    return await ranges.get(url, _VERSION | headers, partial(_noted, call, read), self.timeouts)
        except FAILURES as error:
            raise RetryableError(in_words(error), unreachable=is_unreachable(error)) from None

    @asynccontextmanager
    async def request(
        self,
        operation: str,
        method: str,
        url: URL,
        headers: dict[str, str],
        *,
        data: AsyncIterable[bytes | memoryview] | None = None,
        patience: Patience | None = None,
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, Call]]:
        """Send one request, once, for the block that reads its answer, until `patience` ends.

        Raise RetryableError, without the URL, if the connection breaks.
        """
        # A server that takes a body, or finishes a blob, may be silent for longer than one that sends bytes.
        stall = self.timeouts.stall if method == "GET" else None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.timeouts.connect, sock_read=stall)
        try:
            with self.events.call(_SERVICE, operation) as call:
                async with (
                    (patience or Patience(math.inf)).limit(),
                    self.http.request(
                        method,
                        url,
                        data=data,
                        headers=_VERSION | headers,
                        timeout=timeout,
                        allow_redirects=False,
                        middlewares=(_UNAUTHORIZED, _once),
                    ) as response,
                ):
                    call.status = response.status
                    yield response, call
        except FAILURES as error:
            words = str(error) if isinstance(error, _Broken) else in_words(error)
            raise RetryableError(words, unreachable=is_unreachable(error)) from None

    async def retry(
        self,
        what: str,
        attempt: Callable[[], Awaitable[T]],
        policy: Policy | None = None,
        patience: Patience | None = None,
    ) -> T:
        """Try until it goes well, by the policy of storage if there is no other, and log `what` failed meanwhile.

        Raise the last RetryableError.
        """
        return await retry(
            policy or self.timeouts.blobs,
            self.random,
            attempt,
            lambda fault: _log.info("%s: %s", what, fault),
            lambda: self.events.emit(Retried(_SERVICE)),
            patience or Patience(self.timeouts.patience),
        )

    async def read(self, url: URL, attempt: Callable[[], Awaitable[T]], patience: Patience) -> T:
        """Try to read from a URL until it goes well, with one try if that has just failed; RetryableError."""

        async def tried(is_probe: bool) -> T:
            policy = replace(self.timeouts.blobs, attempts=1) if is_probe else self.timeouts.blobs
            return await self.retry("reading an artifact", attempt, policy, patience)

        return await self.outages.run(url.origin(), url.raw_path, tried)


def _byte_client() -> "ByteClient":
    """Return a client for ranges. It is imported here: a job that only stores needs none."""
    from proxy.artifacts.actions.byte_client import ByteClient  # noqa: PLC0415

    return ByteClient()


def _noted(call: Call, read: Callable[["Response", Call], T], answer: "Response") -> T:
    call.status = answer.status
    return read(answer, call)


class _Broken(aiohttp.ClientError):
    """The connection broke while a request was under way."""


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let a request to storage go out once (a middleware of the client).

    aiohttp repeats a PUT by itself when its connection drops: it is idempotent. Where blocks are appended as they
    come, it is not; and elsewhere too whoever made the request knows better when to try again.
    """
    try:
        return await send(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise _Broken(in_words(error)) from None


def content_headers(file: str, *, is_raw: bool) -> dict[str, str]:
    """Return what tells storage the type and name of a file, for those who download it by hand (RFC 6266)."""
    if not is_raw:
        return {"x-ms-blob-content-type": "application/zip"}
    disposition = f"attachment; filename=\"{quote(file, safe='@~+=^ ')}\"; filename*=UTF-8''{quote(file, safe='')}"
    return {"x-ms-blob-content-type": "application/octet-stream", "x-ms-blob-content-disposition": disposition}


def appends(url: URL) -> bool:
    """Return whether a server may take blocks as they come, in any order, and twice: act does, Azure has their ids."""
    return "/twirp/" in url.path
