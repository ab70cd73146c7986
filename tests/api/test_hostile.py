"""What no honest client sends: each gets its status and error, and then the service goes on with a clean spool."""

import asyncio
import gzip
import json
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import LIMIT, OCI_INDEX, OCI_MANIFEST
from proxy.runtime.limits import Limits
from tests.api.relay import (
    CONFIG,
    LAYER,
    MIB,
    Answer,
    Relay,
    connected,
    described,
    document,
    eventually,
    exchange,
    parsed,
    pushed_image,
    pushed_index,
    request,
)
from tests.machine import require_open_files
from tests.registry_harness import noise

CONTENT = b"0123456789"
DIGEST = Digest.of(CONTENT)
NAMES = {(400, "NAME_INVALID"), (404, "NAME_UNKNOWN")}
MISSING = Digest.of(b"never pushed")


def shown(values: Iterable[object]) -> list[str]:
    return [f"{number} {ascii(value)[:30]}" for number, value in enumerate(values)]


@pytest.fixture(autouse=True)
async def unharmed(relay: Relay) -> AsyncIterator[None]:
    yield
    assert (await relay.ask("GET", "/v2/")).status == 200
    assert relay.files("uploads") == relay.files("blobs") == []
    await relay.push_image("v1", name="still/fine")
    assert (await relay.get("v1", "still/fine")).status == 200


async def raw(relay: Relay, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    return await exchange(relay.port, request(method, target, fields, body))


def refused(answer: Answer) -> bool:
    """Was it no HTTP at all? Then no handler has seen it."""
    return answer.status == 400 and answer.message.startswith("the request cannot be read: ")


# Names, tags and digests


BAD_NAMES = [
    "", "/", "a//b", "/a", "a/", "A/b", "a/../b", "a/./b", "..", "../../etc", "..%2f..%2fetc", "a%2f..%2fb",
    "a%00b", "a%0a", "a%0d%0aX-Injected:%201", "a\\b", "a%5cb", "-a", "a-", ".a", "a.", "_a", "a_", "a___b", "a..b",
    "a._b", "a" * 256, "a/" * 127 + "aa", "\u0430pp", "%d0%b0pp", "%ff", "\udcff", "%", "%zz", "a%20b", "_catalog",
    "a:b", "a@b", "{a}", "a+b", "a;b", "~a", "\uff41", "\u0661",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=shown(BAD_NAMES))
async def test_a_bad_name_is_none(relay: Relay, name: str) -> None:
    for method, rest in (
        ("GET", "manifests/v1"),
        ("PUT", "manifests/v1"),
        ("DELETE", "manifests/v1"),
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?digest={DIGEST}"),
        ("GET", f"blobs/{DIGEST}"),
        ("GET", "tags/list"),
        ("GET", f"referrers/{DIGEST}"),
    ):
        answer = await raw(relay, method, f"/v2/{name}/{rest}", CONTENT if method in {"PUT", "POST"} else b"")
        assert refused(answer) or answer.error in NAMES, (method, rest)
        assert "X-Injected" not in answer.headers


@pytest.mark.parametrize("name", ["a__b", "a.b-c_d", "a--b", "a/b/c", "a" * 255, "0", "v2", "a%2fb", "%61"])
async def test_an_odd_name_is_one(relay: Relay, name: str) -> None:
    assert (await raw(relay, "GET", f"/v2/{name}/manifests/v1")).error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("target", ["/v2/v2/v2/manifests/x", "/v2/a/manifests/manifests/x", "/v2/a/blobs/manifests/x"])
async def test_a_name_like_a_path_is_a_name(relay: Relay, target: str) -> None:
    assert (await raw(relay, "GET", target)).error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("target", ["http://localhost/v2/", "http://127.0.0.1:5000/v2/", "HTTP://x:1@localhost/v2/"])
async def test_a_target_in_absolute_form_is_served(relay: Relay, target: str) -> None:
    assert (await raw(relay, "GET", target)).status == 200


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "http://localhost/v2/..%2f/manifests/x"),
        ("GET", "v2/"),
        ("GET", "*"),
        ("OPTIONS", "*"),
        ("CONNECT", "localhost:22"),
        ("GET", "http://[::1/v2/"),
        ("GET", "http://localhost:99999999/v2/"),
        ("GET", "//localhost/v2/"),
        ("GET", "/v2/%"),
        ("GET", "/v2/\x00/"),
        ("GET", "/" + "a" * 9000),
        ("BREW", "/v2/"),
    ],
)
async def test_an_odd_target_is_refused(relay: Relay, method: str, target: str) -> None:
    assert (await raw(relay, method, target)).status in {400, 404, 405}


