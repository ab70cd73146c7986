"""When to try again, as data: which answers are worth another try, and how long to wait before it."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_QUOTA = "insufficient usage"


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a caller is; waits in seconds."""

    attempts: int = 7
    first: float = 1.0
    factor: float = 2.0
    longest: float = 20.0

    def waits(self, chance: random.Random) -> Iterator[float]:
        """Give the waits between the attempts: growing, each spread over half of itself, so that jobs part."""
        wait = self.first
        for _ in range(self.attempts - 1):
            yield wait * chance.uniform(0.75, 1.25)
            wait = min(wait * self.factor, self.longest)


CALLS = Policy()  # of the results service: its faults last for a minute at times
BLOCKS = Policy(attempts=6, first=0.5, longest=15.0)  # of blob storage


def is_worth_another(status: int, body: str = "") -> bool:
    """Can the same request succeed later? A 403 is a fault between GitHub's services, unless it names the quota."""
    return status in _AGAIN or status >= 520 or (status == 403 and _QUOTA not in body)  # noqa: PLR2004 - HTTP


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` in seconds; None where it is absent, or a date."""
    text = headers.get("Retry-After", "")
    return min(float(text), 60.0) if text.isdigit() else None
