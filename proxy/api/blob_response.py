"""The body of an answer with bytes of a blob, at the pace of its client.

While a client reads nothing its piece is released, and read again when the client goes on; a client that reads nothing
for minutes is disconnected. So many clients that do not read hold no more memory than their connections buffer, and
nobody waits for a slow one. If the first bytes take long, the head goes ahead of them: clients wait longer for a body.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

from aiohttp import web

from proxy.api.client_line import ClientLine
from proxy.api.keys import BEGAN
from proxy.api.services import SERVICES
from proxy.archive.pieces import covering
from proxy.blob import Blob, piece_of, read_plain, within_reach
from proxy.errors import Stalled
from proxy.registry.upstream_transfers import UpstreamTransfer
from proxy.runtime.tasks import TaskSet
from proxy.text import counted


async def write(response: web.StreamResponse, part: bytes | memoryview, stall: float) -> None:
    """Write a part. Raise Stalled if the client does not take it in time; nothing can be written after that."""
    try:
        async with asyncio.timeout(stall):
            await response.write(part)
    except TimeoutError as error:
        raise _stalled(stall) from error


def _stalled(stall: float) -> Stalled:
    return Stalled(f"the client has read nothing for {counted(stall, 'second')}")


class Sending:
    """One body that is being sent; `went` is called with the number of bytes written to the connection."""

    def __init__(self, request: web.Request, response: web.StreamResponse, went: Callable[[int], None]) -> None:
        services = request.app[SERVICES]
        self._request = request
        self._response = response
        self._limits = services.limits
        self._memory = services.memory
        self._turns = services.memory.turns(local=True)
        self._pause = services.limits.reader_pause
        self._went = went
        self._tasks = TaskSet()
        self._line: ClientLine | None = None
        self._paused = False  # has the client taken nothing for a moment?

    async def send(self, blob: Blob, start: int, stop: int) -> None:
        """Send the plain bytes [start, stop); the head is sent with the first of them.

        So the client gets a readable error when the first piece of a blob is damaged.
        """
        if not blob.source.is_local:
            self._turns, self._pause = self._memory.turns(local=False), self._limits.remote_pause
        async with self._under_way():
            await self._send(blob, start, stop)

    async def follow(self, transfer: UpstreamTransfer, start: int, stop: int) -> None:
        """Send the plain bytes [start, stop) of a blob that is arriving, as `send` does."""
        async with self._under_way():
            async for part, first, last in transfer.parts(start, stop):
                await self._send(part, first, last)

    @asynccontextmanager
    async def _under_way(self) -> AsyncIterator[None]:
        """Send the head in time, and let go of the connection at the end."""
        # a client would not wait longer for the head; sent twice it goes once
        head = asyncio.get_running_loop().call_at(self._request[BEGAN] + self._limits.first_answer, self._send_head)
        try:
            yield
        finally:
            head.cancel()
            await self._tasks.cancel_all()
            if self._line:
                self._line.close()

    async def _send(self, blob: Blob, start: int, stop: int) -> None:
        async with aclosing(read_plain(blob, start, stop, self._memory)) as pieces:
            for extent in covering(blob.pieces, start, stop):
                await within_reach(blob, extent)  # without a turn: storage may take its time
                start = await self._send_piece(pieces, blob, start)
            async for _ in pieces:  # of an empty blob there is nothing but its digest to check
                pass

    def _send_head(self) -> None:
        _ = self._tasks.spawn(self._response.prepare(self._request))

    async def _send_piece(self, pieces: AsyncGenerator[list[memoryview]], blob: Blob, start: int) -> int:
        """Send the next piece; return where the one after it starts."""
        async with self._turns:
            views = await anext(pieces)
            stop = start + sum(map(len, views))
            line = await self._opened()
            start = await self._write(line, views, start)
        while self._paused:
            if not await line.takes_more(self._limits.body_stall):
                raise _stalled(self._limits.body_stall)
            self._paused = False
            if start < stop:
                async with self._turns:
                    start = await self._write(line, await piece_of(blob, start, stop), start)
        return start

    async def _opened(self) -> ClientLine:
        """Return the connection, to which the head was given."""
        if self._line is None:
            await self._response.prepare(self._request)
            self._line = ClientLine(self._request)
        return self._line

    async def _write(self, line: ClientLine, views: list[memoryview], start: int) -> int:
        """Write until the client pauses, and release what is left then; return where that begins."""
        while views and not self._paused:
            sent = line.send(views)
            self._went(sent)
            start += sent
            self._paused = bool(views) and not await line.takes_more(self._pause)
        views.clear()
        return start
