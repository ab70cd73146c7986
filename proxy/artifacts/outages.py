"""What failed for as long as anybody is patient is not waited for again at once: whoever reads is told so.

Whoever writes tries all the same: a push that another try would save is never refused.
"""

import time
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from proxy.artifacts.retry import RetryableError

T = TypeVar("T")

CURRENT_READER: ContextVar[object | None] = ContextVar("CURRENT_READER", default=None)
"""An object of the request for which this runs, if that only reads and can be repeated at no cost; else None."""


@dataclass(slots=True)
class _Outage:
    """What went wrong, until when no read tries it again (monotonic seconds), and which one does now."""

    message: str
    until: float
    tried_by: object | None = None


class Outages:
    """Remembers failures for `rest` seconds: by host, if it cannot be reached, and else by what was asked of it."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._known: dict[Hashable, _Outage] = {}

    async def run(self, host: Hashable, request: Hashable, work: Callable[[bool], Awaitable[T]]) -> T:
        """Do the work, unless it is known to fail; what it raises as RetryableError is remembered.

        It is told whether it is the probe of what failed before, and should not try often.
        """
        with self._admitted([self._known[key] for key in (host, (host, request)) if key in self._known]) as is_probe:
            try:
                result = await work(is_probe)
            except RetryableError as fault:
                now = time.monotonic()
                self._known = {key: each for key, each in self._known.items() if each.until + self._rest > now}
                self._known[host if fault.unreachable else (host, request)] = _Outage(str(fault), now + self._rest)
                raise
            self._known.pop(host, None)
            self._known.pop((host, request), None)
            return result

    @contextmanager
    def _admitted(self, known: list[_Outage]) -> Iterator[bool]:
        """Let one through within the block, and all that write; raise RetryableError for others, who read.

        One that reads several ranges side by side is let through with all of them.
        """
        reader = CURRENT_READER.get()
        if reader is None:  # a write may take minutes, in which it tells nothing
            yield False
            return
        for each in known:
            if each.tried_by is not reader and (each.tried_by is not None or time.monotonic() < each.until):
                raise RetryableError(each.message)
        for each in known:
            each.tried_by = reader
        try:
            yield bool(known)
        finally:
            for each in known:
                each.tried_by = None