@pytest.mark.parametrize(
    "tag", ["x" * 129, ".x", "-x", "v1%0a", "v1%00", "v 1", "v1%2f..", "%ff", "v1+x", "v1@x", "\u0430"]
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_bad_tag_is_none(relay: Relay, tag: str, method: str) -> None:
    answer = await raw(relay, method, f"/v2/app/manifests/{tag}", b"{}" if method == "PUT" else b"")

    assert refused(answer) or answer.error == (400, "TAG_INVALID")


@pytest.mark.parametrize("reference", ["v1/..", "{x}", ""])
async def test_a_reference_that_is_no_part_of_a_path_leads_nowhere(relay: Relay, reference: str) -> None:
    assert (await raw(relay, "GET", f"/v2/app/manifests/{reference}")).error == (404, "NAME_UNKNOWN")


@pytest.mark.parametrize("tag", ["x" * 128, f"sha256-{'a' * 64}", "_", "A.b-c_d", "%76%31"])
async def test_an_odd_tag_is_one(relay: Relay, tag: str) -> None:
    assert (await raw(relay, "GET", f"/v2/app/manifests/{tag}")).error == (404, "MANIFEST_UNKNOWN")


BAD_DIGESTS = [
    f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", f"sha256:{'a' * 65}", "sha256:..%2f..%2fetc", f"sha256:{'g' * 64}",
    f"md5:{'a' * 32}", f"sha512:{'a' * 64}", f"sha256:{'a' * 128}", "sha256:", ":", f":{'a' * 64}",
    f"SHA256:{'a' * 64}", f"sha256:{'a' * 64}%0a", f"sha256%3A{'a' * 63}", f"sha256::{'a' * 64}",
    f"sha256:{'%EF%BD%81' * 64}", f"blake3:{'a' * 64}",
]  # fmt: skip


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=shown(BAD_DIGESTS))
async def test_a_bad_digest_is_none(relay: Relay, digest: str) -> None:
    for method, target, body in (
        ("GET", f"blobs/{digest}", b""),
        ("DELETE", f"blobs/{digest}", b""),
        ("GET", f"manifests/{digest}", b""),
        ("PUT", f"manifests/{digest}", b"{}"),
        ("DELETE", f"manifests/{digest}", b""),
        ("GET", f"referrers/{digest}", b""),
        ("POST", f"blobs/uploads/?digest={digest}", CONTENT),
        ("POST", f"blobs/uploads/?mount={digest}", b""),
    ):
        assert (await raw(relay, method, f"/v2/app/{target}", body)).error == (400, "DIGEST_INVALID"), (method, target)


async def test_the_colon_of_a_digest_may_be_encoded(relay: Relay) -> None:
    encoded = str(MISSING).replace(":", "%3A")

    assert (await raw(relay, "GET", f"/v2/app/blobs/{encoded}")).error == (404, "BLOB_UNKNOWN")
    assert (await raw(relay, "GET", f"/v2/app/manifests/{encoded}")).error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    "query", [f"digest={DIGEST}&digest={DIGEST}", f"digest={DIGEST}&digest={MISSING}", "digest=", "digest"]
)
async def test_a_blob_has_one_digest(relay: Relay, query: str) -> None:
    location = await relay.open_upload()

    for method, target in (("POST", "/v2/app/blobs/uploads/"), ("PUT", location)):
        answer = await raw(relay, method, f"{target}?{query}", CONTENT)
        assert answer.error == (400, "DIGEST_INVALID")
    await relay.ask("DELETE", location)


# Uploads


