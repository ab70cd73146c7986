"""How far a transfer is, for all who follow it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.errors import Denied


class Reached:
    """What has come, in bytes or pieces; whoever waits for more learns by which `failure` the transfer ends."""

    def __init__(self) -> None:
        self._reached = 0.0
        self.failure: Exception | None = None
        self._news = asyncio.Event()

    async def until(self, wanted: int) -> None:
        """Wait until as much as is wanted has come. Raise what ended the transfer."""
        while self._reached < wanted:
            if self.failure:
                raise self.failure
            await self._news.wait()

    def advance(self, reached: float) -> None:
        """Publish how much there is now; infinity if no more will come."""
        self._reached = reached
        self._news.set()
        self._news = asyncio.Event()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Pass what is raised within the block to whoever waits: Denied where it is cancelled."""
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:
            self.failure = error if isinstance(error, Exception) else Denied("image-relay is stopping")
            self.advance(self._reached)
            raise
