"""Two jobs, one tag: which number a push takes, and whether the tag is this job's when it is stored.

The service has no lock. A name that is created is taken, but nobody sees by whom before it is finished, and a holder
that is dead looks like one that is slow. So Create is a hint, and List decides: before an artifact is finished, and
after.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from proxy.artifacts.actions.reserved_names import ReservedNames
from proxy.artifacts.actions.results import Created, NameTaken
from proxy.artifacts.actions.session import Session
from proxy.artifacts.base import Artifact, Claim, Contested, Ownership, StoreRefused
from proxy.artifacts.naming import HIGHEST, numbered
from proxy.artifacts.ranking import following, mistaken, passing
from proxy.runtime.limits import Timeouts

_log = logging.getLogger(__name__)
_NAMES = 50  # tried for one push, before somebody must be taking them all
_POLL = 0.25  # seconds until the next look at whether an artifact is listed, at first
_IN_TIME = 0.8  # of the time for which whoever passed us waits, before he believes that we are dead
_SLOWEST = 2.0  # seconds between two such looks

Create = Callable[[str], Awaitable[Created]]
Listing = Callable[[], Awaitable[Sequence[Artifact]]]


@dataclass(slots=True)
class NameClaim:
    """One push under a name, from the first look to the last.

    `seen` is the newest listing that is known, `listed` asks for another one. Without `waits` a name that is taken is
    another job's.
    """

    name: str
    claim: Claim
    session: Session
    timeouts: Timeouts
    seen: Sequence[Artifact]
    listed: Listing
    waits: bool = True
    _pauses: Iterator[float] = field(init=False)
    _beaten: set[str] = field(default_factory=set)  # ids of what others are bound to withdraw
    _allowed: float = 0.0  # when the last look before the end began (monotonic seconds)
    _tries: int = 0  # to finish an artifact
    _passed: bool = False  # was a number passed over that another job may hold, alive?

    def __post_init__(self) -> None:
        self._pauses = iter(self.timeouts.looks)
        self._check()

    # What others have

    def _same(self) -> list[Artifact]:
        return [each for each in self.seen if numbered(each.name).plain == self.name]

    async def look(self) -> None:
        """List once more. Raise Contested if another job has the tag now."""
        self.seen = await self.listed()
        self._check()

    def _rivals(self) -> set[str]:
        """Return the ids of what other jobs of this attempt have stored meanwhile, which takes the tag away from us."""
        if self.claim.whose is not Ownership.JOB:
            return set()
        run, owner = f"{self.session.run}:", self.session.owner
        others = [each for each in self._same() if each.owner.startswith(run) and each.owner != owner]
        finished = {each.id for each in others if each.finalized or each.size}  # as far as the server tells
        return finished - self.claim.known - self._beaten

    def _check(self) -> None:
        if self._rivals():
            raise Contested

    # A name

    async def take(self, create: Create, reserved: ReservedNames, used: set[str]) -> tuple[str, Created]:
        """Create the next free name; none of those that are `used`. Raise Contested, StoreRefused."""
        number = following(self._highest())
        for _ in range(_NAMES):
            while (full := self._full(number)) in used:
                number = following(number)
            used.add(full)
            may_be_ours = await reserved.has(full)
            await reserved.add(full)
            try:
                return full, await create(full)
            except NameTaken as taken:
                _log.info("the name %s is taken", full)
                used.discard(full)
                is_theirs = not (may_be_ours or taken.doubtful)
                if is_theirs:
                    await reserved.drop(full)
                if not self.waits:
                    raise Contested from None
                if is_theirs:
                    number = await self._after(number)
                    continue
                self._passed, number = True, following(number)
        raise StoreRefused(f"the artifact service says that {_NAMES} names of this image are taken; try again later")

    def others(self, full: str) -> frozenset[str]:
        """Return the ids of what is known beside one number of this name, which some servers list too early."""
        return frozenset(each.id for each in self._same() if each.name != full)

    def _full(self, number: int) -> str:
        return self.name if number == 1 else f"{self.name}~{number}"

    def _highest(self) -> int:
        numbers = (numbered(each.name).number for each in self._same())
        return max((number for number in numbers if number <= HIGHEST), default=0)

    async def _after(self, number: int) -> int:
        """Return what to try when a number is another job's, or of an attempt that nobody sees any more."""
        if self.claim.whose is not Ownership.JOB:
            return following(number)
        for pause in self._pauses:
            await asyncio.sleep(pause)
            await self.look()
            if (highest := self._highest()) >= number:
                return following(highest)
        if not self._passed:
            _log.warning("%s is taken, but nobody has finished it; using another number", self._full(number))
        self._passed = True
        return passing(number)

    # The end

    async def allow(self) -> None:
        """See, before an artifact is finished, that the tag is not another job's by now. Raise Contested."""
        self._allowed = time.monotonic()
        if self.claim.whose is Ownership.JOB:
            await self.look()
        self._tries += 1

    async def settle(self, mine: Artifact) -> Artifact:
        """Return what was just finished, as it is listed. Raise Contested if it is not to stay."""
        if self.claim.whose is Ownership.NOBODY:
            return mine
        found = await self._shown(lambda each: each.id == mine.id)
        if found and time.monotonic() - self._allowed < _IN_TIME * self.timeouts.passed:
            wrong = mistaken(self._same())
            self._beaten = self._rivals() & wrong if mine.id not in wrong else set()
        self._check()
        if self._passed and self.claim.whose is Ownership.JOB:  # who was passed may have looked before, and finish now
            await asyncio.sleep(self.timeouts.passed)
            await self.look()
        return found[0] if found else mine

    async def finished(self, full: str) -> list[Artifact]:
        """Return what this push has finished, as it is listed; what is not listed cannot be withdrawn."""
        if not self._tries:
            return []
        return await self._shown(lambda each: each.name == full and each.owner == self.session.owner)

    async def _shown(self, wanted: Callable[[Artifact], bool]) -> list[Artifact]:
        """List until something shows; nothing if it does not within `timeouts.shows`."""
        pause, end = _POLL, time.monotonic() + self.timeouts.shows
        while True:
            self.seen = await self.listed()
            found = [each for each in self.seen if wanted(each)]
            if found or time.monotonic() >= end:
                return found
            await asyncio.sleep(min(pause, max(0.0, end - time.monotonic())))
            pause = min(2 * pause, _SLOWEST)
