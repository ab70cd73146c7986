"""How long something is waited for that other machines do, over all tries, and for as long as bytes move."""

import asyncio
import math
from types import TracebackType


class Patience:
    """Time that ends so many seconds after it was first looked at, or after something last moved."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None
        self._limits: set[asyncio.Timeout] = set()

    @property
    def left(self) -> float:
        """Return how many seconds are left."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._seconds
        return self._until - now

    def moved(self) -> None:
        """Begin anew: something has moved."""
        self._until = asyncio.get_running_loop().time() + self._seconds
        for each in self._limits:
            if not each.expired():
                each.reschedule(self._until)

    def limit(self) -> "Limit":
        """Return a context in which TimeoutError is raised when the time is over."""
        left = self.left
        return Limit(self._limits, asyncio.timeout(None if math.isinf(left) else left))


class Limit:
    """A block that ends with the patience of somebody."""

    def __init__(self, limits: set[asyncio.Timeout], timeout: asyncio.Timeout) -> None:
        self._limits = limits
        self._timeout = timeout

    @property
    def is_over(self) -> bool:
        """Return whether it has ended the block."""
        return self._timeout.expired()

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._limits.add(self._timeout)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._limits.discard(self._timeout)
        await self._timeout.__aexit__(kind, error, at)
