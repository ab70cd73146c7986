"""Run work once for all requests that wait for it; it goes on when they leave.

Docker 29.7 gives up on an answer that takes longer than 30 s, but follows a redirect to the same URL, at most nine
times. So a request that waits too long is redirected to itself, and then joins the work in progress. A failure is kept
until a request has received it, or for a while. After a success the work, run again, finds nothing left to do; where it
would not, such as a deletion, its result is kept like a failure.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from proxy.errors import Denied, StillUnderWay
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.tasks import TaskSet

T = TypeVar("T")

_REDIRECTS = 8  # after which the connection is held open: clients stop at the tenth hop


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Any]
    is_kept: bool = False  # whatever the result is
    redirects: int = 0
    abandoned: str = ""  # why, if it was
    end: asyncio.TimerHandle | None = None  # of a result that nobody has received


class SingleFlight:
    """One task per key at any time."""

    def __init__(self, tasks: TaskSet, limits: Limits = DEFAULT) -> None:
        self._tasks = tasks
        self._limits = limits
        self._is_last = False
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], *, keep: bool = False) -> T:
        """Run the work of this key, or join it if it is in progress; return or raise what it does.

        Raise StillUnderWay if it takes too long for one request; `keep` its result for the next one, then.
        """
        flight = self._flight(key, work)
        flight.is_kept = flight.is_kept or keep
        redirects = flight.redirects
        timeout = None if redirects >= _REDIRECTS else self._limits.first_answer
        await asyncio.wait({flight.task}, timeout=timeout)
        if self._is_last:
            await asyncio.wait({flight.task})
        if not flight.task.done():
            flight.redirects = max(flight.redirects, redirects + 1)  # requests that wait side by side count once
            raise StillUnderWay("this takes longer than usual; repeat the request to wait for it")
        result: T = self._landed(key, flight)
        return result

    async def to_end(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run work that nobody joins, however long it takes; return or raise what it does."""
        key = object()
        flight = self._flight(key, work)
        await asyncio.wait({flight.task})
        result: T = self._landed(key, flight)
        return result

    def _landed(self, key: Hashable, flight: _Flight) -> Any:
        """Return or raise the result of a flight that is over; it is received by that."""
        self._forget(key, flight)
        if flight.abandoned and flight.task.cancelled():
            raise Denied(flight.abandoned)
        return flight.task.result()

    async def abandon(self, reason: str) -> None:
        """Cancel all work and forget every result; who waits for one is refused for this reason. Raise nothing."""
        flights, self._flights = list(self._flights.values()), {}
        for flight in flights:
            flight.abandoned = reason
            if flight.end:
                flight.end.cancel()
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    def stop_redirecting(self) -> None:
        """Redirect no client any more: the relay is stopping, and would refuse the repeated request."""
        self._is_last = True

    async def wait(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Run or join the work as `run` does, however long it takes: no client waits. Return whether it succeeded."""
        flight = self._flight(key, work)
        await asyncio.wait({flight.task})
        self._forget(key, flight)
        return not flight.task.cancelled() and flight.task.exception() is None

    def _flight(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(self._tasks.spawn(work()))
            flight.task.add_done_callback(partial(self._expire, key, flight))
        return flight

    def _expire(self, key: Hashable, flight: _Flight, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or (task.exception() is None and not flight.is_kept):
            self._forget(key, flight)
        elif self._flights.get(key) is flight:
            flight.end = asyncio.get_running_loop().call_later(self._limits.result_kept, self._forget, key, flight)

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        if flight.end:
            flight.end.cancel()  # it holds the failure, and with it all that was under way
        if self._flights.get(key) is flight:
            del self._flights[key]
