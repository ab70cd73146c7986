"""The guard that lets tests fail when the relay blocks the event loop."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockingError

import proxy

_OF_RELAY = str(Path(proxy.__file__).with_name("anything.py"))


def waiting_for(lock: threading.Lock) -> Callable[[], bool]:
    """Return a call of the relay that waits for a lock and returns whether it has got it."""
    known: dict[str, Callable[[], bool]] = {"acquire": lambda: lock.acquire(timeout=5)}
    exec(compile("def call():\n    return acquire()", _OF_RELAY, "exec"), known)  # noqa: S102
    return known["call"]


async def test_a_call_of_the_relay_that_waits_for_a_lock_fails() -> None:
    lock = threading.Lock()
    lock.acquire()
    threading.Timer(0.2, lock.release).start()

    with pytest.raises(BlockingError):
        waiting_for(lock)()
