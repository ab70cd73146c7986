"""A guard against calls of the relay that block the event loop."""

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx


@contextmanager
def no_blocking() -> Iterator[None]:
    """Let a call of the relay that blocks the event loop fail within the block.

    Coverage is measured by all threads under one lock, for which it may wait anywhere.
    """
    with blockbuster_ctx("proxy") as guard:
        guard.functions["threading.Lock.acquire"].can_block_in("coverage/collector.py", "lock_data")
        yield
