"""The door to the threads, and the keeper of tasks."""

import asyncio
import threading

import pytest

from proxy.offload import Crew, offload


async def fail() -> None:
    raise ValueError("on purpose")


async def test_a_blocking_call_runs_in_another_thread() -> None:
    assert await offload(threading.get_ident) != threading.get_ident()
    assert await offload(int, "11", base=2) == 3


async def test_a_failure_comes_back_from_the_thread() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await offload(int, "x")


async def test_one_task_that_fails_leaves_the_others_alone() -> None:
    crew = Crew()
    failing, going_on = crew.start(fail()), crew.start(asyncio.sleep(0, "done"))

    with pytest.raises(ValueError, match="on purpose"):
        await failing
    assert await going_on == "done"


async def test_who_is_dismissed_has_ended() -> None:
    crew = Crew()
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = crew.start(work())
    await asyncio.sleep(0)

    await crew.dismiss()

    assert task.cancelled()
    assert ended == [True]
    await crew.dismiss()
