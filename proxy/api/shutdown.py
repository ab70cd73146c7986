"""The end of the relay, as its clients see it: nothing new is taken, and what is under way ends in time.

`docker stop` kills after ten seconds, so nobody may keep the relay from storing what is pending: not a client that does
not read, nor one that sends for hours.
"""

import asyncio
from collections.abc import Collection
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.errors import Denied

_READING = frozenset({"GET", "HEAD"})
_SENTENCE = "image-relay is stopping: repeat this once it runs again"


class Shutdown:
    """Requests under way and before, and whether new ones are refused."""

    def __init__(self) -> None:
        self.served = 0  # requests so far
        self._has_begun = False
        self._under_way: dict[asyncio.Task[Any], tuple[web.Request, asyncio.Timeout]] = {}

    @property
    def is_idle(self) -> bool:
        """Return whether no request is under way."""
        return not self._under_way

    @property
    def middleware(self) -> Middleware:
        """Give what every request passes before anything is done for it: DENIED once the end has begun."""

        @web.middleware
        async def end_in_time(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._has_begun:
                raise Denied(_SENTENCE)
            task, limit = cast("asyncio.Task[Any]", asyncio.current_task()), asyncio.timeout(None)
            try:
                async with limit:
                    self._under_way[task] = request, limit
                    return await handler(request)
            except TimeoutError:
                if limit.expired():
                    raise Denied(_SENTENCE) from None
                raise
            finally:
                self.served += 1
                self._under_way.pop(task, None)

        return end_in_time

    def begin(self, seconds: float) -> tuple[Collection[asyncio.Task[Any]], Collection[asyncio.Task[Any]]]:
        """Refuse new requests. What is still being sent to the relay ends at once, anything else after `seconds`.

        Return the tasks of requests that may change something, and those of all requests.
        """
        self._has_begun = True
        now = asyncio.get_running_loop().time()
        for request, limit in self._under_way.values():
            limit.reschedule(now + seconds if request.content.is_eof() else now)
        changing = [task for task, (request, _) in self._under_way.items() if request.method not in _READING]
        return changing, list(self._under_way)