@pytest.mark.parametrize(
    "upload", ["0", "../x", "..%2fx", "..%2f..%2fblobs", "%00", "x" * 5000, "00000000-0000-0000-0000-000000000000"]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_an_upload_that_nobody_opened_is_unknown(relay: Relay, upload: str, method: str) -> None:
    body = CONTENT if method in {"PATCH", "PUT"} else b""

    answer = await raw(relay, method, f"/v2/app/blobs/uploads/{upload}?digest={DIGEST}", body)

    assert answer.error[0] in {404, 405}


@asynccontextmanager
async def patching(relay: Relay, location: str, beginning: bytes) -> AsyncIterator[asyncio.Task[Answer]]:
    """Be in the middle of a streamed chunk, of which the relay has taken the beginning; it ends with the block."""
    goes_on = asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        yield beginning
        await goes_on.wait()
        yield b"end"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(relay.ask("PATCH", location, data=stream()))
        await relay.taken(location, len(beginning))
        yield task
        goes_on.set()


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_two_can_not_write_to_one_upload_at_once(relay: Relay, method: str) -> None:
    beginning = noise(5 * MIB)
    whole = beginning + b"end"
    location = await relay.open_upload()

    async with patching(relay, location, beginning) as first:
        second = await relay.ask(method, location, params={"digest": str(DIGEST)}, data=CONTENT)

    assert second.error == (400, "BLOB_UPLOAD_INVALID")
    assert (await first).status == 202
    done = await relay.ask("PUT", location, params={"digest": str(Digest.of(whole))})
    assert done.status == 201
    assert (await relay.ask("GET", done.headers["Location"])).body == whole
    await relay.ask("DELETE", done.headers["Location"])


async def test_an_upload_that_is_cancelled_while_it_is_written_harms_no_other(relay: Relay) -> None:
    location = await relay.open_upload()

    async with patching(relay, location, noise(5 * MIB)) as first:
        assert (await relay.ask("DELETE", location)).status == 204
        others = [await relay.push_blob(noise(1000, seed)) for seed in range(5)]

    assert (await first).error in {(404, "BLOB_UPLOAD_UNKNOWN"), (400, "BLOB_UPLOAD_INVALID")}
    for seed, digest in enumerate(others):
        assert (await relay.ask("GET", f"/v2/app/blobs/{digest}")).body == noise(1000, seed)
        await relay.ask("DELETE", f"/v2/app/blobs/{digest}")
    assert (await relay.ask("GET", location)).status == 404


BAD_CHUNKS = [
    (b"", {"Content-Length": "0", "Content-Range": "0-0"}),
    (CONTENT, {"Content-Range": "5-2"}),
    (CONTENT, {"Content-Range": "0-"}),
    (CONTENT, {"Content-Range": "a-b"}),
    (CONTENT, {"Content-Range": "-5--2"}),
    (CONTENT, {"Content-Range": f"{2**63}-{2**63 + 9}"}),
    (CONTENT, {"Content-Range": "9" * 3000 + "-" + "9" * 3000}),
    (CONTENT, {"Content-Range": "0-8"}),
    (CONTENT, {"Content-Range": "0-10"}),
    (CONTENT, {"Content-Range": "1-10"}),
    (CONTENT, {"Content-Range": "\u0660-\u0669"}),
    (CONTENT, {"Content-Length": "-1"}),
    (CONTENT, {"Content-Length": "+10"}),
    (CONTENT, {"Content-Length": "9" * 30}),
    (CONTENT, {"Content-Length": "10, 10"}),
    (CONTENT, {"Content-Length": "10", "Transfer-Encoding": "chunked"}),
    (CONTENT, {"Transfer-Encoding": "xchunked"}),
    (CONTENT, {"Transfer-Encoding": "chunked, identity"}),
]


@pytest.mark.parametrize(("body", "headers"), BAD_CHUNKS, ids=shown(BAD_CHUNKS))
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_a_chunk_that_lies_about_itself_is_refused(
    relay: Relay, method: str, body: bytes, headers: dict[str, str]
) -> None:
    location = await relay.open_upload()
    query = f"?digest={DIGEST}" if method == "PUT" else ""

    answer = await exchange(relay.port, request(method, location + query, headers, body))

    assert answer.status in {400, 416}
    if "Content-Range" in headers:
        assert answer.error[1] in {"BLOB_UPLOAD_INVALID", "RANGE_INVALID", "SIZE_INVALID"}
    await relay.ask("DELETE", location)


@pytest.mark.parametrize(
    "body",
    [b"zz\r\n", b"-1\r\nx\r\n", b"0x5\r\nhello\r\n", b"5\r\nhello!\r\n0\r\n\r\n", b"f" * 17 + b"\r\n", b"\r\n\r\n"],
)
@pytest.mark.parametrize("whole", [b"", b"5\r\nhello\r\n"], ids=["at once", "later"])
@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_a_bad_chunk_size_is_a_bad_request(relay: Relay, body: bytes, whole: bytes, method: str) -> None:
    location = await relay.open_upload()
    target = location if method == "PATCH" else f"/v2/app/blobs/uploads/?digest={DIGEST}"

    answer = await exchange(relay.port, request(method, target, {"Transfer-Encoding": "chunked"}, whole + body))

    assert answer.status == 400
    await relay.ask("DELETE", location)


@pytest.mark.parametrize("later", [b"", b"zz\r\n", b"5\r\nhello!\r\n0\r\n\r\n"], ids=["nothing", "no size", "too much"])
@pytest.mark.parametrize("limits", [Limits(body_stall=0.2)])
async def test_an_upload_that_does_not_go_on_ends_after_a_while(relay: Relay, later: bytes) -> None:
    location = await relay.open_upload()
    begun = request("PATCH", location, {"Transfer-Encoding": "chunked"}, b"5\r\nhello\r\n")

    async with connected(relay.port, begun) as (reader, writer):
        await relay.taken(location, 5)
        writer.write(later)
        answer = await first_answer(reader)

    assert answer.error == (408, "SIZE_INVALID")
    assert (await relay.ask("DELETE", location)).status == 204


@pytest.mark.parametrize("limits", [Limits(body_stall=0.05)])
async def test_a_manifest_that_does_not_go_on_ends_after_a_while(relay: Relay) -> None:
    begun = request("PUT", "/v2/app/manifests/v1", {"Content-Length": "100"}, b"{")

    async with connected(relay.port, begun) as (reader, _):
        answer = await first_answer(reader)

    assert answer.error == (408, "SIZE_INVALID")


async def first_answer(reader: asyncio.StreamReader) -> Answer:
    """Read an answer that has a length; the connection may go on."""
    head = await reader.readuntil(b"\r\n\r\n")
    return parsed(head + await reader.readexactly(int(parsed(head).headers["Content-Length"])))


async def test_a_body_longer_than_announced_is_cut(relay: Relay) -> None:
    location = await relay.open_upload()

    answer = await raw(relay, "PATCH", location, CONTENT + b"more", Content_Length="10")

    assert answer.status in {202, 400}
    assert (await relay.ask("GET", location)).headers["Range"] in {"0-0", "0-9"}
    await relay.ask("DELETE", location)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize("announced", ["Content-Length", "chunked"])
async def test_a_client_may_leave_in_the_middle(relay: Relay, method: str, ending: str, announced: str) -> None:
    location = await relay.open_upload()
    target = f"{location}?digest={DIGEST}" if method != "POST" else f"/v2/app/blobs/uploads/?digest={DIGEST}"
    headers = {"Content-Length": str(100 * MIB)} if announced != "chunked" else {"Transfer-Encoding": "chunked"}
    beginning = noise(MIB) if announced != "chunked" else f"{MIB:x}\r\n".encode() + noise(MIB) + b"\r\n"
    async with connected(relay.port, request(method, target, headers, beginning)) as (_, writer):
        await writer.drain()
        if method == "POST":
            await eventually(lambda: len(relay.files("uploads")) == 2)
        if ending == "reset":
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    if method == "POST":  # nobody knows the session
        await eventually(lambda: len(relay.files("uploads")) == 1)
    async with asyncio.timeout(10):
        while (await relay.ask("PATCH", location, data=b"")).status == 400:  # the relay has not noticed yet
            pass
    status = await relay.ask("GET", location)
    assert int(status.headers["Range"].removeprefix("0-")) <= MIB
    assert (await relay.ask("DELETE", location)).status == 204


async def test_an_upload_goes_on_after_its_client_has_left(relay: Relay) -> None:
    content = noise(6 * MIB)
    location = await relay.open_upload()
    begun = request("PATCH", location, {"Content-Length": str(len(content))}, content[: 5 * MIB])
    async with connected(relay.port, begun):
        await relay.taken(location, 5 * MIB)

    span = f"{5 * MIB}-{6 * MIB - 1}"
    async with asyncio.timeout(10):
        while True:
            rest = await relay.ask("PATCH", location, data=content[5 * MIB :], headers={"Content-Range": span})
            if rest.status != 400:
                break
    done = await relay.ask("PUT", location, params={"digest": str(Digest.of(content))})

    assert (rest.status, done.status) == (202, 201)
    assert (await relay.ask("GET", done.headers["Location"])).body == content
    await relay.ask("DELETE", done.headers["Location"])


async def test_a_hundred_thousand_chunks_are_one_blob(relay: Relay) -> None:
    content = noise(100_000)
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"

    answer = await raw(
        relay, "POST", f"/v2/app/blobs/uploads/?digest={Digest.of(content)}", body, Transfer_Encoding="chunked"
    )

    assert answer.status == 201
    assert (await relay.ask("GET", answer.headers["Location"])).body == content
    await relay.ask("DELETE", answer.headers["Location"])


async def test_clients_that_dawdle_keep_nobody_waiting(relay: Relay) -> None:
    location = await relay.open_upload()
    upload = request("PATCH", location, {"Content-Length": "1000000"}, b"x")
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(relay.port)) for _ in range(50)]
        for step in range(0, len(upload), 10):
            for number, (_, writer) in enumerate(slow):
                writer.write(upload[step : step + 10] if number == 0 else b"GET /v2/"[step // 10 : step // 10 + 1])
            await relay.push_image(f"v{step % 2}")
        await relay.taken(location, 1)

    assert (await relay.ask("DELETE", location)).status == 204


async def test_a_thousand_uploads_may_be_open_and_no_more(relay: Relay) -> None:
    require_open_files()
    locations = [await relay.open_upload(f"app{number % 7}") for number in range(1000)]

    one_more = await relay.ask("POST", "/v2/app/blobs/uploads/")
    at_once = await relay.ask("POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", data=CONTENT)

    for answer in (one_more, at_once):
        assert answer.error == (429, "TOOMANYREQUESTS")
        assert int(answer.headers["Retry-After"]) > 0
    await relay.ask("DELETE", locations.pop())
    locations.append(await relay.open_upload())
    for location in locations:
        assert (await relay.ask("DELETE", location)).status == 204


async def test_an_encoded_body_is_kept_as_it_came(relay: Relay) -> None:
    bomb = gzip.compress(bytes(50 * MIB))
    digest = Digest.of(bomb)

    answer = await raw(relay, "POST", f"/v2/app/blobs/uploads/?digest={digest}", bomb, Content_Encoding="gzip")
    manifest = await raw(
        relay, "PUT", "/v2/app/manifests/v1", gzip.compress(b"{}"), Content_Encoding="gzip", Content_Type=OCI_MANIFEST
    )

    assert answer.status == 201
    assert (await relay.ask("GET", answer.headers["Location"])).body == bomb
    assert manifest.error == (400, "MANIFEST_INVALID")
    await relay.ask("DELETE", answer.headers["Location"])


async def test_who_asks_first_is_told_to_continue(relay: Relay) -> None:
    head = request(
        "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", {"Expect": "100-continue", "Content-Length": "10"}
    )
    async with connected(relay.port, head) as (reader, writer):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(CONTENT)
        answer = parsed(await reader.read())

    assert answer.status == 201
    await relay.ask("DELETE", answer.headers["Location"])


async def test_other_expectations_fail(relay: Relay) -> None:
    answer = await raw(relay, "POST", f"/v2/app/blobs/uploads/?digest={DIGEST}", CONTENT, Expect="200-ok")

    assert answer.status == 417


@pytest.mark.parametrize("form", ["Content-Length", "chunked"])
@pytest.mark.parametrize(
    ("method", "target", "more", "error"),
    [
        ("PATCH", "{upload}", {"Content-Range": "5-9"}, (416, "RANGE_INVALID")),
        ("PATCH", "/v2/app/blobs/uploads/0", {}, (404, "BLOB_UPLOAD_UNKNOWN")),
        ("PUT", "{upload}?digest=x", {}, (400, "DIGEST_INVALID")),
        ("PUT", "/v2/app/manifests/v1", {}, (413, "MANIFEST_INVALID")),
        ("PUT", "/v2/app/manifests/.x", {}, (400, "TAG_INVALID")),
        ("POST", "/v2/APP/blobs/uploads/", {}, (400, "NAME_INVALID")),
        ("POST", "/v2/", {}, (405, "UNSUPPORTED")),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else "",
)
async def test_a_refusal_arrives_though_the_client_goes_on_sending(
    relay: Relay, form: str, method: str, target: str, more: dict[str, str], error: tuple[int, str]
) -> None:
    location = await relay.open_upload()
    part = bytes(MIB) if form == "Content-Length" else f"{MIB:x}\r\n".encode() + bytes(MIB) + b"\r\n"
    length = {"Content-Length": str(48 * MIB)} if form == "Content-Length" else {"Transfer-Encoding": "chunked"}
    head = request(method, target.format(upload=location), {**more, **length, "Connection": "keep-alive"})
    async with connected(relay.port, head) as (reader, writer):
        for _ in range(48):  # reads nothing before it has sent everything, as Docker does
            writer.write(part)
            await writer.drain()
        if form == "chunked":
            writer.write(b"0\r\n\r\n")
        writer.write(request("GET", "/v2/"))
        received = await asyncio.wait_for(reader.read(), 10)

    first, _, second = received.rpartition(b"HTTP/1.1 ")
    assert parsed(first).error == error
    assert second.startswith(b"200 OK")  # the connection serves on
    await relay.ask("DELETE", location)


# Manifests


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


def having(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def layer(**fields: object) -> bytes:
    return having(layers=[{"mediaType": LAYER, "digest": str(MISSING), "size": 1, **fields}])


BAD_MANIFESTS = [
    b"", b" ", b"null", b"[]", b'"x"', b"1", b"{", b"{}{}", b"\x00", b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
    b'{"a":"\xff"}', "{}".encode("utf-16"), nested(100_000), b"[" * 100_000, b'{"a":' * 100_000,
    b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,"a":2}',
    b'{"layers":[],"layers":null}', having(schemaVersion=1), having(schemaVersion="2"),
    having(mediaType=5), having(mediaType=""), having(config=[]), having(config={}), having(layers={}),
    having(layers=[None]), having(layers=[[]]), having(manifests="x"), having(subject=str(MISSING)),
    having(annotations={"a": 1}), having(annotations=[]),
    having(artifactType=["x"]),
    layer(size=-1), layer(size=2**64), layer(size=10**400), layer(size=1.0), layer(size="1"), layer(size=True),
    layer(size=None), layer(digest=5), layer(digest=""), layer(digest="sha256:../../etc/passwd"),
    layer(digest=f"sha256:{'A' * 64}"), layer(digest=f"{MISSING}\n"), layer(mediaType=5), layer(urls="x"),
    layer(urls=[5]), layer(platform="linux"), layer(platform={"os": 5}), layer(annotations={"a": 1}),
    having(layers=[], manifests=[]), having(config=described(b"{}"), manifests=[]),
    json.dumps({"mediaType": OCI_INDEX, "manifests": []}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("content", BAD_MANIFESTS, ids=shown(BAD_MANIFESTS))
@pytest.mark.parametrize("by", ["tag", "digest"])
async def test_a_bad_manifest_is_none(relay: Relay, content: bytes, by: str) -> None:
    reference = Digest.of(content) if by == "digest" else "v1"

    answer = await relay.put(reference, content)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert (await relay.get(reference)).status == 404


@pytest.mark.parametrize(
    "media_type",
    ["", ";", "x", "application", "a/b/c", "text/html\u00e9/x", "*/*", "a/" + "b" * 200, "a /b", "a/b\x7f"],
)
async def test_a_bad_media_type_is_none(relay: Relay, media_type: str) -> None:
    answer = await raw(relay, "PUT", "/v2/app/manifests/v1", b'{"schemaVersion":2}', Content_Type=media_type)

    assert refused(answer) or answer.error == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + MIB])
async def test_a_manifest_over_4_mib_is_too_large(relay: Relay, size: int) -> None:
    empty = having(annotations={"a": ""})
    content = having(annotations={"a": "x" * (size - len(empty))})

    assert (await relay.put("v1", content)).error == (413, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "content",
    [
        having(layers=[described(b"never pushed")] * 25_000),
        having(config=described(b"never pushed", CONFIG)),
        having(layers=[{**described(f"{number}".encode()), "size": 2**60} for number in range(20_000)]),
    ],
    ids=["a layer many times", "a config", "many layers"],
)
async def test_what_names_blobs_that_are_not_there_is_refused(relay: Relay, content: bytes) -> None:
    assert (await relay.put("v1", content)).error == (400, "MANIFEST_BLOB_UNKNOWN")


FAR = {"urls": ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "", "\u0000"]}


@pytest.mark.parametrize(
    "pushed",
    [
        document(annotations={"a": "x" * MIB, "b": "\r\n##[error]::error::\x1b[31m\u202e" * 1000}),
        document(layers=[described(b"far away", **FAR)]),
        document(layers=[described(str(number).encode(), **FAR) for number in range(4000)]),
        document(OCI_INDEX, manifests=[described(str(number).encode(), OCI_MANIFEST) for number in range(10_000)]),
        document(OCI_INDEX, manifests=[described(b"x", "x")] * 10_000),
        document(subject=described(b"x", "x"), a=1e300, b=[{}] * 10_000, c=json.loads("[" * 100 + "]" * 100)),
        document(OCI_INDEX, manifests=[described(b"x", OCI_INDEX, platform={"os": "\n", "architecture": "\x00"})]),
    ],
    ids=["annotations", "urls", "many urls", "many children", "a child many times", "odd fields", "odd platform"],
)
async def test_an_odd_manifest_is_kept_as_it_is(relay: Relay, pushed: object) -> None:
    assert isinstance(pushed, type(document()))

    await relay.push(pushed, pushed.digest, "v1")

    assert (await relay.get("v1")).body == pushed.content
    assert (await relay.ask("GET", "/relay/images")).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"schemaVersion": 10**30},
        {"annotations": {"a\udfff": "\ud800"}, "artifactType": "\ud800"},
        {"layers": [described(b"x", "\ud800", urls=["\ud800"], annotations={"\ud800": "\ud800"})]},
    ],
    ids=["huge version", "half characters", "half characters in a layer"],
)
async def test_odd_fields_break_nothing(relay: Relay, fields: dict[str, object]) -> None:
    await relay.push_blob(b"{}")
    fields = {"subject": described(b"x", "x"), "config": described(b"{}", CONFIG), **fields}
    pushed = document(**fields)

    await relay.push(pushed, "v1", pushed.digest)
    await relay.push(pushed_index(pushed.descriptor(platform={"os": "\ud800", "architecture": "x"})), "v2")

    for path in ("manifests/v1", f"referrers/{Digest.of(b'x')}", "tags/list"):
        assert (await relay.ask("GET", f"/v2/app/{path}")).status == 200
    assert (await relay.ask("GET", "/relay/images")).status == 200


