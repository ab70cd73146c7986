"""What is no registry's: health, flush, images; and what a store that fails does to a push."""

import logging
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from yarl import URL

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.api.relay import CONFIG, Relay, described, document, pushed_index, running
from tests.registry_harness import noise

KEPT = 200_000  # bytes of a file where the disk is full


@contextmanager
def full_disk() -> Iterator[None]:
    """Let every file that grows over KEPT bytes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KEPT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_healthy_relay_says_what_it_is(relay: Relay) -> None:
    answer = await relay.ask("GET", "/relay/health")

    assert answer.status == 200
    known = {name: answer.json[name] for name in ("version", "uptime")}
    nothing: dict[str, list[str]] = {key: [] for key in ("pending", "unreadable", "failed", "refused", "missing")}
    assert answer.json == {"ready": True, **known, "store": "directory", **nothing}
    assert 0 <= answer.json["uptime"] < 60
    assert (await relay.ask("HEAD", "/relay/health")).status == 200


async def test_what_is_pending_is_shown_until_it_is_stored(relay: Relay) -> None:
    pushed = await relay.push_image()

    before = (await relay.ask("GET", "/relay/health")).json
    flushed = await relay.flush()
    after = (await relay.ask("GET", "/relay/health")).json

    assert before["pending"] == [f"app@{pushed.digest}"]
    assert (flushed.status, flushed.json) == (200, {"failed": []})
    assert after["pending"] == []
    assert relay.artifacts() == [f"image-app@sha256+{pushed.digest.hex}.tar.zst"]


async def test_a_flush_of_nothing_succeeds(relay: Relay) -> None:
    assert ((await relay.flush()).status, relay.artifacts()) == (200, [])


async def test_pending_images_are_stored_at_the_end(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        pushed = await relay.push_image()

    assert relay.artifacts() == [f"image-app@sha256+{pushed.digest.hex}.tar.zst"]
    assert relay.files() == []


async def test_a_flush_that_fails_says_what_is_not_durable(relay: Relay) -> None:
    pushed = await relay.push_image()
    relay.break_store()

    failed = await relay.flush()
    health = await relay.ask("GET", "/relay/health")

    (problem,) = failed.json["failed"]
    assert failed.status == 503
    assert problem["reference"] == f"app@{pushed.digest}"
    assert problem["problem"]
    assert (health.status, health.json["failed"]) == (200, [problem])
    assert (await relay.get(pushed.digest)).body == pushed.content

    relay.mend_store()
    assert (await relay.flush()).json == {"failed": []}
    assert relay.artifacts() == [f"image-app@sha256+{pushed.digest.hex}.tar.zst"]


async def test_a_failed_push_is_denied_and_goes_on_where_it_was(relay: Relay) -> None:
    older = await relay.push_image("v1", layers=[b"older"])
    newer = await relay.push_image(layers=[b"newer"])
    relay.break_store()

    refused = await relay.put("v1", newer.content)

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("app:v1 was not stored: ")
    assert (await relay.get("v1")).body == older.content
    assert (await relay.ask("GET", "/relay/health")).json["failed"][0]["reference"] == "app:v1"
    relay.mend_store()
    assert (await relay.put("v1", newer.content)).status == 201
    assert (await relay.get("v1")).body == newer.content
    assert (await relay.ask("GET", "/relay/health")).json["failed"] == []


async def test_of_several_tags_those_are_told_that_are_durable(relay: Relay) -> None:
    pushed = await relay.push_image("a", layers=[b"layer"])
    relay.break_store()

    some = await relay.put(pushed.digest, pushed.content, query="?tag=a&tag=b")
    none = await relay.put(pushed.digest, pushed.content, query="?tag=b&tag=c")

    assert some.status == 201
    assert some.headers.getall("OCI-Tag") == ["a"]
    assert none.error == (403, "DENIED")
    relay.mend_store()


async def test_a_full_disk_refuses_a_blob_and_leaves_nothing(relay: Relay) -> None:
    small = await relay.push_blob(noise(1000))
    large = noise(2 * KEPT)
    location = await relay.open_upload()

    with full_disk():
        patched = await relay.ask("PATCH", location, data=large)
        whole = await relay.ask("POST", f"/v2/app/blobs/uploads/?digest={Digest.of(large)}", data=large)

    for answer in (patched, whole):
        assert answer.error == (403, "DENIED")
        assert "free some space" in answer.message
    assert relay.files("uploads") == []
    assert relay.files("blobs") == [f"sha256/{small.hex}"]
    assert await relay.push_blob(large) == Digest.of(large)


async def test_a_full_disk_refuses_an_image_and_keeps_what_was_pushed(relay: Relay) -> None:
    layers = [noise(KEPT - 10_000, 1), noise(KEPT - 10_000, 2)]
    pushed = await relay.push_image(layers=layers)

    with full_disk():
        refused = await relay.put("v1", pushed.content)
        flushed = await relay.flush()

    assert refused.error == (403, "DENIED")
    assert "the disk is full" in refused.message
    assert flushed.status == 503
    assert list((relay.data / ".incoming").iterdir()) == []
    assert (await relay.get("v1")).status == 404
    assert (await relay.put("v1", pushed.content)).status == 201
    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(layers[0])}")).body == layers[0]


async def test_images_are_listed(relay: Relay) -> None:
    single = await relay.push_image("v1", name="team/app")
    child = await relay.push_image()
    both = await relay.push(
        pushed_index(
            child.descriptor(platform={"os": "linux", "architecture": "arm", "variant": "v7"}),
            child.descriptor(platform={"os": "unknown", "architecture": "unknown"}),
        ),
        "multi",
    )
    await relay.push_blob(b"{}")
    pending = await relay.push(document(config=described(b"{}", CONFIG)))

    images = (await relay.ask("GET", "/relay/images")).json["images"]

    shown = {each["references"][0]: each for each in images}
    assert set(shown) == {"team/app:v1", "app:multi", f"app@{pending.digest}"}
    first = shown["team/app:v1"]
    size = (relay.data / "image-team+app@v1.tar.zst").stat().st_size
    assert first["digest"] == str(single.digest)
    assert first["platforms"] == ["linux/amd64"]
    assert (first["stored"], first["artifact"], first["state"]) == (size, "image-team+app@v1", "durable")
    assert first["size"] > len(single.content)
    assert first["created"].endswith("Z")
    assert shown["app:multi"]["platforms"] == ["linux/arm/v7"]
    assert shown["app:multi"]["digest"] == str(both.digest)
    assert shown[f"app@{pending.digest}"]["state"] == "pending"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_flushing_is_a_post(relay: Relay, method: str) -> None:
    answer = await relay.ask(method, "/relay/flush")

    assert answer.error == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "POST"


async def test_a_folder_that_became_unwritable_refuses_in_a_sentence_whatever_is_asked(
    tiny_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy")
    async with running(tiny_disk, limits=Limits(free_disk=0)) as relay:
        pushed = await relay.push_image("v1", layers=[b"layer"])
        blob = await relay.push_blob(b"blob")
        subprocess.run(["mount", "-o", "remount,bind,ro", tiny_disk], check=True)  # noqa: ASYNC221, S603, S607
        caplog.clear()
        answers = [
            await relay.ask("POST", "/v2/app/blobs/uploads/"),
            await relay.ask("DELETE", f"/v2/app/blobs/{blob}"),
            await relay.ask("DELETE", "/v2/app/manifests/v1"),
            await relay.ask("DELETE", f"/v2/app/manifests/{pushed.digest}"),
            await relay.put("v2", pushed.content),
        ]
        refused = [record for record in caplog.records if record.name == "proxy.api.errors"]
        subprocess.run(["mount", "-o", "remount,bind,rw", tiny_disk], check=True)  # noqa: ASYNC221, S603, S607

    assert [answer.error for answer in answers] == [(403, "DENIED")] * 5
    for answer in answers[:-1]:
        assert answer.message.removeprefix(f"cannot write to {tiny_disk}").removeprefix("/spool") == (
            ": Read-only file system"
        )
    assert answers[-1].message == f"app:v2 was not stored: cannot write to {tiny_disk}: Read-only file system"
    assert [(line.levelno, line.exc_info) for line in refused] == [(logging.INFO, None)] * 5


async def test_an_upload_that_cannot_be_removed_is_refused_in_a_sentence(relay: Relay) -> None:
    location = await relay.open_upload()
    upload = relay.data / "spool" / "uploads" / URL(location).name
    upload.unlink()
    upload.mkdir()  # which root cannot remove as a file either

    refused = await relay.ask("DELETE", location)

    assert refused.error == (403, "DENIED")
    assert refused.message == f"cannot write to {relay.data / 'spool'}: Is a directory"
