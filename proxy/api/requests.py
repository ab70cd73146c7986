"""The end of the relay, or of its work for a run, as clients see it: what is under way ends in time.

`docker stop` kills after ten seconds, so nobody may keep the relay from storing what is pending: not a client that does
not read, nor one that sends for hours.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.errors import Denied

_READ_METHODS = frozenset({"GET", "HEAD"})
_SENTENCE = "image-relay is stopping: repeat this once it runs again"
_ALWAYS = frozenset({"/relay/health", "/relay/proof", "/relay/session", "/metrics"})  # of no run
HANDED_OVER = "this relay has been handed over to another run; repeat this in a job of that run, with all it needs"


class Requests:
    """Requests under way and before, and whether new ones are refused."""

    def __init__(self) -> None:
        self.served = 0  # requests so far
        self._has_begun = False
        self._sentence = _SENTENCE
        self._is_free = asyncio.Event()
        self._is_free.set()
        self._under_way: dict[asyncio.Task[Any], tuple[web.Request, asyncio.Timeout]] = {}

    @property
    def is_idle(self) -> bool:
        """Return whether no request is under way."""
        return not self._under_way

    @property
    def middleware(self) -> Middleware:
        """Return what every request passes before anything is done for it: DENIED once the end has begun."""

        @web.middleware
        async def end_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._has_begun:
                raise Denied(_SENTENCE)
            if not self._is_free.is_set() and request.path not in _ALWAYS:
                if request.method not in _READ_METHODS:
                    raise Denied(HANDED_OVER)
                await self._is_free.wait()
                if self._has_begun:
                    raise Denied(_SENTENCE)
            task, limit = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.timeout(None)
            try:
                async with limit:
                    self._under_way[task] = request, limit
                    return await handler(request)
            except TimeoutError:
                if limit.expired():
                    raise Denied(self._sentence) from None
                raise
            finally:
                self.served += 1
                self._under_way.pop(task, None)

        return end_in_time

    @asynccontextmanager
    async def between_runs(self, seconds: float) -> AsyncIterator[None]:
        """Let reads wait for the block and refuse all else; before it, let end what is under way as `begin` does.

        Reads whose answer has begun go on.
        """
        self._is_free.clear()
        self._sentence = HANDED_OVER
        try:
            now, ending = asyncio.get_running_loop().time(), list[asyncio.Task[Any]]()
            for task, (request, limit) in self._under_way.items():
                has_begun = request.method in _READ_METHODS and request.writer.output_size
                if request.path not in _ALWAYS and not has_begun:
                    limit.reschedule(now + seconds if request.content.is_eof() else now)
                    ending.append(task)
            await asyncio.gather(*(asyncio.wait([each]) for each in ending))
            yield
        finally:
            self._sentence = _SENTENCE
            self._is_free.set()

    def begin(self, seconds: float) -> tuple[Collection[asyncio.Task[Any]], Collection[asyncio.Task[Any]]]:
        """Refuse new requests. What is still being sent to the relay ends at once, anything else after `seconds`.

        Return the tasks of requests that may change something, and those of all requests.
        """
        self._has_begun = True
        now = asyncio.get_running_loop().time()
        for request, limit in self._under_way.values():
            limit.reschedule(now + seconds if request.content.is_eof() else now)
        changing = [task for task, (request, _) in self._under_way.items() if request.method not in _READ_METHODS]
        return changing, list(self._under_way)
