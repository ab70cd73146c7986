"""Every fault, as a client meets it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import (
    Answer,
    BodyReset,
    BodyStall,
    Corrupt,
    Delay,
    RangeIgnored,
    Reset,
    Truncated,
    UploadReset,
    WrongContentRange,
    burnt_name,
    edge_page,
    intermediary,
    no_storage_left,
    rate_limited,
    twirp_error,
)
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.kinds import RESULTS
from tests.fakes.actions.options import Flavour
from tests.unit.fakes.caller import Caller

CONTENT = bytes(range(256)) * 4096  # 1 MiB
RANGE = "bytes=1000-500999"
PART = CONTENT[1000:501000]


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture
def caller(actions: Emulator) -> Caller:
    return Caller(actions)


async def uploaded(caller: Caller) -> str:
    await caller.upload("name", CONTENT)
    return await caller.sign("name")


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (no_storage_left(), 403, "insufficient usage"),
        (intermediary(), 403, "Error from intermediary with HTTP status code 403"),
        (rate_limited(7), 429, "rate limit"),
        (edge_page(), 502, "<!DOCTYPE html>"),
        (twirp_error(500, "internal", "oops"), 500, "oops"),
    ],
)
@pytest.mark.parametrize("method", RESULTS)
async def test_a_call_is_answered_otherwise(
    actions: Emulator, caller: Caller, method: str, fault: Answer, status: int, text: str
) -> None:
    actions.plan.play(method, fault)

    answer = await caller.call(method, name="name", version=4)

    assert (answer.status, answer.headers.get("Retry-After")) == (status, "7" if status == 429 else None)
    assert text in answer.text
    assert not actions.ledger.records


async def test_a_create_that_fails_can_burn_its_name(actions: Emulator, caller: Caller) -> None:
    actions.plan.play("CreateArtifact", burnt_name())

    assert (await caller.call("CreateArtifact", name="name", version=4)).status == 500

    assert (await caller.call("CreateArtifact", name="name", version=4)).status == 409
    assert await caller.names() == []


async def test_a_finalize_can_take_effect_and_its_answer_be_lost(actions: Emulator, caller: Caller) -> None:
    actions.plan.play("FinalizeArtifact", Reset(effect=True))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.upload("name", CONTENT)

    assert await caller.names() == ["name"]


@pytest.mark.parametrize("kind", ["ListArtifacts", "put_block", "get_range", "get_whole"])
async def test_a_connection_is_reset_before_anything_happens(actions: Emulator, caller: Caller, kind: str) -> None:
    url = await uploaded(caller)
    other = await caller.create("other")
    actions.plan.play(kind, Reset())

    requests = {
        "ListArtifacts": lambda: caller.call("ListArtifacts"),
        "put_block": lambda: caller.put_block(other, 0, CONTENT),
        "get_range": lambda: caller.send("GET", url, Range=RANGE),
        "get_whole": lambda: caller.send("GET", url),
    }
    with pytest.raises(aiohttp.ClientConnectionError):
        await requests[kind]()


async def test_bursts_end_after_as_many_as_were_planned(actions: Emulator, caller: Caller) -> None:
    url = await caller.create("name")
    actions.plan.play("put_block", Answer(503), times=2, skip=1)

    statuses = [(await caller.put_block(url, number, b"x")).status for number in range(4)]

    assert statuses == [201, 503, 503, 201]
    assert (await caller.commit(url, 1)).status == 400, "a refused block is not there"


async def test_a_block_can_arrive_and_its_answer_be_lost(actions: Emulator, caller: Caller) -> None:
    url = await caller.create("name")
    actions.plan.play("put_block", Answer(500, effect=True))

    assert (await caller.put_block(url, 0, CONTENT)).status == 500

    assert (await caller.commit(url, 0)).status == 201
    assert (await caller.finalize("name", CONTENT)).status == 200


async def test_an_upload_is_reset_in_the_middle_of_a_block(actions: Emulator, caller: Caller) -> None:
    url = await caller.create("name")
    actions.plan.play("put_block", UploadReset(at=500_000))

    with pytest.raises(aiohttp.ClientConnectionError):
        await caller.put_block(url, 0, CONTENT)

    assert (await caller.commit(url, 0)).status == 400
    assert 0 < actions.traffic.received["put_block"] < len(CONTENT) + 1


@pytest.mark.parametrize("effect", [False, True])
async def test_a_commit_takes_its_time(actions: Emulator, caller: Caller, effect: bool) -> None:
    actions.plan.play("put_block_list", Delay(0.3, effect))
    started = time.monotonic()

    assert (await caller.upload("name", CONTENT)).status == 200

    assert time.monotonic() - started >= 0.3


async def test_a_body_is_cut_short_by_the_line(actions: Emulator, caller: Caller) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", Truncated(at=1000))

    with pytest.raises(aiohttp.ClientPayloadError):
        await caller.send("GET", url, Range=RANGE)

    assert actions.traffic.sent["get_range"] == 1000


async def test_a_body_is_shorter_than_its_place_but_as_long_as_its_head_says(actions: Emulator, caller: Caller) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", Truncated(at=1000, agreed=True))

    answer = await caller.send("GET", url, Range=RANGE)

    assert (answer.status, answer.body) == (206, PART[:1000])
    assert answer.headers["Content-Range"] == f"bytes 1000-500999/{len(CONTENT)}"


async def test_a_body_is_reset_in_the_middle(actions: Emulator, caller: Caller) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_*", BodyReset(at=100_000))

    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientConnectionError)):
        await caller.send("GET", url, Range=RANGE)


async def test_a_body_pauses_and_goes_on(actions: Emulator, caller: Caller) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", BodyStall(at=1000, seconds=0.3))
    started = time.monotonic()

    answer = await caller.send("GET", url, Range=RANGE)

    assert answer.body == PART
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("at", [0, 300_000, len(PART) - 1])
async def test_a_byte_is_another_one(actions: Emulator, caller: Caller, at: int) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", Corrupt(at))

    wrong = (await caller.send("GET", url, Range=RANGE)).body
    right = (await caller.send("GET", url, Range=RANGE)).body

    assert [place for place in range(len(PART)) if wrong[place] != PART[place]] == [at]
    assert right == PART


async def test_a_range_is_ignored(actions: Emulator, caller: Caller) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", RangeIgnored())

    answer = await caller.send("GET", url, Range=RANGE)

    assert (answer.status, answer.body) == (200, CONTENT)
    assert not actions.violations


@pytest.mark.parametrize("value", [None, "bytes 0-499999/1048576"])
async def test_a_content_range_is_wrong_or_missing(actions: Emulator, caller: Caller, value: str | None) -> None:
    url = await uploaded(caller)
    actions.plan.play("get_range", WrongContentRange(value))

    answer = await caller.send("GET", url, Range=RANGE)

    assert (answer.status, answer.headers.get("Content-Range")) == (206, value)


async def test_a_stall_does_not_outlive_the_emulator(actions: Emulator, caller: Caller) -> None:
    actions.plan.play("ListArtifacts", Delay(3600))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await caller.names()


@pytest.mark.parametrize("flavour", list(Flavour))
async def test_a_client_that_leaves_is_no_failure(
    emulate: Emulate, flavour: Flavour, caplog: pytest.LogCaptureFixture
) -> None:
    caller = Caller(emulate(flavour=flavour))
    url = await caller.create("name")

    async def never_ending() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await caller.put_block(url, 0, never_ending(), Content_Length="5000")

    assert (await caller.upload("other", CONTENT)).status == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
