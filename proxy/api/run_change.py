"""Hand-overs of sessions. With one of another run, what was pushed in the run before is stored there, or forgotten.

Nothing that was pushed, read or refused in one run may answer in another, nor be stored there.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from proxy.api.requests import HANDED_OVER, Requests
from proxy.backends.backend import Backend, NewSession
from proxy.events import RunChanged
from proxy.oci.names import label
from proxy.registry.keeping import Keeping
from proxy.registry.push import Push
from proxy.registry.waiting import PullWait
from proxy.reporting.pulls import PullTracker
from proxy.runtime.tasks import TaskSet
from proxy.spool.pending import PendingKey
from proxy.spool.run import Run
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_NOT_STORED = "no relay has stored it before another run took its data folder"


@dataclass(frozen=True, slots=True)
class Lost:
    """What was pushed by digest in a run, and could not be stored there."""

    reference: str
    run: str
    problem: str


@dataclass(slots=True)
class RunChange:
    """Takes sessions; requests under way have `seconds` to end before the relay works for another run."""

    backend: Backend
    push: Push
    keeping: Keeping
    pull_wait: PullWait
    pulls: PullTracker
    requests: Requests
    seconds: float
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: TaskSet = field(default_factory=TaskSet)

    async def take_session(self, content: bytes) -> Sequence[Lost]:
        """Use the session of a request from now on; return what was lost. Raise SessionRefused, SessionTaken, Denied.

        It is not left half done if nobody waits for it any more.
        """
        return await asyncio.shield(self._tasks.spawn(self._take_session(content)))

    async def _take_session(self, content: bytes) -> Sequence[Lost]:
        async with self._turn:
            new, spool = await self.backend.accept(content), self.push.spool
            if new is None:
                return ()
            if self.backend.run and not new.run.is_same(spool.run):
                async with self.requests.between_runs(self.seconds):
                    return await self._change_run(new)
            before = spool.run
            lost = self.log_lost(before, await spool.belong_to(new.run))
            new.use()
            self.push.restore()
            return lost

    async def _change_run(self, new: NewSession) -> Sequence[Lost]:
        """Store what is pending with the session before, if that is good; forget the rest, and use the new one."""
        push, lookup, before = self.push, self.push.lookup, self.push.spool.run
        if closed := self.backend.closed():
            problems = {(each.name, each.digest): closed for each in push.pending()}
        else:
            problems = {(each.name, each.digest): each.problem for each in await push.flush()}
        await push.flights.abandon(HANDED_OVER)
        await self.keeping.forget()
        await lookup.prefetch.forget()
        self.pulls.forget()
        lost = self.log_lost(before, await push.spool.belong_to(new.run), problems)
        await push.flights.abandon(HANDED_OVER)  # what was begun meanwhile
        push.forget()
        lookup.external.forget()
        self.pull_wait.forget()
        push.events.bus.emit(RunChanged(before.name, new.run.name))
        new.use()
        return lost

    def log_lost(
        self, run: Run, lost: Collection[PendingKey], problems: Mapping[PendingKey, str] = MappingProxyType({})
    ) -> Sequence[Lost]:
        """Log and return what was pushed by digest in a run and forgotten for another one, with the reasons."""
        found = [Lost(label(*each), run.name, problems.get(each) or _NOT_STORED) for each in lost]
        for each in found:
            reason = safe_text(each.problem)
            _log.error("%s of %s is lost: %s; push it again in that run, by a tag", each.reference, each.run, reason)
        return found
