"""Blobs (distribution-spec, end-2 and end-10), out of the spool and out of an archive."""

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.api.ranges import requested
from proxy.archive.pieces import PIECE
from proxy.errors import RangeInvalid
from proxy.oci.digest import Digest
from tests.api.relay import MIB, Relay, connected, pushed_image, request, running
from tests.registry_harness import noise

SMALL = bytes(range(100))
LARGE = noise(9 * MIB + 5)


@pytest.fixture(params=["spool", "archive"])
async def blob(request: pytest.FixtureRequest, relay: Relay) -> str:
    """The path of SMALL."""
    if request.param == "archive":
        await relay.push_image("v1", layers=[SMALL])
    else:
        await relay.push_blob(SMALL)
    return f"/v2/app/blobs/{Digest.of(SMALL)}"


@pytest.fixture(params=["spool", "archive"])
async def large(request: pytest.FixtureRequest, relay: Relay) -> str:
    """The path of LARGE, which has three pieces."""
    if request.param == "archive":
        await relay.push_image("v1", layers=[LARGE])
        assert relay.files() == []
    else:
        await relay.push_blob(LARGE)
    return f"/v2/app/blobs/{Digest.of(LARGE)}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_comes_with_its_length_and_digest(relay: Relay, blob: str, method: str) -> None:
    answer = await relay.ask(method, blob)

    told = {key.title(): value for key, value in answer.headers.items() if key not in {"Date", "Server"}}
    assert answer.status == 200
    assert told == {
        "Content-Type": "application/octet-stream",
        "Content-Length": "100",
        "Docker-Content-Digest": str(Digest.of(SMALL)),
        "Accept-Ranges": "bytes",
        "Etag": f'"{Digest.of(SMALL)}"',
    }
    assert answer.body == (SMALL if method == "GET" else b"")


async def test_nothing_is_encoded_on_the_way(relay: Relay, blob: str) -> None:
    answer = await relay.ask("GET", blob, headers={"Accept-Encoding": "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"})

    assert "Content-Encoding" not in answer.headers
    assert answer.body == SMALL


async def test_a_large_blob_comes_back_exactly(relay: Relay, large: str) -> None:
    assert (await relay.ask("GET", large)).body == LARGE
    assert (await relay.ask("GET", large)).body == LARGE  # now that its digest is known to be right


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=99-99", 99, 100),
        ("bytes=10-", 10, 100),
        ("bytes=0-", 0, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100),
        ("bytes=-99999999", 0, 100),
        ("bytes=50-5000", 50, 100),
        (f"bytes=0-{10**300}", 0, 100),
        ("Bytes = 10 - 19 ", 10, 20),
    ],
)
async def test_a_range_is_a_part(relay: Relay, blob: str, header: str, start: int, stop: int) -> None:
    answer = await relay.ask("GET", blob, headers={"Range": header})

    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/100"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.body == SMALL[start:stop]


@pytest.mark.parametrize("header", ["bytes=10-19", "bytes=100-", "bytes=-"])
async def test_a_head_has_no_range(relay: Relay, blob: str, header: str) -> None:
    answer = await relay.ask("HEAD", blob, headers={"Range": header})

    assert (answer.status, answer.headers["Content-Length"]) == (200, "100")
    assert "Content-Range" not in answer.headers


OTHER = f'"{Digest.of(b"other")}"'
ITS = f'"{Digest.of(SMALL)}"'


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"If-None-Match": ITS}, 304),
        ({"If-None-Match": f"{OTHER}, W/{ITS}"}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": OTHER}, 200),
        ({"If-Match": ITS}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": OTHER}, 412),
        ({"If-Match": f"W/{ITS}"}, 412),
        ({"If-Match": OTHER, "If-None-Match": ITS}, 412),
        ({"If-None-Match": ITS, "Range": "bytes=999999-"}, 304),
        ({"If-Match": OTHER, "Range": "bytes=999999-"}, 412),
    ],
)
async def test_a_condition_is_about_the_digest(
    relay: Relay, blob: str, method: str, condition: dict[str, str], status: int
) -> None:
    answer = await relay.ask(method, blob, headers=condition)

    assert answer.status == status
    assert answer.headers.get("ETag") == (None if status == 412 else ITS)
    if status != 412:
        assert answer.body == (SMALL if (method, status) == ("GET", 200) else b"")


async def test_a_manifest_that_the_client_has_is_not_sent_again(relay: Relay) -> None:
    pushed = await relay.push_image("v1")
    for reference in ("v1", pushed.digest):
        answer = await relay.ask(
            "GET", f"/v2/app/manifests/{reference}", headers={"If-None-Match": f'"{pushed.digest}"'}
        )
        assert (answer.status, answer.body) == (304, b"")
        other = await relay.ask("GET", f"/v2/app/manifests/{reference}", headers={"If-None-Match": OTHER})
        assert (other.status, other.body) == (200, pushed.content)