async def test_a_manifest_may_have_itself_for_a_subject_only_in_name(relay: Relay) -> None:
    first = await relay.push(document(annotations={}), "v1")
    second = await relay.push(document(subject=first.descriptor()), "v1")

    listed = await relay.ask("GET", f"/v2/app/referrers/{second.digest}")

    assert listed.json["manifests"] == []


async def test_indexes_may_be_nested_deeply(relay: Relay) -> None:
    require_open_files()
    chain = [pushed_index()]
    for _ in range(1000):
        chain.append(pushed_index(chain[-1].descriptor()))
        await relay.push(chain[-2])

    await relay.push(chain[-1], "v1")

    assert relay.files() == []
    assert (await relay.get(chain[0].digest)).body == chain[0].content


# Queries and ranges


@pytest.mark.parametrize("query", ["n=-1", "n=abc", "n=", "n=%00", f"n={'9' * 7000}", "n=1%0d%0aX-Injected:%201"])
@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/app/tags/list"])
async def test_a_bad_page_is_refused(relay: Relay, path: str, query: str) -> None:
    await relay.push_image("v1")

    assert (await raw(relay, "GET", f"{path}?{query}")).error == (400, "PAGINATION_NUMBER_INVALID")


@pytest.mark.parametrize(
    "query", ["n=0", f"n={10**30}", "last=../", "last=%00", "last=%ff", "n=1&last=%0d%0aX:%20y", "&&=", "%"]
)
@pytest.mark.parametrize("path", ["/v2/_catalog", "/v2/app/tags/list"])
async def test_an_odd_page_is_one(relay: Relay, path: str, query: str) -> None:
    await relay.push_image("v1")

    answer = await raw(relay, "GET", f"{path}?{query}")

    assert answer.status == 200
    assert "X" not in answer.headers


