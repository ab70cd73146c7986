"""Work that several requests may wait for: it runs once, and goes on when they leave.

Docker 29.7 gives up on an answer that takes longer than 30 s, but follows a redirect to the same URL, at most nine
times. So a request that waits too long is told to come again, and joins the work under way. A failure stays until a
request has received it, at least for a while; after a success the work, done again, finds nothing left to do.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from proxy.errors import StillUnderWay
from proxy.runtime.tasks import TaskSet

T = TypeVar("T")

PATIENCE = 25.0  # seconds until a waiting request is told to come again
_REDIRECTS = 8  # after which the line is held open: clients stop at the tenth hop
_KEPT = 60.0  # seconds for which a failure that nobody has received stays


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task[Any]
    redirects: int = 0
    end: asyncio.TimerHandle | None = None  # of a failure that nobody has received


class SingleFlight:
    """One task per key at any time."""

    def __init__(self, crew: TaskSet, patience: float) -> None:
        self._crew = crew
        self._patience = patience
        self._is_last = False
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do the work of this key, or wait for it where it is under way; gives what it gave, raises what it raised.

        StillUnderWay if it takes too long for one request.
        """
        flight = self._flight(key, work)
        redirects = flight.redirects
        hold = None if redirects >= _REDIRECTS else self._patience
        await asyncio.wait({flight.task}, timeout=hold)
        if self._is_last:
            await asyncio.wait({flight.task})
        if not flight.task.done():
            flight.redirects = max(flight.redirects, redirects + 1)  # requests that wait side by side count once
            raise StillUnderWay("this takes longer than usual; repeat the request to wait for it")
        self._forget(key, flight)
        result: T = flight.task.result()
        return result

    def hold(self) -> None:
        """Tell nobody any more to come again: the relay is stopping, and would refuse who does."""
        self._is_last = True

    async def wait(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Wait for as long as it takes, for somebody who is no client; gives whether it succeeded."""
        flight = self._flight(key, work)
        await asyncio.wait({flight.task})
        self._forget(key, flight)
        return not flight.task.cancelled() and flight.task.exception() is None

    def _flight(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, object]]) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(self._crew.spawn(work()))
            flight.task.add_done_callback(lambda task: self._expire(key, flight, task))
        return flight

    def _expire(self, key: Hashable, flight: _Flight, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is None:  # what succeeded is found done by who comes back
            self._forget(key, flight)
        elif self._flights.get(key) is flight:
            flight.end = asyncio.get_running_loop().call_later(_KEPT, self._forget, key, flight)

    def _forget(self, key: Hashable, flight: _Flight) -> None:
        if flight.end:
            flight.end.cancel()  # it holds the failure, and with it all that was under way
        if self._flights.get(key) is flight:
            del self._flights[key]
