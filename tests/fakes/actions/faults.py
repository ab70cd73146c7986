"""What can go wrong, as values, and the plan that says when.

    plan.play("FinalizeArtifact", Reset(effect=True))        # took effect, the answer was lost
    plan.play("put_block", Answer(503), times=3, skip=2)     # the third to fifth block
    plan.play("get_range", Corrupt(at=1000), times=None)     # for ever
    plan.at_random(0.01, seed=7, faults=[Answer(503), Reset()])

`effect=True` lets the request do its work first and spoils only the answer.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.fakes.actions import kinds


@dataclass(frozen=True, slots=True)
class Answer:
    """Another answer than the true one."""

    status: int
    body: str = ""
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset, no byte is answered."""

    effect: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """Nothing happens for a while, then all goes well. With `effect` the work is done before the wait."""

    seconds: float
    effect: bool = False


@dataclass(frozen=True, slots=True)
class UploadReset:
    """The connection is reset when so many bytes of the request's body have come."""

    at: int


@dataclass(frozen=True, slots=True)
class UploadCorrupt:
    """One byte of the request's body arrives as another one than was sent."""

    at: int


@dataclass(frozen=True, slots=True)
class Truncated:
    """The body ends after so many bytes: the line closes early, or, if `agreed`, Content-Length says the same."""

    at: int
    agreed: bool = False


@dataclass(frozen=True, slots=True)
class BodyReset:
    """The connection is reset after so many bytes of the body."""

    at: int


@dataclass(frozen=True, slots=True)
class BodyStall:
    """The body pauses after so many bytes, then goes on."""

    at: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BodyTrickle:
    """After so many bytes the body comes byte by byte, with a pause of so many seconds after each."""

    at: int
    pause: float


@dataclass(frozen=True, slots=True)
class HeadTrickle:
    """The head of the answer comes byte by byte, with a pause of so many seconds after each, and never ends."""

    pause: float


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One byte of the body is another one than it was."""

    at: int


@dataclass(frozen=True, slots=True)
class RangeIgnored:
    """A server or proxy that answers a ranged read with 200 and everything."""


@dataclass(frozen=True, slots=True)
class WrongContentRange:
    """The Content-Range speaks of other bytes than were asked for; without a value it is missing."""

    value: str | None = None


Fault = (
    Answer
    | Reset
    | Delay
    | UploadReset
    | UploadCorrupt
    | Truncated
    | BodyReset
    | BodyStall
    | BodyTrickle
    | HeadTrickle
    | Corrupt
    | RangeIgnored
    | WrongContentRange
)

_ONLY_FOR: dict[type[Fault], tuple[str, ...]] = {
    UploadReset: kinds.UPLOADS,
    UploadCorrupt: kinds.UPLOADS,
    Truncated: kinds.READS,
    BodyReset: kinds.READS,
    BodyStall: kinds.READS,
    BodyTrickle: kinds.READS,
    Corrupt: kinds.READS,
    RangeIgnored: (kinds.GET_RANGE,),
    WrongContentRange: (kinds.GET_RANGE,),
}


def fits(fault: Fault, kind: str) -> bool:
    """Return whether a fault can happen to such a request."""
    if isinstance(fault, Answer | Reset | Delay) and fault.effect:
        return kind not in kinds.READS  # a read has no effect but its answer
    return kind in _ONLY_FOR.get(type(fault), kinds.ALL)


@dataclass(slots=True)
class _Scripted:
    wanted: tuple[str, ...]
    fault: Fault
    left: int | None
    skip: int

    def take(self, kind: str) -> bool:
        """Return whether this request is the one, and count it."""
        if kind not in self.wanted or self.left == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


@dataclass(slots=True)
class _Random:
    rate: float
    dice: random.Random
    faults: Sequence[Fault]
    wanted: tuple[str, ...]

    def draw(self, kind: str) -> Fault | None:
        if kind not in self.wanted or self.dice.random() >= self.rate:
            return None
        possible = [fault for fault in self.faults if fits(fault, kind)]
        return self.dice.choice(possible) if possible else None


class Plan:
    """Which request meets which fault. Scripted ones come first, in the order in which they were planned."""

    def __init__(self) -> None:
        self._scripted: list[_Scripted] = []
        self._random: _Random | None = None
        self.played: list[tuple[str, Fault]] = []

    def play(self, pattern: str, fault: Fault, *, times: int | None = 1, skip: int = 0) -> None:
        """Plan a fault for the next requests of these kinds, after `skip` undisturbed ones; `None` is for ever."""
        wanted = tuple(kind for kind in kinds.matching(pattern) if fits(fault, kind))
        if not wanted:
            raise ValueError(f"{fault} cannot happen to {pattern}")
        self._scripted.append(_Scripted(wanted, fault, times, skip))

    def at_random(self, rate: float, seed: int, faults: Sequence[Fault], pattern: str = "*") -> None:
        """Disturb this share of the requests of these kinds, the same ones for the same seed and order."""
        self._random = _Random(rate, random.Random(seed), faults, kinds.matching(pattern))  # noqa: S311 - no secret

    def clear(self) -> None:
        """Let everything go well from now on."""
        self._scripted.clear()
        self._random = None

    def next(self, kind: str) -> Fault | None:
        """Return what shall happen to the request that has just come."""
        found = self._choose(kind)
        if found is not None:
            self.played.append((kind, found))
        return found

    def _choose(self, kind: str) -> Fault | None:
        for scripted in self._scripted:
            if scripted.take(kind):
                return scripted.fault
        return self._random.draw(kind) if self._random else None

    @property
    def unplayed(self) -> list[Fault]:
        """The planned faults that nobody met: a test that plans one wants to see it."""
        return [scripted.fault for scripted in self._scripted if scripted.left]


def twirp_error(status: int, code: str, message: str, effect: bool = False) -> Answer:
    """Make an error as the results service words it."""
    body = json.dumps({"code": code, "msg": message})
    return Answer(status, body, "application/json", effect=effect)


def no_storage_left() -> Answer:
    """Make the answer to a create when the account's storage is used up; no retry helps."""
    return twirp_error(403, "permission_denied", "insufficient usage to create artifact")


def intermediary(effect: bool = False) -> Answer:
    """Make the 403 of a proxy between GitHub's services; a retry helps."""
    message = 'Error from intermediary with HTTP status code 403 "Forbidden"'
    return twirp_error(403, "permission_denied", message, effect)


def rate_limited(retry_after: int) -> Answer:
    """Make a 429 that tells how long to wait."""
    body = json.dumps({"code": "resource_exhausted", "msg": "rate limit exceeded"})
    return Answer(429, body, "application/json", {"Retry-After": str(retry_after)})


def edge_page(status: int = 502) -> Answer:
    """Make the HTML page of an edge server."""
    return Answer(status, "<!DOCTYPE html><html><body>Unicorn!</body></html>", "text/html")


def burnt_name() -> Answer:
    """Make a create that fails and yet takes the name."""
    return twirp_error(500, "internal", "internal server error", effect=True)
