"""The connection of a client, written to without the buffer of asyncio: pieces are neither cut up nor copied for it."""

import asyncio
import os
import select
import socket

from aiohttp import web
from aiohttp.http import StreamWriter

_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


def has_left(request: web.Request) -> bool:
    """Return whether a client has closed its connection, also if nothing is read of it and asyncio does not see it."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _GONE)
    return bool(poll.poll(0))


class ClientLine:
    """Takes the bytes of the body of one answer, whose head the response has been given. Close it at the end."""

    def __init__(self, request: web.Request) -> None:
        transport, writer = request.transport, request.writer
        if transport is None or not isinstance(writer, StreamWriter):
            raise ConnectionResetError("the client has left")
        self._transport = transport
        self._writer = writer
        self._writer.send_headers()
        # A descriptor of its own: it cannot be closed and given to another connection in the middle of an answer.
        self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        self._socket.setblocking(False)

    def send(self, views: list[memoryview]) -> int:
        """Send as much as the connection takes at once, take that out of `views`, and return how many bytes it was."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        if self._transport.get_write_buffer_size():  # the head, or the end of the answer before, has to go first
            return 0
        try:
            sent = left = self._socket.sendmsg(views)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self._transport.abort()
            raise
        self._writer.output_size += sent
        while views and left >= len(views[0]):
            left -= len(views.pop(0))
        if views:
            views[0] = views[0][left:]
        return sent

    async def takes_more(self, patience: float) -> bool:
        """Wait until the connection takes more bytes or has ended; return whether `patience` seconds were enough."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        number = self._socket.fileno()  # of a socket itself the selector would ask the kernel for both addresses
        loop.add_writer(number, ready.set)
        try:
            async with asyncio.timeout(patience):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_writer(number)
        return True

    def close(self) -> None:
        """Let go of the connection, which stays open for the next request."""
        self._socket.close()