@pytest.mark.parametrize(("condition", "status"), [(ITS, 206), (OTHER, 200), (f"W/{ITS}", 200), ("yesterday", 200)])
async def test_a_range_of_other_content_is_passed_over(relay: Relay, blob: str, condition: str, status: int) -> None:
    answer = await relay.ask("GET", blob, headers={"Range": "bytes=10-19", "If-Range": condition})

    assert (answer.status, answer.body) == (status, SMALL[10:20] if status == 206 else SMALL)


BAD_RANGES = ["5-2", "-0", "100-", "100-200", "", "-", "a-b", "1", "0x1-2", f"{10**30}-", "9" * 5000 + "-"]


@pytest.mark.parametrize("span", [*BAD_RANGES, "٣-"], ids=lambda span: span[:10])
async def test_a_range_outside_the_content_is_refused(relay: Relay, blob: str, span: str) -> None:
    answer = await relay.ask("GET", blob, headers={"Range": f"bytes={span}"})

    assert answer.error == (416, "RANGE_INVALID")
    assert answer.headers["Content-Range"] == "bytes */100"


@pytest.mark.parametrize("header", ["items=0-5", "bytes", "", "0-5", "bytes:0-5", "bytes=0-1,3-4", "bytes=5-2,"])
async def test_a_range_of_another_kind_is_passed_over(relay: Relay, blob: str, header: str) -> None:
    answer = await relay.ask("GET", blob, headers={"Range": header})

    assert (answer.status, answer.body) == (200, SMALL)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-5", "bytes=0-0"])
async def test_an_empty_blob_has_no_range(relay: Relay, header: str) -> None:
    empty = await relay.push_blob(b"")

    answer = await relay.ask("GET", f"/v2/app/blobs/{empty}", headers={"Range": header})

    assert answer.error == (416, "RANGE_INVALID")


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, PIECE),
        (PIECE, 2 * PIECE),
        (PIECE - 1, PIECE + 1),
        (PIECE - 1, 2 * PIECE + 1),
        (1, len(LARGE) - 1),
        (2 * PIECE, len(LARGE)),
    ],
)
async def test_ranges_cross_the_borders_of_pieces(relay: Relay, large: str, start: int, stop: int) -> None:
    answer = await relay.ask("GET", large, headers={"Range": f"bytes={start}-{stop - 1}"})

    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(LARGE)}"
    assert answer.body == LARGE[start:stop]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_range_is_cut_like_a_slice(first: int, last: int, size: int) -> None:
    content = range(size)

    if first < size and first <= last:
        assert range(*requested(f"bytes={first}-{last}", size) or ()) == content[first : last + 1]
    else:
        with pytest.raises(RangeInvalid):
            requested(f"bytes={first}-{last}", size)
    if last:
        assert range(*requested(f"bytes=-{last}", size) or ()) == content[-last:]


@given(st.text(alphabet="0123456789-,= \tbytes٣", max_size=20), st.integers(0, 1000))
def test_no_range_leads_outside_the_content(text: str, size: int) -> None:
    try:
        span = requested(f"bytes={text}", size)
    except RangeInvalid:
        return

    assert bool(span) is ("," not in text)  # of several none is given
    assert span is None or 0 <= span[0] < span[1] <= size


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_that_is_not_there_is_unknown(relay: Relay, method: str) -> None:
    answer = await relay.ask(method, f"/v2/app/blobs/{Digest.of(SMALL)}")

    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("application/json")
    if method == "GET":
        assert answer.error == (404, "BLOB_UNKNOWN")
    else:
        assert answer.body == b""


