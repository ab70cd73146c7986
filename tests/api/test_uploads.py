"""Uploads of blobs (distribution-spec, end-4a to end-6, end-11, end-13, end-14)."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from proxy.oci.digest import Digest
from tests.api.relay import MIB, Answer, Relay, pushed_image
from tests.registry_harness import noise

CONTENT = b"0123456789"
DIGEST = Digest.of(CONTENT)


def progress(location: str, last: int) -> dict[str, str]:
    return {"Location": location, "Range": f"0-{last}", "Docker-Upload-UUID": URL(location).name}


def shows(answer: Answer, status: int, **headers: str) -> bool:
    told = {key: answer.headers.get(key) for key in headers}
    return answer.status == status and told == headers


async def patch(relay: Relay, location: str, chunk: bytes, span: str | None = None) -> Answer:
    return await relay.ask("PATCH", location, data=chunk, headers={"Content-Range": span} if span else {})


async def finish(
    relay: Relay, location: str, digest: object, chunk: bytes | None = None, span: str | None = None
) -> Answer:
    headers = {"Content-Range": span} if span else {}
    return await relay.ask("PUT", location, params={"digest": str(digest)}, data=chunk, headers=headers)


async def head(relay: Relay, digest: object, name: str = "app") -> Answer:
    return await relay.ask("HEAD", f"/v2/{name}/blobs/{digest}")


async def test_a_session_starts_empty(relay: Relay) -> None:
    answer = await relay.ask("POST", "/v2/team/app/blobs/uploads/")

    location = answer.headers["Location"]
    assert location.startswith("/v2/team/app/blobs/uploads/")
    assert shows(answer, 202, **progress(location, 0), **{"Content-Length": "0"})
    assert answer.body == b""


async def test_a_blob_is_streamed_and_then_there(relay: Relay) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, 10, 3):
            yield CONTENT[at : at + 3]

    location = await relay.open_upload()

    patched = await relay.ask("PATCH", location, data=stream())
    finished = await finish(relay, location, DIGEST)

    assert shows(patched, 202, **progress(location, 9))
    assert shows(finished, 201, **{"Location": f"/v2/app/blobs/{DIGEST}", "Docker-Content-Digest": str(DIGEST)})
    assert shows(await head(relay, DIGEST), 200, **{"Content-Length": "10", "Docker-Content-Digest": str(DIGEST)})
    assert relay.files("uploads") == []


@pytest.mark.parametrize("ending", [b"", b"89"], ids=["PUT without content", "PUT with the last chunk"])
async def test_a_blob_comes_in_chunks(relay: Relay, ending: bytes) -> None:
    location = await relay.open_upload()
    stop = 10 - len(ending)

    first = await patch(relay, location, CONTENT[:4], "0-3")
    second = await patch(relay, location, CONTENT[4:stop], f"4-{stop - 1}")
    asked = await relay.ask("GET", location)
    done = await finish(relay, location, DIGEST, ending or None, "8-9" if ending else None)

    assert shows(first, 202, **progress(location, 3))
    assert shows(second, 202, **progress(location, stop - 1))
    assert shows(asked, 204, **progress(location, stop - 1))
    assert done.status == 201
    assert (await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")).body == CONTENT


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("span", ["5-9", "0-3", "3-9"], ids=["ahead", "again", "overlapping"])
async def test_a_chunk_out_of_order_changes_nothing(relay: Relay, method: str, span: str) -> None:
    location = await relay.open_upload()
    await patch(relay, location, CONTENT[:4], "0-3")
    start, stop = map(int, span.split("-"))
    query = {"digest": str(DIGEST)} if method == "PUT" else {}

    refused = await relay.ask(
        method, location, params=query, data=CONTENT[start : stop + 1], headers={"Content-Range": span}
    )

    assert shows(refused, 416, **progress(location, 3))
    assert refused.error == (416, "RANGE_INVALID")
    assert shows(await relay.ask("GET", f"{location}?digest={DIGEST}"), 204, **progress(location, 3))
    assert (await patch(relay, location, CONTENT[4:], "4-9")).status == 202
    assert (await finish(relay, location, DIGEST)).status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "span", ["", "5-2", "0-", "-4", "a-b", "-1-4", "bytes 0-4/", "bits 0-9", "0-9/x", f"0-{10**30}"]
)
async def test_a_content_range_that_is_none_is_refused(relay: Relay, method: str, span: str) -> None:
    location = await relay.open_upload()
    query = {"digest": str(DIGEST)} if method == "PUT" else {}

    answer = await relay.ask(method, location, params=query, data=CONTENT, headers={"Content-Range": span})

    assert answer.error == (400, "BLOB_UPLOAD_INVALID")
    assert shows(await relay.ask("GET", location), 204, **progress(location, 0))


@pytest.mark.parametrize("span", ["bytes 0-9/10", "bytes 0-9/*", "bytes=0-9", "0-9/10"])
async def test_the_content_range_of_http_will_do(relay: Relay, span: str) -> None:
    location = await relay.open_upload()

    assert (await patch(relay, location, CONTENT, span)).status == 202
    assert (await finish(relay, location, DIGEST)).status == 201


@pytest.mark.parametrize("name", ["app", "registry.example:5000/app"])
@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("join", ["&", "?"])
async def test_what_a_hand_written_client_appends_to_a_location_is_found(
    relay: Relay, name: str, slash: str, join: str
) -> None:
    path, ns = (name, "") if name == "app" else ("app", "?ns=registry.example:5000")
    location = (await relay.ask("POST", f"/v2/{path}/blobs/uploads{slash}{ns}")).headers["Location"]

    await patch(relay, location, CONTENT)
    appended = await relay.ask("PUT", f"{location}{join}digest={DIGEST}")

    assert appended.status == 201
    assert (await relay.ask("GET", appended.headers["Location"])).body == CONTENT


@pytest.mark.parametrize("join", ["&", "?"])
async def test_a_digest_that_is_appended_wrongly_is_refused(relay: Relay, join: str) -> None:
    location = await relay.open_upload()

    assert (await relay.ask("PUT", f"{location}{join}digest=x")).error == (400, "DIGEST_INVALID")
    assert (await relay.ask("PUT", f"{location}?digest={DIGEST}&digest={DIGEST}")).error == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("span", ["0-4", "0-99", f"0-{2**63}"])
async def test_a_chunk_has_the_announced_length(relay: Relay, span: str) -> None:
    location = await relay.open_upload()

    answer = await patch(relay, location, CONTENT, span)

    assert answer.error == (400, "SIZE_INVALID")
    assert shows(await relay.ask("GET", location), 204, **progress(location, 0))


async def test_a_streamed_chunk_of_another_length_ends_the_session(relay: Relay) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield CONTENT

    location = await relay.open_upload()

    answer = await relay.ask("PATCH", location, data=stream(), headers={"Content-Range": "0-4"})

    assert answer.error == (400, "SIZE_INVALID")
    assert (await relay.ask("GET", location)).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert relay.files() == []


async def test_a_whole_blob_comes_with_the_post(relay: Relay) -> None:
    answer = await relay.ask("POST", "/v2/app/blobs/uploads/", params={"digest": str(DIGEST)}, data=CONTENT)

    assert shows(answer, 201, **{"Location": f"/v2/app/blobs/{DIGEST}", "Docker-Content-Digest": str(DIGEST)})
    assert (await relay.ask("GET", answer.headers["Location"])).body == CONTENT


async def test_a_whole_blob_comes_with_the_put(relay: Relay) -> None:
    location = await relay.open_upload()

    assert (await finish(relay, location, DIGEST, CONTENT)).status == 201
    assert (await head(relay, DIGEST)).status == 200


@pytest.mark.parametrize("announced", ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_sha512_works_announced_or_not(relay: Relay, announced: str, algorithm: str) -> None:
    digest = Digest.of(CONTENT, algorithm)
    location = await relay.open_upload(query=announced)
    await patch(relay, location, CONTENT)

    assert (await finish(relay, location, digest)).status == 201
    assert shows(await head(relay, digest), 200, **{"Docker-Content-Digest": str(digest)})


async def test_an_unknown_algorithm_opens_no_session(relay: Relay) -> None:
    answer = await relay.ask("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5")

    assert answer.error == (400, "DIGEST_INVALID")
    assert relay.files() == []


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH and PUT", "two PATCH and PUT"])
async def test_content_with_another_digest_leaves_nothing_behind(relay: Relay, way: str) -> None:
    wrong = Digest.of(b"other")
    if way == "POST":
        answer = await relay.ask("POST", "/v2/app/blobs/uploads/", params={"digest": str(wrong)}, data=CONTENT)
    else:
        location = await relay.open_upload()
        for _ in range(way.count("PATCH") + way.count("two")):
            await patch(relay, location, CONTENT)
        answer = await finish(relay, location, wrong, CONTENT if way == "PUT" else None)
        assert (await relay.ask("GET", location)).error == (404, "BLOB_UPLOAD_UNKNOWN")

    assert answer.error == (400, "DIGEST_INVALID")
    assert (await head(relay, wrong)).status == (await head(relay, DIGEST)).status == 404
    assert relay.files() == []


@pytest.mark.parametrize("bad", ["", "sha256:", "sha256:abc", "md5:0", f"sha256:{'G' * 64}"])
async def test_the_digest_of_an_upload_is_checked_before_its_content(relay: Relay, bad: str) -> None:
    location = await relay.open_upload()

    put = await finish(relay, location, bad, CONTENT)
    post = await relay.ask("POST", "/v2/app/blobs/uploads/", params={"digest": bad}, data=CONTENT)

    assert put.error == post.error == (400, "DIGEST_INVALID")
    assert shows(await relay.ask("GET", location), 204, **progress(location, 0))
    assert len(relay.files("uploads")) == 1


async def test_an_upload_ends_with_a_digest(relay: Relay) -> None:
    location = await relay.open_upload()

    assert (await relay.ask("PUT", location)).error == (400, "DIGEST_INVALID")
    assert (await relay.ask("PUT", f"{location}?digest={DIGEST}&digest={DIGEST}")).error == (400, "DIGEST_INVALID")


async def test_an_empty_chunk_is_answered_with_a_range_that_docker_can_read(relay: Relay) -> None:
    location = await relay.open_upload()

    assert shows(await patch(relay, location, b""), 202, **progress(location, 0))
    assert shows(await relay.ask("GET", location), 204, **progress(location, 0))


@pytest.mark.parametrize("way", ["POST", "PUT", "PATCH"])
async def test_a_blob_may_be_empty(relay: Relay, way: str) -> None:
    empty = Digest.of(b"")
    if way == "POST":
        answer = await relay.ask("POST", f"/v2/app/blobs/uploads/?digest={empty}")
    else:
        location = await relay.open_upload()
        if way == "PATCH":
            await patch(relay, location, b"")
        answer = await finish(relay, location, empty)

    assert answer.status == 201
    assert shows(await head(relay, empty), 200, **{"Content-Length": "0"})
    assert (await relay.ask("GET", f"/v2/app/blobs/{empty}")).body == b""


@pytest.mark.parametrize("cut", [1, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1])
async def test_chunks_may_be_cut_anywhere(relay: Relay, cut: int) -> None:
    content = noise(5 * MIB)
    digest = Digest.of(content)
    location = await relay.open_upload()

    await patch(relay, location, content[:cut], f"0-{cut - 1}")
    await patch(relay, location, content[cut:], f"{cut}-{len(content) - 1}")

    assert (await finish(relay, location, digest)).status == 201
    assert (await relay.ask("GET", f"/v2/app/blobs/{digest}")).body == content


async def test_a_cancelled_upload_is_gone(relay: Relay) -> None:
    location = await relay.open_upload()
    await patch(relay, location, CONTENT)

    assert (await relay.ask("DELETE", location)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await relay.ask(method, f"{location}?digest={DIGEST}")
        assert answer.error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert relay.files() == []


async def test_a_finished_upload_is_over_and_its_blob_stays(relay: Relay) -> None:
    location = await relay.open_upload()
    await finish(relay, location, DIGEST, CONTENT)

    assert (await finish(relay, location, DIGEST, CONTENT)).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await patch(relay, location, b"more")).error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")).body == CONTENT


async def test_a_session_belongs_to_its_repository(relay: Relay) -> None:
    location = await relay.open_upload("app")
    foreign = location.replace("/v2/app/", "/v2/other/")

    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await relay.ask(method, f"{foreign}?digest={DIGEST}", data=CONTENT if method != "GET" else None)
        assert answer.error == (404, "BLOB_UPLOAD_UNKNOWN")
    assert shows(await relay.ask("GET", location), 204, **progress(location, 0))


async def test_the_same_blob_may_be_pushed_by_many_at_once(relay: Relay) -> None:
    content = noise(MIB)

    digests = await asyncio.gather(*(relay.push_blob(content) for _ in range(20)))

    assert (await relay.ask("GET", f"/v2/app/blobs/{digests[0]}")).body == content
    assert relay.files("blobs") == [f"sha256/{digests[0].hex}"]
    assert relay.files("uploads") == []


# Mounts


async def mount(relay: Relay, digest: object, name: str = "other", **query: str) -> Answer:
    return await relay.ask("POST", f"/v2/{name}/blobs/uploads/", params={"mount": str(digest), **query})


@pytest.mark.parametrize("query", [{"from": "app"}, {}, {"from": "app", "origin": "localhost:5000"}])
@pytest.mark.parametrize("place", ["spool", "archive"])
async def test_a_blob_of_another_repository_is_mounted(relay: Relay, query: dict[str, str], place: str) -> None:
    if place == "archive":
        await relay.push_image("v1", layers=[CONTENT])
        assert relay.files() == []
    else:
        await relay.push_blob(CONTENT)

    answer = await mount(relay, DIGEST, **query)

    assert shows(answer, 201, **{"Location": f"/v2/other/blobs/{DIGEST}", "Docker-Content-Digest": str(DIGEST)})
    assert (await relay.ask("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT


@pytest.mark.parametrize(
    "source", ["unknown", "app", "other", "_catalog", "../x", "", "localhost:5000/app", "UPPER", "a%2fb"]
)
async def test_what_can_not_be_mounted_is_uploaded_instead(relay: Relay, source: str) -> None:
    await relay.push_blob(CONTENT, "third")

    answer = await mount(relay, DIGEST, **{"from": source})

    location = answer.headers["Location"]
    assert shows(answer, 202, **progress(location, 0))
    assert (await head(relay, DIGEST, "other")).status == 404
    assert (await finish(relay, location, DIGEST, CONTENT)).status == 201


async def test_a_missing_blob_is_uploaded_instead_of_mounted_from_anywhere(relay: Relay) -> None:
    assert (await mount(relay, DIGEST)).status == 202


async def test_a_mount_needs_a_digest(relay: Relay) -> None:
    assert (await mount(relay, "sha256:abc", **{"from": "app"})).error == (400, "DIGEST_INVALID")


async def test_what_is_mounted_can_be_had(relay: Relay) -> None:
    """Whatever the answer is: also for a manifest that is not stored yet."""
    pending = await relay.push_image()

    answer = await mount(relay, pending.digest, **{"from": "app"})

    assert (answer.status == 201) == ((await head(relay, pending.digest, "other")).status == 200)


async def test_mounting_the_same_blob_may_be_asked_by_many_at_once(relay: Relay) -> None:
    await relay.push_blob(CONTENT)

    answers = await asyncio.gather(*(mount(relay, DIGEST, **{"from": "app"}) for _ in range(20)))

    assert {answer.status for answer in answers} == {201}


async def test_a_mounted_blob_outlives_that_of_its_source(relay: Relay) -> None:
    await relay.push_blob(CONTENT)
    await mount(relay, DIGEST, **{"from": "app"})

    assert (await relay.ask("DELETE", f"/v2/app/blobs/{DIGEST}")).status == 202
    assert (await head(relay, DIGEST, "app")).status == 404
    assert (await relay.ask("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT


async def test_a_mounted_blob_outlives_a_move_of_the_tag_it_came_from(relay: Relay) -> None:
    config = b"{}"
    await relay.push_blob(config, "other")
    await relay.push_image("v1", layers=[CONTENT])
    await mount(relay, DIGEST, **{"from": "app"})

    await relay.push_image("v1", layers=[b"another layer"])

    assert (await head(relay, DIGEST, "other")).status == 200
    assert (await mount(relay, DIGEST, "third", **{"from": "app"})).status == 202  # "app" has it for a while only
    await relay.push(pushed_image(config, CONTENT), "v1", name="other")
    assert (await relay.ask("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT


async def test_a_mounted_blob_outlives_the_image_it_came_from(relay: Relay) -> None:
    await relay.push_image("v1", layers=[CONTENT])
    config = b"{}"
    await relay.push_blob(config, "other")
    await mount(relay, DIGEST, **{"from": "app"})

    pushed = await relay.push(pushed_image(config, CONTENT), "v1", name="other")
    await relay.ask("DELETE", "/v2/app/manifests/v1")

    assert (await relay.get("v1", "other")).body == pushed.content
    assert (await relay.ask("GET", f"/v2/other/blobs/{DIGEST}")).body == CONTENT
