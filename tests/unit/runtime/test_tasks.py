"""The door to the threads, and the keeper of tasks."""

import asyncio
import threading
from contextlib import aclosing
from functools import partial

import pytest

from proxy.runtime.tasks import Several, TaskSet, run_here, run_in_thread, run_many
from tests.registry_harness import until


async def fail() -> None:
    raise ValueError("on purpose")


async def test_a_blocking_call_runs_in_another_thread() -> None:
    assert await run_in_thread(threading.get_ident) != threading.get_ident()
    assert await run_in_thread(int, "11", base=2) == 3


async def test_a_failure_comes_back_from_the_thread() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await run_in_thread(int, "x")


async def test_work_that_only_reads_runs_in_the_thread_that_it_was_given_to() -> None:
    async def where() -> list[int]:
        return [await run_in_thread(threading.get_ident), await run_in_thread(threading.get_ident)]

    def both() -> tuple[int, list[int]]:
        return threading.get_ident(), run_here(where())

    thread, used = await run_in_thread(both)

    assert used == [thread, thread]
    assert threading.get_ident() not in await where()  # the loop goes to threads as ever


async def test_of_many_works_those_that_fail_or_wait_for_the_loop_are_left_out() -> None:
    threads = set[int]()

    async def double(number: int) -> int:
        threads.add(await run_in_thread(threading.get_ident))
        if number == 7:
            raise ValueError("on purpose")
        if number == 60:
            await asyncio.sleep(0)
        return 2 * number

    batches = [batch async for batch in run_many(double, range(120), (ValueError,))]

    assert [each for batch in batches for each in batch] == [(i, 2 * i) for i in range(120) if i not in {7, 60}]
    assert len(batches) == 3  # between which the loop does something else
    assert threading.get_ident() not in threads
    with pytest.raises(ValueError, match="on purpose"):
        [batch async for batch in run_many(double, [7], (KeyError,))]


async def test_work_that_fails_or_waits_for_the_loop_ends_and_the_thread_goes_on() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append("waits")

    def each() -> int:
        with pytest.raises(ValueError, match="on purpose"):
            run_here(fail())
        with pytest.raises(RuntimeError, match="waits for the loop"):
            run_here(waits())
        return run_here(run_in_thread(int, "11", base=2))

    assert await run_in_thread(each) == 3
    assert ended == ["waits"]


async def test_one_task_that_fails_leaves_the_others_alone() -> None:
    crew = TaskSet()
    failing, going_on = crew.spawn(fail()), crew.spawn(asyncio.sleep(0, "done"))

    with pytest.raises(ValueError, match="on purpose"):
        await failing
    assert await going_on == "done"


async def test_who_is_dismissed_has_ended() -> None:
    crew = TaskSet()
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    task = crew.spawn(work())
    await asyncio.sleep(0)

    await crew.cancel_all()

    assert task.cancelled()
    assert ended == [True]
    await crew.cancel_all()


async def test_works_begin_one_two_four_at_once_and_those_that_are_not_wanted_any_more_are_cancelled() -> None:
    gates = [asyncio.Event() for _ in range(9)]
    begun, cancelled = list[int](), list[int]()

    async def work(number: int) -> int:
        begun.append(number)
        try:
            await gates[number].wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async with aclosing(Several[int](4).ended(partial(work, number) for number in range(9))) as tasks:
        for number, expected in ((0, [0]), (1, [0, 1, 2]), (2, [0, 1, 2, 3, 4, 5])):
            coming = asyncio.ensure_future(anext(tasks))
            await until(partial(begun.__eq__, expected))
            gates[number].set()
            assert (await coming).result() == number

    assert sorted(cancelled) == [3, 4, 5]


async def test_a_work_that_fails_takes_no_other_with_it_and_one_that_hangs_does_not_hold_the_others_up() -> None:
    never = asyncio.Event()

    async def work(number: int) -> int:
        if number == 0:
            await never.wait()
        if number == 1:
            raise ValueError("one")
        return number

    done = list[object]()
    async with aclosing(Several[int](4).ended(partial(work, number) for number in range(5))) as tasks:
        async for task in tasks:
            done.append(task.exception() or task.result())
            if len(done) == 4:
                break

    assert sorted(str(each) for each in done) == ["2", "3", "4", "one"]


async def test_all_who_ask_share_the_limit() -> None:
    under_way, most = 0, 0

    async def work() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    several = Several[None](3)

    async def all_of_them() -> int:
        async with aclosing(several.ended([work] * 10)) as tasks:
            return len([task async for task in tasks])

    assert await asyncio.gather(*(all_of_them() for _ in range(4))) == [10] * 4
    assert most == 3
