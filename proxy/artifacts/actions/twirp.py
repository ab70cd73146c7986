"""Calls of the results service: Twirp over JSON, tried until their outcome is clear or patience ends.

Bodies of answers never reach a message: they may hold signed URLs.
"""

import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import aiohttp

from proxy.artifacts.actions.http import bearer
from proxy.artifacts.actions.session import Session
from proxy.artifacts.base import StoreExpired, StoreRefused
from proxy.artifacts.retry import RetryableError, is_retryable, moment, retry, retry_after
from proxy.events import EventBus, Retried
from proxy.runtime.limits import Timeouts

_log = logging.getLogger(__name__)
_SERVICE = "artifacts"  # in the ledger
_PATH = "twirp/github.actions.results.api.v1.ArtifactService"
_ANSWER_LIMIT = 16 * 1024 * 1024  # bytes; a thousand artifacts have about half a megabyte
EXPIRED = "the session of this job has expired; push earlier in the job, or split it"
_NAMING = frozenset({"CreateArtifact", "FinalizeArtifact"})
_USED_UP = "the storage for artifacts is used up; raise the account's budget, or wait for next month"

Fields = dict[str, object]
T = TypeVar("T")


class NameTaken(Exception):
    """An artifact of this name exists in the run, or its name is reserved by an unfinished one.

    `doubtful`: maybe by an earlier try of the same call, whose answer was lost.
    """

    def __init__(self, method: str, *, doubtful: bool = False) -> None:
        super().__init__(method)
        self.doubtful = doubtful


class NoSuchArtifact(Exception):
    """There is no such artifact, or not any more. `words`: this was said in a line of text, as Gitea does."""

    def __init__(self, about: str, *, words: bool = False) -> None:
        super().__init__(about)
        self.words = words


class Unclear(RetryableError):
    """The service did not answer in a way that tells whether it did what it was asked."""

    def __init__(self, message: str, answered: int = 0, wait: float = 0.0) -> None:
        super().__init__(message, wait)
        self.answered = answered


class Dropped(Unclear):
    """The service took the request, and closed the connection without an answer."""


class Refused(StoreRefused):
    """The service will not do this, however often it is asked; `reason` is what it said, and is shown to nobody."""

    def __init__(self, method: str, answered: int, reason: str) -> None:
        super().__init__(f"the artifact service refused ({method}: {answered})")
        self.answered = answered
        self.reason = reason


class Twirp:
    """The service, called with one session."""

    def __init__(self, http: aiohttp.ClientSession, session: Session, tempo: Timeouts, ledger: EventBus) -> None:
        self.session = session
        self.tempo = tempo
        self.ledger = ledger
        self.chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._http = http
        self._ahead = timedelta()  # of the service's clock before ours

    def now(self) -> datetime:
        """Give the time by the clock of the service, as far as it was told."""
        return datetime.now(UTC) + self._ahead

    async def call(self, method: str, request: Mapping[str, object]) -> Fields:
        """Call a method that may be called again; StoreRefused when nothing helps, NameTaken, NoSuchArtifact."""

        async def attempt() -> Fields:
            return await self.once(method, request)

        return await self.retry(method, attempt)

    async def retry(self, method: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try something else than a plain call, with the same patience."""
        tries = 0

        def retrying() -> None:
            nonlocal tries
            tries += 1
            self.retrying()

        try:
            return await retry(self.tempo.calls, self.chance, attempt, retrying)
        except NameTaken:
            raise NameTaken(method, doubtful=tries > 0) from None
        except Unclear as error:
            raise StoreRefused(f"the artifact service failed ({method}: {error}); try again later") from None

    def retrying(self) -> None:
        """Note that something is tried again."""
        self.ledger.emit(Retried(_SERVICE))

    async def once(self, method: str, request: Mapping[str, object], limit: float | None = None) -> Fields:
        """Call a method with one try; Unclear if that tells nothing. `limit` in seconds."""
        session, tempo = self.session, self.tempo
        if session.has_expired(datetime.now(UTC)):
            raise StoreExpired(EXPIRED)
        url = session.origin.with_path(f"/{_PATH}/{method}")
        data, headers = json.dumps(request).encode(), {"Content-Type": "application/json"}
        patience = aiohttp.ClientTimeout(total=limit or tempo.call, sock_connect=tempo.connect)
        token = (bearer(session.token),)
        try:
            with self.ledger.call(_SERVICE, method) as call:
                async with self._http.post(
                    url, data=data, headers=headers, timeout=patience, allow_redirects=False, middlewares=token
                ) as response:
                    call.status, call.sent = response.status, len(data)
                    body = await _body(response)
                    call.received = len(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _noted(method, _failure(error)) from None  # the cause may name a URL
        if date := moment(response.headers.get("Date", "")):
            self._ahead = date - datetime.now(UTC)
        return _outcome(method, response, body)


def _failure(error: Exception) -> Unclear:
    reached = not isinstance(error, aiohttp.ClientConnectorError)
    dropped = reached and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
    return (Dropped if dropped else Unclear)(type(error).__name__)


def _noted(method: str, error: Unclear) -> Unclear:
    _log.info("%s: %s", method, error)
    return error


def _outcome(method: str, response: aiohttp.ClientResponse, body: bytes) -> Fields:
    """Give the answer, or what went wrong."""
    status, answer = response.status, _json(body)
    if status == 200 and answer is not None:  # noqa: PLR2004 - HTTP
        return answer
    message = str(answer.get("msg", "")) if answer is not None else ""
    words = answer is None and not body.lstrip().startswith(b"<")
    _raise_if_clear(method, status, words=words)
    if status == 200 or is_retryable(status, message):  # noqa: PLR2004 - HTTP; a page of HTML
        raise _noted(method, Unclear(f"it answered {status}", status, retry_after(response.headers)))
    if status == 403:  # noqa: PLR2004
        raise StoreRefused(_USED_UP)
    raise Refused(method, status, message)


def _raise_if_clear(method: str, status: int, *, words: bool) -> None:
    if status == 401:  # noqa: PLR2004 - HTTP
        raise StoreExpired(EXPIRED)
    if status == 404:  # noqa: PLR2004
        raise NoSuchArtifact(method, words=words)
    if status == 409 and method in _NAMING:  # noqa: PLR2004
        raise NameTaken(method)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _ANSWER_LIMIT:
            raise aiohttp.ClientPayloadError("more than it should be")
    return bytes(body)


def _json(body: bytes) -> Fields | None:
    """Read a JSON object; None for anything else, such as a page of HTML."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
