"""Requests to GitHub's REST API: repeated while that can help, within its rate limits, redirects not followed.

The token goes to the address of the API and nowhere else. Answers are not believed to be small, nor well-formed.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

import aiohttp
from yarl import URL

from proxy.artifacts.base import StoreRefused
from proxy.artifacts.outages import Outages
from proxy.artifacts.retry import RetryableError, is_retryable, retry, server_time
from proxy.events import EventBus, Retried
from proxy.runtime.limits import Timeouts
from proxy.runtime.patience import Patience
from proxy.runtime.transport import FAILURES, authorization, in_words, is_unreachable, read_bounded

_log = logging.getLogger(__name__)
_SERVICE = "api"  # in the events
_SECONDARY = 60.0  # seconds for which a secondary rate limit lasts that does not say how long
_PATIENCE = 20.0  # seconds; a rate limit that ends later is told, not waited for: clients give up after 30
_HEADERS = {
    "Accept": "application/vnd.github+json",
    "User-Agent": "image-relay",
    "X-GitHub-Api-Version": "2022-11-28",
}
_LIMITING = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end; it may hold a signed URL, and is never shown."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(slots=True)
class GitHubApi:
    """Asks with one token; an answer has at most `largest` bytes: a page of artifacts has about a hundred thousand."""

    http: aiohttp.ClientSession
    token: str = field(repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    events: EventBus = field(default_factory=EventBus)
    largest: int = 16 * 1024 * 1024
    _blocked_until: float = float("-inf")  # monotonic seconds
    _random: random.Random = field(default_factory=random.Random)
    _outages: Outages = field(init=False)

    def __post_init__(self) -> None:
        self._outages = Outages(self.timeouts.rest)

    async def get(self, url: URL) -> Answer:
        """Ask until there is an answer that another try would not change; StoreRefused if there is none."""
        return await self._ask("GET", url)

    async def delete(self, url: URL) -> Answer:
        """Delete what is there, as `get` asks: who tries again may be told that it is not there any more."""
        return await self._ask("DELETE", url)

    async def _ask(self, method: str, url: URL) -> Answer:
        async def tried(is_probe: bool) -> Answer:
            return await retry(
                replace(self.timeouts.calls, attempts=1) if is_probe else self.timeouts.calls,
                self._random,
                partial(self._ask_once, method, url),
                lambda fault: _log.info("GitHub's API: %s", fault),
                lambda: self.events.emit(Retried(_SERVICE)),
                Patience(self.timeouts.patience),
            )

        try:
            return await self._outages.run(url.origin(), url.raw_path_qs, tried)
        except RetryableError as fault:
            raise StoreRefused(f"GitHub's API failed ({fault}); try again later") from None

    def _keep_limit(self) -> float:
        """Return the seconds until GitHub takes requests again; StoreRefused if that is not soon."""
        wait = max(0.0, self._blocked_until - time.monotonic())
        if wait > _PATIENCE:
            minutes = max(1, round(wait / 60))
            raise StoreRefused(
                f"GitHub's API accepts no more requests from this repository for {minutes} min (rate limit)"
            )
        return wait

    async def _ask_once(self, method: str, url: URL) -> Answer:
        await asyncio.sleep(self._keep_limit())
        token = (authorization(f"Bearer {self.token}"),)
        timeout = aiohttp.ClientTimeout(total=self.timeouts.call, sock_connect=self.timeouts.connect)
        try:
            with self.events.call(_SERVICE, method) as call:
                async with self.http.request(
                    method, url, headers=_HEADERS, timeout=timeout, allow_redirects=False, middlewares=token
                ) as response:
                    call.status = response.status
                    body = await read_bounded(response, self.largest)
                    if body is None:
                        raise StoreRefused("GitHub's API answered with more than it should")
                    call.received = len(body)
        except FAILURES as error:
            raise RetryableError(in_words(error), unreachable=is_unreachable(error)) from None
        answer = Answer(response.status, response.headers, body)
        if answer.status in _LIMITING and (wait := _limit(answer)) is not None:
            self._blocked_until = time.monotonic() + wait
            raise RetryableError("it accepts no more requests", self._keep_limit())
        if answer.status != HTTPStatus.FORBIDDEN and is_retryable(answer.status):
            raise RetryableError(f"it answered {answer.status}")
        return answer


def _limit(answer: Answer) -> float | None:
    """Return the seconds until a rate limit ends; None where a refusal is about something else.

    A secondary limit, as for many deletions, may come without a time, and is over in a minute at the earliest.
    """
    headers = answer.headers
    after, reset = headers.get("Retry-After", ""), headers.get("x-ratelimit-reset", "")
    if _SECONDS.fullmatch(after):
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and _SECONDS.fullmatch(reset):
        return max(float(reset) - server_time(headers).timestamp(), 1.0)
    return _SECONDARY if b"rate limit" in answer.body.lower() else None
