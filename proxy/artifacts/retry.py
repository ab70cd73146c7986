"""When to try again, as data: which answers are worth another try, and how long to wait before it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

T = TypeVar("T")

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_QUOTA = "insufficient usage"
_LONGEST_ASKED = 60.0  # seconds; a server that asks for more is asked again all the same


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a caller is; waits in seconds. By default nine tries over more than a minute."""

    attempts: int = 9
    first: float = 1.0
    factor: float = 2.0
    longest: float = 20.0

    def backoff(self, chance: random.Random) -> Iterator[float]:
        """Give the waits between the attempts: growing, each spread over half of itself, so that jobs part."""
        wait = self.first
        for _ in range(self.attempts - 1):
            yield wait * chance.uniform(0.75, 1.25)
            wait = min(wait * self.factor, self.longest)


CALLS = Policy()  # of the results service: its faults last for a minute at times
BLOBS = replace(CALLS, first=0.5)  # of blob storage


@dataclass(frozen=True, slots=True)
class Rereading:
    """How an artifact is read again that came with other bytes than it has to have.

    First by this policy, while whoever asks for it waits; then, for `rest` seconds, not at all.
    """

    policy: Policy = Policy(attempts=4, longest=4.0)
    rest: float = 15.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How patient and how hasty requests to the artifact service are; limits in seconds."""

    calls: Policy = CALLS
    blobs: Policy = BLOBS
    rereading: Rereading = Rereading()
    connect: float = 15.0
    call: float = 60.0
    finalize: float = 300.0  # large blobs take minutes
    commit: float = 300.0
    transfer: float = 120.0  # of one block or range; on a slow line it takes its time
    stall: float = 60.0  # without a byte
    looks: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0, 15.0, 21.0)  # pauses before listings, while a name is another's
    shows: float = 10.0  # until what was finished is listed
    passed: float = 10.0  # until whoever was passed over has noticed, or is listed
    again: tuple[float, float] = (1.0, 3.0)  # from and to; before a push that collided begins again


class RetryableError(Exception):
    """One try failed in a way that another may mend; no URL is in the message. `wait`: what the server asked for."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def _untold() -> None:
    pass


async def retry(
    policy: Policy, chance: random.Random, attempt: Callable[[], Awaitable[T]], retrying: Callable[[], None] = _untold
) -> T:
    """Try until it goes well; raises the last RetryableError when patience ends, and at once whatever else is raised.

    `retrying` is told of every try after the first.
    """
    waits = policy.backoff(chance)
    while True:
        try:
            return await attempt()
        except RetryableError as fault:
            wait = next(waits, None)
            if wait is None:
                raise
            pause = max(wait, fault.wait)
        await asyncio.sleep(pause)
        retrying()


def is_retryable(status: int, body: str = "") -> bool:
    """Can the same request succeed later? A 403 is a fault between GitHub's services, unless it names the quota."""
    return status in _AGAIN or status >= 520 or (status == 403 and _QUOTA not in body)  # noqa: PLR2004 - HTTP


def retry_after(headers: Mapping[str, str]) -> float:
    """Read `Retry-After` (RFC 9110, 10.2.3) in seconds; 0 where it is absent or makes no sense."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_ASKED)
    until = moment(text)
    return max(0.0, min((until - datetime.now(UTC)).total_seconds(), _LONGEST_ASKED)) if until else 0.0


def moment(text: str) -> datetime | None:
    """Read a date of HTTP (RFC 9110, 5.6.7); None if it is none."""
    try:
        read = parsedate_to_datetime(text)
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
