"""When to try again, and how long to wait: a table, and a clock that the test holds."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from proxy.artifacts.retry import OutOfTime, RetryableError, is_retryable, retry, retry_after
from proxy.runtime.limits import BLOBS, CALLS, Policy, Timeouts
from proxy.runtime.patience import Patience


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - no secret


@pytest.mark.parametrize("policy", [CALLS, BLOBS])
@pytest.mark.parametrize("seed", range(20))
def test_in_production_at_least_five_tries_begin_while_there_is_patience(policy: Policy, seed: int) -> None:
    waits = list(policy.backoff(dice(seed)))

    assert sum(waits[:4]) < Timeouts().patience < 60 < sum(waits)


def test_waits_grow_up_to_the_longest_and_differ_from_job_to_job() -> None:
    policy = Policy(attempts=6, first=1, factor=2, longest=5)

    for low, wait in zip([1, 2, 4, 5, 5], policy.backoff(dice(1)), strict=True):
        assert 0.75 * low <= wait <= 1.25 * low
    assert list(policy.backoff(dice(1))) != list(policy.backoff(dice(2)))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 529])
def test_what_may_pass_is_worth_another_try(status: int) -> None:
    assert is_retryable(status)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 413, 501])
def test_what_stays_as_it_is_is_not(status: int) -> None:
    assert not is_retryable(status)


def test_a_403_is_a_fault_unless_it_names_the_quota() -> None:
    assert is_retryable(403, 'Error from intermediary with HTTP status code 403 "Forbidden"')
    assert not is_retryable(403, "insufficient usage to create artifact")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("86400", 30),
        ("", 0),
        ("soon", 0),
        ("-3", 0),
        ("٣", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_read_and_bounded(text: str, seconds: float) -> None:
    assert retry_after({"Retry-After": text} if text else {}) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
@pytest.mark.parametrize("ahead", [0, -3600, 86_400], ids=str)
def test_retry_after_may_be_a_date_by_the_clock_of_the_server(zone: str, ahead: int) -> None:
    now = datetime.now(UTC) + timedelta(seconds=ahead)
    sent, until = (
        format_datetime(each, usegmt=True).replace("GMT", zone) for each in (now, now + timedelta(seconds=30))
    )

    assert 20 < retry_after({"Retry-After": until, "Date": sent}) <= 30
    assert ahead or 20 < retry_after({"Retry-After": until}) <= 30


async def test_patience_ends_with_the_last_fault() -> None:
    tries = 0

    async def attempt() -> None:
        nonlocal tries
        tries += 1
        raise RetryableError(f"fault {tries}")

    with pytest.raises(RetryableError, match="fault 3"):
        await retry(Policy(attempts=3, first=0.0), dice(1), attempt)


async def test_what_is_no_fault_is_not_tried_again() -> None:
    async def attempt() -> None:
        raise LookupError("for good")

    with pytest.raises(LookupError):
        await retry(Policy(), dice(1), attempt)


async def test_the_longer_of_two_waits_is_kept() -> None:
    began = asyncio.get_running_loop().time()
    faults = [RetryableError("busy", wait=0.05)]

    async def attempt() -> float:
        if faults:
            raise faults.pop()
        return asyncio.get_running_loop().time() - began

    assert await retry(Policy(first=0.0), dice(1), attempt) >= 0.05


async def test_a_try_that_hangs_is_over_with_the_patience_for_all_tries() -> None:
    with pytest.raises(OutOfTime, match="no answer within the time limit"):
        await retry(Policy(first=0.0), dice(1), asyncio.Event().wait, patience=Patience(0.01))


async def test_nobody_waits_for_a_try_that_would_come_too_late() -> None:
    async def attempt() -> None:
        raise RetryableError("busy", wait=30.0)

    with pytest.raises(OutOfTime, match="busy"):
        await retry(Policy(first=0.0), dice(1), attempt, patience=Patience(10.0))


async def test_what_moves_has_all_the_time() -> None:
    patience = Patience(0.2)

    async def attempt() -> str:
        for _ in range(10):
            await asyncio.sleep(0.05)
            patience.moved()
        return "whole"

    assert await retry(Policy(first=0.0), dice(1), attempt, patience=patience) == "whole"


async def test_a_time_limit_of_the_attempt_itself_is_not_taken_for_the_end_of_patience() -> None:
    async def attempt() -> None:
        raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else"):
        await retry(Policy(first=0.0), dice(1), attempt, patience=Patience(10.0))
