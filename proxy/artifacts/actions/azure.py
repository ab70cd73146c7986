"""Requests to blob storage, behind signed URLs. Those are secrets: no message has one."""

import random
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp
from yarl import URL

from proxy.artifacts.actions.http import without
from proxy.artifacts.retry import RetryableError
from proxy.events import Call, EventBus, Retried
from proxy.runtime.limits import Timeouts
from proxy.runtime.memory import MemoryBudget

_SERVICE = "storage"  # in the ledger
VERSION = {"x-ms-version": "2020-10-02"}  # of Azure's protocol


class UrlRefused(Exception):
    """A signed URL was refused, or is no longer good: a new one may be."""


@dataclass(slots=True)
class BlobStorage:
    """How blob storage is reached; `up` and `down` are how many requests of one transfer run side by side."""

    http: aiohttp.ClientSession
    memory: MemoryBudget
    up: int = 8
    down: int = 8
    tempo: Timeouts = field(default_factory=Timeouts)
    chance: random.Random = field(default_factory=random.Random)
    ledger: EventBus = field(default_factory=EventBus)
    refusing: set[tuple[str | None, str | None]] = field(default_factory=set)  # hosts: to here none copies from there

    def call(self, method: str) -> AbstractContextManager[Call]:
        """Note how a request within the block ends."""
        return self.ledger.call(_SERVICE, method)

    def retrying(self) -> None:
        """Note that something is tried again."""
        self.ledger.emit(Retried(_SERVICE))

    def limits(self, total: float | None) -> aiohttp.ClientTimeout:
        """Give the limits of a request that may take so many seconds in all."""
        tempo = self.tempo
        return aiohttp.ClientTimeout(total=total, sock_connect=tempo.connect, sock_read=tempo.stall)


class _Broken(aiohttp.ClientError):
    """The connection broke while a request was under way."""


async def once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let a request to storage go out once, without a token (a middleware of the client).

    aiohttp repeats a PUT by itself when its connection drops: it is idempotent. Where blocks are appended as they
    come, it is not; and elsewhere too whoever made the request knows better when to try again.
    """
    without(request)
    try:
        return await send(request)
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise _Broken(type(error).__name__) from None


def broken(error: Exception) -> RetryableError:
    """Say without a URL how a request failed."""
    return RetryableError(str(error) if isinstance(error, _Broken) else type(error).__name__)


def content_headers(file: str, *, is_raw: bool) -> dict[str, str]:
    """Return what tells storage the type and name of a file, for those who download it by hand (RFC 6266)."""
    if not is_raw:
        return {"x-ms-blob-content-type": "application/zip"}
    disposition = f"attachment; filename=\"{quote(file, safe='@~+=^ ')}\"; filename*=UTF-8''{quote(file, safe='')}"
    return {"x-ms-blob-content-type": "application/octet-stream", "x-ms-blob-content-disposition": disposition}


def appends(url: URL) -> bool:
    """Tell whether a server may take blocks as they come, in any order, and twice: act does, Azure has their ids."""
    return "/twirp/" in url.path