async def test_a_filter_is_only_compared(relay: Relay) -> None:
    answer = await raw(relay, "GET", f"/v2/app/referrers/{DIGEST}?artifactType=a%0d%0aX-Injected:%201")

    assert (answer.status, answer.headers["OCI-Filters-Applied"]) == (200, "artifactType")
    assert "X-Injected" not in answer.headers


@pytest.mark.parametrize("source", ["", "from=../x", "from=app", "from=_catalog", "from=%00", "from=a&from=b", "from"])
async def test_a_mount_of_nothing_opens_an_upload(relay: Relay, source: str) -> None:
    answer = await raw(relay, "POST", f"/v2/app/blobs/uploads/?mount={MISSING}&{source}", Content_Length="0")

    assert answer.status == 202
    await relay.ask("DELETE", answer.headers["Location"])


async def test_odd_parameters_are_passed_over(relay: Relay) -> None:
    location = await relay.open_upload(query="?ns=docker.io&x=%00&x=2")

    assert (await raw(relay, "GET", f"{location}?digest=..%2f&x=%ff")).status == 204
    await relay.ask("DELETE", location)


@pytest.mark.parametrize("span", ["-0", "5-2", "", "10-", "-", "--1", f"{10**30}-", "9" * 5000 + "-", "\u0663-"])
async def test_a_bad_range_is_refused(relay: Relay, span: str) -> None:
    digest = await relay.push_blob(CONTENT)

    answer = await raw(relay, "GET", f"/v2/app/blobs/{digest}", Range=f"bytes={span}")

    assert answer.error == (416, "RANGE_INVALID")
    await relay.ask("DELETE", f"/v2/app/blobs/{digest}")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", CONTENT[:1]),
        ("bytes=-99999999", CONTENT),
        (f"bytes=0-{10**30}", CONTENT),
        (f"bytes=-{10**30}", CONTENT),
        ("items=0-1", CONTENT),
        ("bytes", CONTENT),
    ],
)
async def test_an_odd_range_is_one_or_none(relay: Relay, header: str, part: bytes) -> None:
    digest = await relay.push_blob(CONTENT)

    answer = await raw(relay, "GET", f"/v2/app/blobs/{digest}", Range=header)

    assert (answer.status, answer.body) == (206 if header.startswith("bytes=") else 200, part)
    await relay.ask("DELETE", f"/v2/app/blobs/{digest}")


async def test_an_image_of_many_small_requests_at_once_is_whole(relay: Relay) -> None:
    contents = [bytes([number]) * number for number in range(50)]
    await asyncio.gather(*(relay.push_blob(content) for content in contents))

    await relay.push(pushed_image(*contents), "v1")

    for content in contents:
        assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(content)}")).body == content
