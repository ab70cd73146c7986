"""Signed URLs, what they allow, and what is never to be done with them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.fixtures import Emulate
from tests.unit.fakes.caller import Caller

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def actions(emulate: Emulate) -> Emulator:
    return emulate()


@pytest.fixture
def caller(actions: Emulator) -> Caller:
    return Caller(actions)


async def test_blocks_are_put_together_in_the_order_of_the_list(caller: Caller) -> None:
    url = await caller.create("name")
    await asyncio.gather(*(caller.put_block(url, number, CONTENT[number::3]) for number in (2, 0, 1)))
    await caller.commit(url, 1, 0, 2)
    whole = CONTENT[1::3] + CONTENT[0::3] + CONTENT[2::3]

    await caller.finalize("name", whole)

    assert (await caller.send("GET", await caller.sign("name"))).body == whole


async def test_an_upload_url_neither_reads_nor_deletes(caller: Caller) -> None:
    url = await caller.create("name")
    await caller.put_block(url, 0, CONTENT)
    await caller.commit(url, 0)

    for method in ("GET", "HEAD", "DELETE"):
        assert (await caller.send(method, url)).status == 403
    assert (await caller.send("GET", f"{url}&comp=blocklist")).status == 403


async def test_a_read_url_does_not_write(caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    assert (await caller.put_block(url, 0, b"other")).status == 403
    assert (await caller.send("PUT", url, b"other", x_ms_blob_type="BlockBlob")).status == 403


async def test_ranges_are_honoured_and_named(caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    part = await caller.send("GET", url, Range="bytes=100-299")
    beyond = await caller.send("GET", url, Range=f"bytes={len(CONTENT)}-")

    assert (part.status, part.body) == (206, CONTENT[100:300])
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(CONTENT)}"
    assert part.headers["Content-Type"] == "application/zip"
    assert 'filename="name.zip"' in part.headers["Content-Disposition"]
    assert beyond.status == 416
    changed = await caller.send("GET", url, Range="bytes=0-1", If_Match='"other"')
    assert changed.status == 412


async def test_a_block_with_the_wrong_md5_is_refused(caller: Caller) -> None:
    url = await caller.create("name")

    answer = await caller.put_block(url, 0, CONTENT, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")

    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "Md5Mismatch")


async def test_a_block_with_the_wrong_crc64_is_refused(caller: Caller) -> None:
    url = await caller.create("name")

    answer = await caller.put_block(url, 0, CONTENT, x_ms_content_crc64="AAAAAAAAAAA=")

    assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "Crc64Mismatch")


async def test_upload_urls_end(actions: Emulator, caller: Caller) -> None:
    actions.options.upload_lifetime = 0
    url = await caller.create("name")

    late = await caller.put_block(url, 0, CONTENT)

    assert (late.status, late.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert "Server failed to authenticate the request" in late.text


async def test_read_urls_end_when_they_are_told_to_and_new_ones_work(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    old = await caller.sign("name")
    await asyncio.sleep(1)  # a URL of the same second is the same URL

    actions.expire_urls()

    assert (await caller.send("GET", old)).status == 403
    assert (await caller.send("GET", await caller.sign("name"))).status == 200


async def test_a_changed_url_is_refused_by_azurite(caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")

    assert (await caller.send("PUT", url.replace("sp=r", "sp=cw"), b"x", x_ms_blob_type="BlockBlob")).status == 403


async def test_a_token_at_the_blob_is_refused_and_remembered(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)

    answer = await caller.send("GET", await caller.sign("name"), Authorization=f"Bearer {caller.job.token}")

    assert (answer.status, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    assert actions.violations == ["a token was sent to blob storage"]
    actions.violations.clear()


@pytest.mark.parametrize("header", ["Range", "x_ms_range"])
@pytest.mark.parametrize("value", ["bytes=-100", "bytes=0-1,5-6"])
async def test_a_range_from_the_end_is_refused_and_remembered(
    actions: Emulator, caller: Caller, header: str, value: str
) -> None:
    await caller.upload("name", CONTENT)

    answer = await caller.send("GET", await caller.sign("name"), None, **{header: value})

    assert answer.status == 400
    assert actions.violations == [f"the range '{value}' is not a single absolute one"]
    actions.violations.clear()


async def test_a_big_blob_without_range_is_refused_and_remembered(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    actions.options.whole_read_limit = len(CONTENT) - 1

    answer = await caller.send("GET", await caller.sign("name"))

    assert answer.status == 400
    assert actions.violations == [f"{len(CONTENT)} bytes were asked for without Range"]
    actions.violations.clear()


async def _pieces() -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"


async def test_a_block_of_unknown_length_is_refused(caller: Caller) -> None:
    url = await caller.create("name")

    assert (await caller.put_block(url, 0, _pieces())).status == 411


async def test_everything_is_counted(actions: Emulator, caller: Caller) -> None:
    await caller.upload("name", CONTENT)
    url = await caller.sign("name")
    await caller.send("GET", url, Range="bytes=0-99")
    await caller.send("HEAD", url)
    await caller.send("GET", url)

    traffic = actions.traffic
    assert traffic.results_calls == 3
    assert traffic.blob_requests == 5
    assert [seen.kind for seen in traffic.seen][-3:] == ["get_range", "head_blob", "get_whole"]
    assert traffic.received["put_block"] == len(CONTENT)
    assert (traffic.sent["get_range"], traffic.sent["get_whole"]) == (100, len(CONTENT))
    assert traffic.answers["get_range", 206] == 1
    traffic.reset()
    assert (traffic.results_calls, traffic.blob_requests) == (0, 0)


async def test_how_many_came_at_once_is_known(actions: Emulator, caller: Caller) -> None:
    url = await caller.create("name")

    await asyncio.gather(*(caller.put_block(url, number, CONTENT * 100) for number in range(4)))

    assert 1 < actions.traffic.peak["put_block"] <= 4
