"""The body of an answer with bytes of a blob, at the pace of its client.

While a client reads nothing its piece is released, and read again when the client goes on; a client that reads nothing
for minutes is disconnected. So many clients that do not read hold no more memory than their connections buffer.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from aiohttp import web

from proxy.api.services import SERVICES
from proxy.archive.pieces import covering
from proxy.blob import Blob, piece_of, read_plain, within_reach
from proxy.errors import Stalled
from proxy.runtime.tasks import TaskSet

if TYPE_CHECKING:
    from aiohttp.http import StreamWriter

_SLICE = 256 * 1024  # bytes written to the connection at once: as many as a socket buffers
_BUFFERED = 64 * 1024  # bytes in the buffer of a connection, above which asyncio asks to wait


async def write(response: web.StreamResponse, part: bytes | memoryview, stall: float) -> None:
    """Write a part. Raise Stalled if the client does not take it in time; nothing can be written after that."""
    try:
        async with asyncio.timeout(stall):
            await response.write(part)
    except TimeoutError as error:
        raise _stalled(stall) from error


def _stalled(stall: float) -> Stalled:
    return Stalled(f"the client has read nothing for {stall:g} seconds")


class Sending:
    """One body that is being sent; `went` is called with the number of bytes written to the connection."""

    def __init__(self, request: web.Request, response: web.StreamResponse, went: Callable[[int], None]) -> None:
        services = request.app[SERVICES]
        self._request = request
        self._response = response
        self._limits = services.limits
        self._memory = services.memory
        self._went = went
        self._tasks = TaskSet()
        self._draining: asyncio.Task[None] | None = None

    async def send(self, blob: Blob, start: int, stop: int) -> None:
        """Send the plain bytes [start, stop); the head is sent with the first of them.

        So the client gets a readable error when the first piece of a blob is damaged.
        """
        try:
            async with aclosing(read_plain(blob, start, stop, self._memory)) as pieces:
                for extent in covering(blob.pieces, start, stop):
                    await within_reach(blob, extent)  # without a turn: storage may take its time
                    start = await self._send_piece(pieces, blob, start)
                async for _ in pieces:  # of an empty blob there is nothing but its digest to check
                    pass
        finally:
            await self._tasks.cancel_all()

    async def _send_piece(self, pieces: AsyncGenerator[list[memoryview]], blob: Blob, start: int) -> int:
        """Send the next piece; return where the one after it starts."""
        async with self._memory.slots:
            views = await anext(pieces)
            stop = start + sum(map(len, views))
            start = await self._write(views, start)
        while self._draining:
            if not await self._drained(self._limits.body_stall):
                raise _stalled(self._limits.body_stall)
            if start < stop:
                async with self._memory.slots:
                    start = await self._write(await piece_of(blob, start, stop), start)
        return start

    async def _write(self, views: list[memoryview], start: int) -> int:
        """Write until the client pauses, and release what is left then; return where that begins."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
        writer = cast("StreamWriter", self._request.writer)
        for part in (view[at : at + _SLICE] for view in views for at in range(0, len(view), _SLICE)):
            await writer.write(part, drain=False)  # aiohttp's waiting does not survive a time limit
            self._went(len(part))
            start += len(part)
            transport = self._request.transport
            full = transport is not None and transport.get_write_buffer_size() > _BUFFERED
            if full and not await self._drained(self._limits.reader_pause):
                break
        views.clear()
        return start

    async def _drained(self, patience: float) -> bool:
        """Wait for the client to take what is in the buffer; return whether it did within `patience` seconds."""
        if self._draining is None:
            self._draining = self._tasks.spawn(self._request.writer.drain())
        done, _ = await asyncio.wait({self._draining}, timeout=patience)
        if not done:
            return False
        drained, self._draining = self._draining, None
        drained.result()
        return True