@pytest.mark.parametrize("bad", ["sha256:abc", "md5:0", "v1", f"sha256:{'A' * 64}", f"sha512:{'0' * 64}"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_is_no_digest_is_said_to_be_none(relay: Relay, bad: str, method: str) -> None:
    assert (await relay.ask(method, f"/v2/app/blobs/{bad}")).error == (400, "DIGEST_INVALID")


async def test_a_blob_is_seen_by_its_repository_alone(relay: Relay, blob: str) -> None:
    other = blob.replace("/v2/app/", "/v2/other/")

    for method in ("GET", "DELETE"):
        assert (await relay.ask(method, other)).error == (404, "BLOB_UNKNOWN")
    assert (await relay.ask("GET", blob)).body == SMALL


async def test_many_read_one_blob_at_once(relay: Relay, large: str) -> None:
    answers = await asyncio.gather(*(relay.ask("GET", large) for _ in range(8)))

    assert all(answer.body == LARGE for answer in answers)


async def test_requests_on_one_connection_are_answered_in_their_order(relay: Relay, large: str) -> None:
    async with connected(relay.port) as (reader, writer):
        writer.write(2 * request("GET", large, {"Connection": "keep-alive"}))

        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(len(LARGE)) == LARGE


async def test_who_leaves_in_the_middle_is_no_fault(relay: Relay, large: str, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(relay.port) as (reader, writer):
        writer.write(request("GET", large))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    assert (await relay.ask("GET", large)).status == 200
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_reading_does_not_hinder_replacing(relay: Relay) -> None:
    """A, B and A again under one tag, with an open reader of each."""
    layers = [noise(9 * MIB, 1), noise(9 * MIB, 2)]
    readers = []
    pushed = None
    for layer in (*layers, layers[0]):
        pushed = await relay.push_image("v1", layers=[layer])
        url = f"http://127.0.0.1:{relay.port}/v2/app/blobs/{Digest.of(layer)}"
        reader = await relay.session.get(url)
        readers.append((reader, await reader.content.readexactly(1000), layer))

    assert pushed
    assert (await relay.get("v1")).body == pushed.content
    assert len(relay.artifacts()) == 1
    for reader, beginning, layer in readers:
        assert beginning + await reader.read() == layer
    older = await relay.ask("GET", f"/v2/app/blobs/{Digest.of(layers[1])}")
    assert older.body == layers[1]  # somebody may have read its manifest a moment ago


async def test_half_a_blob_is_never_taken_for_a_whole_one(relay: Relay) -> None:
    digest = await relay.push_blob(LARGE)
    path = relay.data / "spool" / "blobs" / "sha256" / digest.hex
    content = bytearray(path.read_bytes())
    content[PIECE + PIECE // 2] ^= 1
    path.write_bytes(content)

    first = await relay.ask("GET", f"/v2/app/blobs/{digest}", headers={"Range": "bytes=0-99"})
    assert first.body == LARGE[:100]
    with pytest.raises(aiohttp.ClientPayloadError):
        await relay.ask("GET", f"/v2/app/blobs/{digest}")
    assert (await relay.ask("GET", f"/v2/app/blobs/{digest}")).error == (404, "BLOB_UNKNOWN")


async def test_damage_in_the_first_piece_is_told_in_words(relay: Relay) -> None:
    digest = await relay.push_blob(LARGE)
    path = relay.data / "spool" / "blobs" / "sha256" / digest.hex
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)

    damaged = await relay.ask("GET", f"/v2/app/blobs/{digest}")

    assert damaged.error == (500, "UNKNOWN")
    assert "damaged" in damaged.message


async def test_what_is_in_no_manifest_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        digest = await relay.push_blob(LARGE)
        location = await relay.open_upload()
        await relay.ask("PATCH", location, data=SMALL)

    async with running(tmp_path) as relay:
        assert (await relay.ask("GET", f"/v2/app/blobs/{digest}")).body == LARGE
        assert (await relay.ask("GET", location)).error == (404, "BLOB_UPLOAD_UNKNOWN")
        assert relay.files("uploads") == []


# Deleting


async def test_a_blob_that_nothing_needs_is_deleted(relay: Relay) -> None:
    digest = await relay.push_blob(SMALL)

    answer = await relay.ask("DELETE", f"/v2/app/blobs/{digest}")

    assert (answer.status, answer.body) == (202, b"")
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{digest}")).status == 404
    assert (await relay.ask("DELETE", f"/v2/app/blobs/{digest}")).error == (404, "BLOB_UNKNOWN")
    assert relay.files() == []


async def test_a_blob_in_an_archive_is_not_deleted(relay: Relay) -> None:
    await relay.push_image("v1", layers=[SMALL])

    answer = await relay.ask("DELETE", f"/v2/app/blobs/{Digest.of(SMALL)}")

    assert answer.error == (405, "UNSUPPORTED")
    assert "app:v1" in answer.message
    assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(SMALL)}")).status == 200


async def test_a_blob_of_a_pending_manifest_is_not_deleted(relay: Relay) -> None:
    await relay.push_image(layers=[SMALL])

    assert (await relay.ask("DELETE", f"/v2/app/blobs/{Digest.of(SMALL)}")).error == (405, "UNSUPPORTED")


async def test_a_deleted_blob_is_still_there_for_another_repository(relay: Relay) -> None:
    digest = await relay.push_blob(SMALL, "app")
    await relay.push_blob(SMALL, "other")

    await relay.ask("DELETE", f"/v2/app/blobs/{digest}")

    assert (await relay.ask("HEAD", f"/v2/app/blobs/{digest}")).status == 404
    assert (await relay.ask("GET", f"/v2/other/blobs/{digest}")).body == SMALL
    config = await relay.push_blob(b"{}", "app")
    refused = await relay.put("v1", pushed_image(b"{}", SMALL).content)
    assert refused.error == (400, "MANIFEST_BLOB_UNKNOWN"), config
