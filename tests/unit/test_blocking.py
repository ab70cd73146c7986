"""The guard that lets tests fail when the relay blocks the event loop."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blockbuster import BlockingError
from coverage import Coverage

import proxy
from tests.blocking import no_blocking

_ROOT = Path(proxy.__file__).parents[1]
_OF_RELAY = str(Path(proxy.__file__).with_name("anything.py"))
_MEASURED = "from tests.unit.test_blocking import wait_while_measured; wait_while_measured()"


def waiting_for(lock: threading.Lock) -> Callable[[], bool]:
    """Return a call of the relay that waits for a lock and returns whether it has got it."""
    known: dict[str, Callable[[], bool]] = {"acquire": lambda: lock.acquire(timeout=5)}
    exec(compile("def call():\n    return acquire()", _OF_RELAY, "exec"), known)  # noqa: S102
    return known["call"]


async def wait_for(lock: threading.Lock) -> bool:
    """Wait for a lock that somebody else has for a moment."""
    call = waiting_for(lock)
    lock.acquire()
    threading.Timer(0.2, lock.release).start()
    with no_blocking():
        return call()


def wait_while_measured() -> None:
    """Wait for another lock, and for that of coverage, in a process of its own whose coverage is measured."""
    measuring = Coverage(data_file=None)
    measuring.start()
    with pytest.raises(BlockingError):
        asyncio.run(wait_for(threading.Lock()))
    collector = measuring._collector
    assert collector
    assert collector.data_lock
    assert asyncio.run(wait_for(collector.data_lock))


async def test_a_call_of_the_relay_that_waits_for_a_lock_fails() -> None:
    with pytest.raises(BlockingError):
        await wait_for(threading.Lock())


def test_coverage_may_wait_for_its_own_lock_and_for_no_other_one() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURED], cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
