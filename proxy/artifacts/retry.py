"""Try again: which answers are worth another try, and how long a server asks to wait before it."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from proxy.runtime.limits import Policy
from proxy.runtime.patience import Patience
from proxy.runtime.transport import in_words
from proxy.text import as_utc

T = TypeVar("T")

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_QUOTA = "insufficient usage"
_LONGEST_ASKED = 30.0  # seconds; a server that asks for more is asked again all the same


class RetryableError(Exception):
    """One try failed in a way that another may mend; no URL is in the message. `wait`: what the server asked for."""

    def __init__(self, message: str, wait: float = 0.0, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.unreachable = unreachable  # refused, or of an unknown name: no request to this host would get further


class OutOfTime(RetryableError):
    """The time for all tries together is over."""


async def retry(
    policy: Policy,
    chance: random.Random,
    attempt: Callable[[], Awaitable[T]],
    failed: Callable[[RetryableError], None] = lambda _: None,
    retrying: Callable[[], None] = lambda: None,
    patience: Patience | None = None,
) -> T:
    """Try until it goes well. Raise the last RetryableError when patience ends, and at once whatever else is raised.

    `failed` is told of every failure that another try may mend, `retrying` of every try after the first. Raise
    OutOfTime if it is the `patience` over all tries that ends.
    """
    waits, patience = policy.backoff(chance), patience or Patience(math.inf)
    while True:
        limit = patience.limit()
        try:
            async with limit:
                return await attempt()
        except RetryableError as fault:
            failed(fault)
            wait = next(waits, None)
            if wait is None:
                raise
            pause = max(wait, fault.wait)
            if pause >= patience.left:
                raise OutOfTime(str(fault), unreachable=fault.unreachable) from None
        except TimeoutError:
            if not limit.is_over:
                raise
            raise OutOfTime(in_words(TimeoutError())) from None
        await asyncio.sleep(pause)
        retrying()


def is_retryable(status: int, body: str = "") -> bool:
    """Can the same request succeed later? A 403 is a fault between GitHub's services, unless it names the quota."""
    return status in _AGAIN or status >= 520 or (status == 403 and _QUOTA not in body)  # noqa: PLR2004 - HTTP


def retry_after(headers: Mapping[str, str], absent: float = 0.0, longest: float = _LONGEST_ASKED) -> float:
    """Read `Retry-After` (RFC 9110, 10.2.3) in seconds; `absent` where it is, or makes no sense."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text), longest)
    until = moment(text)
    return max(0.0, min((until - server_time(headers)).total_seconds(), longest)) if until else absent


def server_time(headers: Mapping[str, str]) -> datetime:
    """Return what time it is by the clock of who sent an answer, which the times in it are of; else by our own."""
    return moment(headers.get("Date", "")) or datetime.now(UTC)


def moment(text: str) -> datetime | None:
    """Read a date of HTTP (RFC 9110, 5.6.7); None if it is none."""
    try:
        return as_utc(parsedate_to_datetime(text))
    except ValueError:
        return None
