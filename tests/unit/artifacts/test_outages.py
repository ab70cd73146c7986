"""What is known to fail, and who tries it all the same."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from proxy.artifacts.outages import CURRENT_READER, Outages
from proxy.artifacts.retry import RetryableError

HOST = "storage"
LONG = 3600.0


class Service:
    """Work that fails until it is mended; counts how often it was tried, and by whom as the only one."""

    def __init__(self, *, unreachable: bool = False) -> None:
        self.tries = self.probes = 0
        self.is_dead = True
        self.unreachable = unreachable

    async def __call__(self, is_probe: bool) -> str:
        self.tries += 1
        self.probes += is_probe
        await asyncio.sleep(0)
        if self.is_dead:
            raise RetryableError("it is dead", unreachable=self.unreachable)
        return "answer"


@contextmanager
def reading() -> Iterator[None]:
    token = CURRENT_READER.set(object())
    try:
        yield
    finally:
        CURRENT_READER.reset(token)


async def failed(outages: Outages, request: str, service: Callable[[bool], Awaitable[str]]) -> bool:
    try:
        return await outages.run(HOST, request, service) != "answer"
    except RetryableError as error:
        return str(error) == "it is dead"


async def test_a_read_is_told_at_once_what_has_just_failed() -> None:
    outages, service = Outages(LONG), Service()

    with reading():
        assert [await failed(outages, "list", service) for _ in range(5)] == [True] * 5

    assert service.tries == 1


async def test_a_write_is_tried_and_tells_reads_that_all_is_well() -> None:
    outages, service = Outages(LONG), Service()
    assert await failed(outages, "list", service)
    service.is_dead = False

    assert not await failed(outages, "list", service)
    with reading():
        assert not await failed(outages, "list", service)

    assert service.tries == 3
    assert not service.probes


async def test_after_a_while_one_read_is_let_through() -> None:
    outages, service = Outages(0.0), Service()
    assert await failed(outages, "list", service)

    async def read() -> bool:
        with reading():
            return await failed(outages, "list", service)

    await asyncio.gather(*(read() for _ in range(5)))

    assert (service.tries, service.probes) == (2, 1)


async def test_the_ranges_of_one_read_are_let_through_together() -> None:
    outages, service = Outages(0.0), Service()
    assert await failed(outages, "range", service)
    service.is_dead = False

    with reading():
        assert not any(await asyncio.gather(*(failed(outages, "range", service) for _ in range(5))))

    assert service.tries == 6


async def test_a_write_that_takes_long_keeps_no_read_from_trying() -> None:
    outages, service, go_on = Outages(0.0), Service(unreachable=True), asyncio.Event()
    assert await failed(outages, "list", service)
    service.is_dead = False

    async def finalized(_: bool) -> str:
        await go_on.wait()
        return "answer"

    writing = asyncio.ensure_future(failed(outages, "finalize", finalized))
    await asyncio.sleep(0)
    with reading():
        assert not await failed(outages, "list", service)
    go_on.set()

    assert not await writing


async def test_a_read_that_is_cancelled_lets_the_next_one_through() -> None:
    outages, service = Outages(0.0), Service()
    assert await failed(outages, "list", service)
    with reading():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await outages.run(HOST, "list", lambda _: asyncio.Event().wait())

        assert await failed(outages, "list", service)

    assert (service.tries, service.probes) == (2, 1)


async def test_other_requests_go_through_unless_the_host_cannot_be_reached() -> None:
    outages, list_, sign = Outages(LONG), Service(), Service(unreachable=True)
    with reading():
        assert await failed(outages, "list", list_)
        assert await failed(outages, "sign", sign)
        assert await failed(outages, "delete", list_)

    assert (list_.tries, sign.tries) == (1, 1)
