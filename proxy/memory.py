"""The budget for buffers in flight.

Every stream always owns one piece without asking: nobody ever waits for memory, so nothing can deadlock. What a stream
wants beyond that, to read or write ahead, is taken here while there is some and done without where there is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Memory:
    """Counts the bytes that streams hold beyond their first piece."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    @contextmanager
    def beyond(self, amount: int, most: int = 1) -> Iterator[int]:
        """Take `amount` bytes for the block, up to `most` times as there are any; gives how many times."""
        times = max(0, min(most, self._free // amount))
        self._free -= times * amount
        try:
            yield times
        finally:
            self._free += times * amount
