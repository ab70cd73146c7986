"""A guard against calls of the relay that block the event loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from blockbuster import BlockBuster, blockbuster_ctx
from coverage import Coverage

_ACQUIRE = "threading.Lock.acquire"


@contextmanager
def no_blocking() -> Iterator[None]:
    """Let a call of the relay that blocks the event loop fail within the block.

    Coverage is measured by all threads under one lock, for which it may wait anywhere.
    """
    with blockbuster_ctx("proxy") as guard:
        measuring = Coverage.current()
        if measuring and measuring._collector:
            _spare(guard, measuring._collector.data_lock)
        yield


def _spare(guard: BlockBuster, spared: Any) -> None:
    """Let everything wait for one lock."""
    acquire = guard.functions[_ACQUIRE]
    may_block = acquire.can_block_predicate

    def may_acquire(lock: Lock, *args: Any, **kwargs: Any) -> bool:
        return lock is spared or may_block(lock, *args, **kwargs)

    acquire.deactivate()
    acquire.can_block_predicate = may_acquire
    acquire.activate()
