"""The guard that lets tests fail when the relay blocks the event loop."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType

import pytest
from blockbuster import BlockingError

import proxy

_OF_RELAY = str(Path(proxy.__file__).with_name("anything.py"))
_OF_COVERAGE = "site-packages/coverage/collector.py"


def compiled(source: str, file: str) -> CodeType:
    return compile(source, file, "exec")


def acquiring(file: str) -> Callable[[], object]:
    """Return a call of the relay that waits for a lock in a function of a file."""
    lock = threading.Lock()
    lock.acquire()
    known: dict[str, Callable[[], object]] = {"acquire": lambda: lock.acquire(timeout=0.01)}
    exec(compiled("def lock_data():\n    acquire()", file), known)  # noqa: S102
    exec(compiled("def call():\n    lock_data()", _OF_RELAY), known)  # noqa: S102
    return known["call"]


async def test_a_call_of_the_relay_that_waits_for_a_lock_fails() -> None:
    with pytest.raises(BlockingError):
        acquiring(_OF_RELAY)()


async def test_coverage_may_wait_for_its_own_lock() -> None:
    acquiring(_OF_COVERAGE)()
