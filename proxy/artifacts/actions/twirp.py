"""Calls of the results service: Twirp over JSON, tried until their outcome is clear or patience ends.

Bodies of answers never reach a message: they may hold signed URLs.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from random import Random
from typing import Any, TypeVar

import aiohttp

from proxy.artifacts.actions.session import Session
from proxy.artifacts.base import StoreExpired, StoreRefused
from proxy.artifacts.outages import Outages
from proxy.artifacts.retry import RetryableError, is_retryable, moment, retry, retry_after
from proxy.events import EventBus, Retried
from proxy.runtime.limits import Timeouts
from proxy.runtime.patience import Patience
from proxy.runtime.transport import FAILURES, authorization, in_words, is_unreachable, json_object, read_bounded

_log = logging.getLogger(__name__)
_SERVICE = "artifacts"  # in the events
_PATH = "twirp/github.actions.results.api.v1.ArtifactService"
_ANSWER_LIMIT = 16 * 1024 * 1024  # bytes; a thousand artifacts have about half a megabyte
EXPIRED = "the session of this job has expired; push earlier in the job, or split it"
_NAMING = frozenset({"CreateArtifact", "FinalizeArtifact"})
_USED_UP = "the storage for artifacts is used up; raise the account's budget, or wait for next month"

Fields = dict[str, Any]
T = TypeVar("T")


class NameTaken(Exception):
    """An artifact of this name exists in the run, or its name is reserved by an unfinished one.

    `doubtful`: maybe by an earlier try of the same call, whose answer was lost.
    """

    def __init__(self, method: str, *, doubtful: bool = False) -> None:
        super().__init__(f"{method}: the name is taken")
        self.doubtful = doubtful


class NoSuchArtifact(Exception):
    """There is no such artifact, or not any more. `words`: this was said in a line of text, as Gitea does."""

    def __init__(self, about: str, *, words: bool = False) -> None:
        super().__init__(f"{about}: there is no such artifact")
        self.words = words


class Unclear(RetryableError):
    """The service did not answer in a way that tells whether it did what it was asked."""

    def __init__(self, message: str, answered: int = 0, wait: float = 0.0, *, unreachable: bool = False) -> None:
        super().__init__(message, wait, unreachable=unreachable)
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

    def __init__(self, http: aiohttp.ClientSession, session: Session, timeouts: Timeouts, events: EventBus) -> None:
        self.session = session
        self.timeouts = timeouts
        self.random = Random()  # noqa: S311 - spreads retries, guards nothing
        self._events = events
        self._http = http
        self._outages = Outages(timeouts.rest)
        self._ahead = timedelta()  # of the service's clock before ours

    def now(self) -> datetime:
        """Return the time by the clock of the service, as far as it was told."""
        return datetime.now(UTC) + self._ahead

    async def call(self, method: str, request: Mapping[str, object]) -> Fields:
        """Call a method that may be called again. Raise as `retry`."""
        return await self.retry(method, partial(self.once, method, request))

    async def retry(self, method: str, attempt: Callable[[], Awaitable[T]], about: str = "") -> T:
        """Try until the outcome is clear. Raise StoreRefused when nothing helps, NameTaken, NoSuchArtifact.

        `about` is the artifact in question.
        """
        tries = 0

        def failed(fault: RetryableError) -> None:
            nonlocal tries
            tries += 1
            _log.info("%s: %s", method, fault)

        async def tried(is_probe: bool) -> T:
            policy = replace(self.timeouts.calls, attempts=1) if is_probe else self.timeouts.calls
            patience = Patience(self.timeouts.patience)
            return await retry(policy, self.random, attempt, failed, self.retrying, patience)

        try:
            return await self._outages.run(self.session.origin, (method, about), tried)
        except NameTaken:
            raise NameTaken(method, doubtful=tries > 0) from None
        except RetryableError as error:
            raise StoreRefused(f"the artifact service failed ({method}: {error}); try again later") from None

    def retrying(self) -> None:
        """Note that something is tried again."""
        self._events.emit(Retried(_SERVICE))

    async def once(self, method: str, request: Mapping[str, object], limit: float | None = None) -> Fields:
        """Call a method with one try and return its answer; it may take `limit` seconds.

        Raise Unclear if the outcome is not known; StoreExpired, NoSuchArtifact, NameTaken, StoreRefused if it is.
        """
        if self.session.has_expired(datetime.now(UTC)):
            raise StoreExpired(EXPIRED)
        data = json.dumps(request).encode()
        try:
            with self._events.call(_SERVICE, method) as call:
                async with self._http.post(
                    self.session.origin.with_path(f"/{_PATH}/{method}"),
                    data=data,
                    headers={"Content-Type": "application/json"},
                    timeout=aiohttp.ClientTimeout(
                        total=limit or self.timeouts.call, sock_connect=self.timeouts.connect
                    ),
                    allow_redirects=False,
                    middlewares=(authorization(f"Bearer {self.session.token}"),),
                ) as response:
                    call.status, call.sent = response.status, len(data)
                    body = await read_bounded(response, _ANSWER_LIMIT)
                    if body is None:
                        raise Unclear("it answered with more than it should")
                    call.received = len(body)
        except FAILURES as error:
            unreachable = is_unreachable(error)
            dropped = not unreachable and isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError)
            kind = Dropped if dropped else Unclear
            raise kind(in_words(error), unreachable=unreachable) from None  # the cause may name a URL
        if date := moment(response.headers.get("Date", "")):
            self._ahead = date - datetime.now(UTC)
        return _outcome(method, response, body)


def _outcome(method: str, response: aiohttp.ClientResponse, body: bytes) -> Fields:
    """Return the answer, or raise what went wrong."""
    answer = json_object(body)
    match response.status:
        case HTTPStatus.OK if answer is not None:
            return answer
        case HTTPStatus.UNAUTHORIZED:
            raise StoreExpired(EXPIRED)
        case HTTPStatus.NOT_FOUND:
            raise NoSuchArtifact(method, words=answer is None and not body.lstrip().startswith(b"<"))
        case HTTPStatus.CONFLICT if method in _NAMING:
            raise NameTaken(method)
    status, message = response.status, str(answer.get("msg", "")) if answer else ""
    if status == HTTPStatus.OK:
        what = "a page instead of JSON; is a proxy in between?" if body.lstrip().startswith(b"<") else "no JSON object"
        raise Unclear(f"it answered with {what}", status, retry_after(response.headers))
    if is_retryable(status, message):
        raise Unclear(f"it answered {status}", status, retry_after(response.headers))
    if status == HTTPStatus.FORBIDDEN:
        raise StoreRefused(_USED_UP)
    raise Refused(method, status, message)
