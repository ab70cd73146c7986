"""Work that several requests wait for: once, to its end, and its failure told once."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from proxy.errors import Denied, StillUnderWay
from proxy.registry.singleflight import SingleFlight
from proxy.runtime.limits import Limits
from proxy.runtime.tasks import TaskSet
from tests.registry_harness import until


class Work:
    """Work that ends when the test says so."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = self.ended = 0
        self.gate = asyncio.Event()
        self.failure = failure

    async def __call__(self) -> None:
        self.begun += 1
        await self.gate.wait()
        self.ended += 1
        if self.failure:
            raise self.failure


@pytest.fixture
async def crew() -> AsyncIterator[TaskSet]:
    crew = TaskSet()
    yield crew
    await crew.cancel_all()


@pytest.fixture
def flights(crew: TaskSet) -> SingleFlight:
    return SingleFlight(crew)


@pytest.fixture
def hasty(crew: TaskSet) -> SingleFlight:
    return SingleFlight(crew, Limits(first_answer=0.001))


async def begun(work: Work) -> None:
    await until(lambda: work.begun)


async def told_to_come_again(flights: SingleFlight, work: Callable[[], Coroutine[None, None, None]]) -> None:
    with pytest.raises(StillUnderWay, match="repeat the request"):
        await flights.run("key", work)


async def test_requests_side_by_side_share_one_run_and_its_result(flights: SingleFlight) -> None:
    work = Work()
    joined = [asyncio.create_task(flights.run("key", work)) for _ in range(20)]
    await begun(work)

    work.gate.set()
    await asyncio.gather(*joined)

    assert work.ended == 1


async def test_different_keys_are_different_work(flights: SingleFlight) -> None:
    work = Work()
    work.gate.set()

    await asyncio.gather(*(flights.run(key, work) for key in range(5)))

    assert work.ended == 5


async def test_all_who_wait_hear_of_a_failure_and_the_next_request_starts_anew(flights: SingleFlight) -> None:
    failing, fine = Work(Denied("no")), Work()
    failing.gate.set()
    fine.gate.set()

    outcomes = await asyncio.gather(*(flights.run("key", failing) for _ in range(3)), return_exceptions=True)
    await flights.run("key", fine)

    assert [str(each) for each in outcomes] == ["no"] * 3
    assert (failing.begun, fine.ended) == (1, 1)


async def test_who_waits_too_long_is_told_to_come_again_and_joins_the_same_work(hasty: SingleFlight) -> None:
    work = Work()

    for _ in range(3):
        await told_to_come_again(hasty, work)
    work.gate.set()
    await hasty.run("key", work)

    assert work.begun == 1


async def test_after_eight_redirects_the_line_is_held(hasty: SingleFlight) -> None:
    work = Work()
    for _ in range(8):
        await told_to_come_again(hasty, work)

    held = asyncio.create_task(hasty.run("key", work))
    done, _ = await asyncio.wait({held}, timeout=0.05)
    assert not done

    work.gate.set()
    await held


async def test_requests_that_wait_side_by_side_count_as_one_redirect(hasty: SingleFlight) -> None:
    work = Work()

    for _ in range(4):
        outcomes = await asyncio.gather(*(hasty.run("key", work) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(each, StillUnderWay) for each in outcomes)

    for _ in range(4):
        await told_to_come_again(hasty, work)


async def test_a_failure_waits_for_its_request_and_is_told_once(hasty: SingleFlight) -> None:
    failing, fine = Work(Denied("no")), Work()
    await told_to_come_again(hasty, failing)
    failing.gate.set()
    await until(lambda: failing.ended)
    fine.gate.set()

    with pytest.raises(Denied, match="no"):
        await hasty.run("key", fine)
    await hasty.run("key", fine)

    assert (failing.begun, fine.begun) == (1, 1)


async def test_a_failure_that_nobody_comes_for_is_forgotten(crew: TaskSet) -> None:
    hasty = SingleFlight(crew, Limits(first_answer=0.0, result_kept=0.0))
    failing, fine = Work(Denied("no")), Work()
    await told_to_come_again(hasty, failing)
    failing.gate.set()
    await until(lambda: not hasty._flights)
    fine.gate.set()

    await hasty.run("key", fine)

    assert fine.ended == 1


async def test_a_success_that_nobody_received_is_not_taken_for_one_of_later_work(hasty: SingleFlight) -> None:
    first, second = Work(), Work()
    await told_to_come_again(hasty, first)
    first.gate.set()
    await until(lambda: first.ended)
    await asyncio.sleep(0)
    second.gate.set()

    await hasty.run("key", second)

    assert second.ended == 1


async def test_work_goes_on_when_every_client_has_left(flights: SingleFlight) -> None:
    work = Work()
    joined = asyncio.create_task(flights.run("key", work))
    await begun(work)

    joined.cancel()
    await asyncio.wait({joined})
    work.gate.set()

    assert await flights.wait("key", work)
    assert (work.begun, work.ended) == (1, 1)


@pytest.mark.parametrize("failure", [None, Denied("no")])
async def test_who_is_no_client_waits_to_the_end_and_hears_how_it_was(
    hasty: SingleFlight, failure: Exception | None
) -> None:
    work = Work(failure)
    asyncio.get_running_loop().call_later(0.01, work.gate.set)

    assert await hasty.wait("key", work) == (failure is None)
    assert await hasty.wait("key", work) == (failure is None)

    assert work.begun == 2


async def test_work_that_was_dismissed_has_not_succeeded(crew: TaskSet, flights: SingleFlight) -> None:
    work = Work()
    waiting = asyncio.create_task(flights.wait("key", work))
    await begun(work)

    await crew.cancel_all()

    assert not await waiting


async def test_a_failure_that_was_received_is_held_by_nobody(flights: SingleFlight) -> None:
    received: list[weakref.ref[Denied]] = []

    async def failing() -> None:
        failure = Denied("no")
        received.append(weakref.ref(failure))
        raise failure

    with pytest.raises(Denied):
        await flights.run("key", failing)
    gc.collect()

    assert [ref() for ref in received] == [None]
