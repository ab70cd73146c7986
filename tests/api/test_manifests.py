"""Manifests (distribution-spec, end-3, end-7 and end-9)."""

import asyncio
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_LIST, DOCKER_MANIFEST, LIMIT, OCI_INDEX, OCI_MANIFEST
from proxy.runtime.limits import Limits
from tests.api.relay import (
    CONFIG,
    Answer,
    Pushed,
    Relay,
    described,
    document,
    eventually,
    pushed_image,
    pushed_index,
    running,
)
from tests.registry_harness import noise

CONTENT = b"{}"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"


def created(answer: Answer, digest: Digest, **more: str) -> bool:
    told = {key: answer.headers.get(key) for key in ("Location", "Docker-Content-Digest", "OCI-Subject", "OCI-Tag")}
    wanted = {"Location": f"/v2/app/manifests/{digest}", "Docker-Content-Digest": str(digest)} | more
    return answer.status == 201 and {key: value for key, value in told.items() if value is not None} == wanted


# Reading


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("by", ["tag", "digest", "pending digest"])
async def test_a_manifest_comes_as_it_was_pushed(relay: Relay, method: str, by: str) -> None:
    pushed = await relay.push_image(*([] if by == "pending digest" else ["v1"]))

    answer = await relay.ask(method, f"/v2/app/manifests/{'v1' if by == 'tag' else pushed.digest}")

    told = {key.title(): value for key, value in answer.headers.items() if key not in {"Date", "Server"}}
    assert answer.status == 200
    assert told == {
        "Content-Type": OCI_MANIFEST,
        "Content-Length": str(len(pushed.content)),
        "Docker-Content-Digest": str(pushed.digest),
        "Etag": f'"{pushed.digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    assert answer.body == (pushed.content if method == "GET" else b"")


@pytest.mark.parametrize("accept", ["application/vnd.docker.distribution.manifest.v1+json", "*/*", "text/html"])
async def test_the_stored_type_is_served_whatever_is_accepted(relay: Relay, accept: str) -> None:
    await relay.push_image("v1")

    answer = await relay.ask("GET", "/v2/app/manifests/v1", headers={"Accept": accept})

    assert answer.headers["Content-Type"] == OCI_MANIFEST


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (OCI_MANIFEST, OCI_MANIFEST),
        (f"{OCI_MANIFEST}; charset=utf-8", OCI_MANIFEST),
        (DOCKER_MANIFEST, DOCKER_MANIFEST),
        ("application/vnd.Example.Thing.v1+json ;a=b;c=d", "application/vnd.Example.Thing.v1+json"),
    ],
)
@pytest.mark.parametrize("reference", ["v1", None])
async def test_the_media_type_is_kept_without_parameters(
    relay: Relay, sent: str, kept: str, reference: str | None
) -> None:
    await relay.push_blob(CONTENT)
    content = json.dumps({"config": described(CONTENT)}).encode()
    path = reference or str(Digest.of(content))

    assert (await relay.put(path, content, sent)).status == 201
    assert (await relay.get(path)).headers["Content-Type"] == kept


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "application/vnd.Example.Thing.v1+json"])
async def test_the_media_type_inside_does_where_none_is_sent(relay: Relay, media_type: str) -> None:
    pushed = document(media_type, annotations={})

    assert (await relay.ask("PUT", "/v2/app/manifests/v1", data=pushed.content)).status == 201
    assert (await relay.get("v1")).headers["Content-Type"] == media_type


async def test_the_same_bytes_may_get_another_media_type(relay: Relay) -> None:
    content = b'{"schemaVersion":2}'
    for media_type in ("application/vnd.example.a+json", "application/vnd.example.b+json"):
        assert (await relay.put("v1", content, media_type)).status == 201
        assert (await relay.get("v1")).headers["Content-Type"] == media_type


@pytest.mark.parametrize("reference", ["v2", Digest.of(b"nothing"), Digest.of(b"nothing", "sha512")])
async def test_a_manifest_that_is_not_there_is_unknown(relay: Relay, reference: object) -> None:
    await relay.push_image("ci")
    await relay.push_image("ci", name="web")

    answer = await relay.get(reference)

    assert answer.error == (404, "MANIFEST_UNKNOWN")
    assert str(reference)[:40] in answer.message
    assert "app:ci, web:ci" in answer.message
    head = await relay.ask("HEAD", f"/v2/app/manifests/{reference}")
    assert (head.status, head.body) == (404, b"")


async def test_an_empty_relay_says_that_it_is_empty(relay: Relay) -> None:
    assert "nothing yet" in (await relay.get("v1")).message


async def test_a_blob_is_no_manifest(relay: Relay) -> None:
    pushed = await relay.push_image("v1", layers=[CONTENT])

    assert (await relay.get(Digest.of(CONTENT))).error == (404, "MANIFEST_UNKNOWN")
    assert (await relay.get(pushed.digest)).status == 200


async def test_a_manifest_is_seen_by_its_repository_alone(relay: Relay) -> None:
    durable, pending = await relay.push_image("v1"), await relay.push_image()

    for reference in ("v1", durable.digest, pending.digest):
        assert (await relay.get(reference, "other")).error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("bad", ["sha256:abc", "sha256:baddigeststring", "md5:0", ".x", "-x", "x" * 129, "a%2fb"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_no_reference_is_said_to_be_none(relay: Relay, bad: str, method: str) -> None:
    answer = await relay.ask(method, f"/v2/app/manifests/{bad}")

    assert answer.error == (400, "DIGEST_INVALID" if ":" in bad else "TAG_INVALID")


# Pushing


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_is_pushed_by_digest(relay: Relay, algorithm: str) -> None:
    await relay.push_blob(CONTENT)
    pushed = pushed_image(CONTENT)
    digest = Digest.of(pushed.content, algorithm)

    answer = await relay.put(digest, pushed.content)

    assert created(answer, digest)
    assert (await relay.ask("GET", answer.headers["Location"])).body == pushed.content
    assert relay.artifacts() == []
    assert (await relay.flush()).json == {"failed": []}
    assert relay.artifacts() == [f"image-app@{algorithm}+{digest.hex}.tar.zst"[:200]] or algorithm == "sha512"
    assert (await relay.get(digest)).headers["Docker-Content-Digest"] == str(digest)
    assert relay.files() == []


async def test_a_manifest_pushed_by_tag_is_durable(relay: Relay) -> None:
    await relay.push_blob(CONTENT)
    pushed = pushed_image(CONTENT)

    assert created(await relay.put("v1", pushed.content), pushed.digest)
    assert relay.artifacts() == ["image-app@v1.tar.zst"]
    assert relay.files() == []


async def test_several_tags_make_an_archive_each(relay: Relay) -> None:
    await relay.push_blob(CONTENT)
    pushed = pushed_image(CONTENT)
    tags = [f"v{number}" for number in range(10)]

    answer = await relay.put(pushed.digest, pushed.content, query=f"?tag={'&tag='.join(tags)}&tag=v0")

    assert answer.status == 201
    assert answer.headers.getall("OCI-Tag") == tags
    assert relay.artifacts() == [f"image-app@{tag}.tar.zst" for tag in tags]
    for reference in (*tags, pushed.digest):
        assert (await relay.get(reference)).body == pushed.content


async def test_a_push_takes_effect_after_all_that_was_answered_before_it_came(relay: Relay) -> None:
    """Also one with many tags that is the same as another one, of which some tags are stored already."""
    first, second = document(config=None, annotations={"n": "1"}), document(config=None, annotations={"n": "2"})
    query = "?" + "&".join(f"tag=v{number}" for number in range(40))

    async def push() -> Answer:
        return await relay.put(first.digest, first.content, query=query)

    async with asyncio.TaskGroup() as group:
        early = group.create_task(push())
        while (await relay.get("v0")).status != 200:
            pass
        await relay.push(second, "v0")
        late = group.create_task(push())

    assert early.result().status == late.result().status == 201
    assert (await relay.get("v0")).body == first.content


async def test_a_tag_in_the_path_counts_beside_those_asked_for(relay: Relay) -> None:
    pushed = document(config=None)

    assert created(await relay.put("a", pushed.content, query="?tag=b"), pushed.digest, **{"OCI-Tag": "b"})
    assert relay.artifacts() == ["image-app@a.tar.zst", "image-app@b.tar.zst"]


async def test_a_tag_of_sha512_content_goes_by_that_digest(relay: Relay) -> None:
    pushed = document(config=None)
    digest = Digest.of(pushed.content, "sha512")

    assert created(await relay.put(digest, pushed.content, query="?tag=v1"), digest, **{"OCI-Tag": "v1"})
    assert (await relay.get("v1")).headers["Docker-Content-Digest"] == str(digest)


@pytest.mark.parametrize("query", ["?tag=", "?tag=.x", "?tag=a/b", "?tag=a&tag=b%0a"])
async def test_of_bad_tags_none_is_made(relay: Relay, query: str) -> None:
    pushed = document(config=None)

    assert (await relay.put(pushed.digest, pushed.content, query=query)).error == (400, "TAG_INVALID")
    assert (await relay.get(pushed.digest)).status == 404


async def test_the_digest_is_that_of_the_exact_bytes(relay: Relay) -> None:
    pushed = document(config=None)

    answer = await relay.put(pushed.digest, pushed.content + b"\n")

    assert answer.error == (400, "DIGEST_INVALID")


@pytest.mark.parametrize("missing", [True, False])
async def test_a_subject_is_confirmed_whether_it_is_there_or_not(relay: Relay, missing: bool) -> None:
    subject = pushed_image(CONTENT) if missing else await relay.push_image("v1")
    await relay.push_blob(CONTENT)
    pushed = pushed_image(CONTENT, subject=subject.descriptor())

    answer = await relay.put(pushed.digest, pushed.content)

    assert created(answer, pushed.digest, **{"OCI-Subject": str(subject.digest)})


@pytest.mark.parametrize("media_type", [FOREIGN, NONDISTRIBUTABLE, "application/vnd.example.layer"])
async def test_a_layer_that_lies_elsewhere_may_be_missing(relay: Relay, media_type: str) -> None:
    await relay.push_blob(CONTENT)
    urls = {"urls": ["http://169.254.169.254/latest"]} if "example" in media_type else {}
    layer = described(b"far away", media_type, **urls)
    pushed = document(config=described(CONTENT, CONFIG), layers=[layer])

    await relay.push(pushed, "v1")

    assert (await relay.get("v1")).body == pushed.content


@pytest.mark.parametrize("which", ["config", "layer"])
@pytest.mark.parametrize("reference", ["v1", None])
async def test_what_a_manifest_names_has_to_be_there(relay: Relay, which: str, reference: str | None) -> None:
    await relay.push_blob(b"there")
    await relay.push_blob(b"missing", "other")
    pushed = pushed_image(b"missing", b"there") if which == "config" else pushed_image(b"there", b"missing")

    answer = await relay.put(reference or pushed.digest, pushed.content)

    assert answer.error == (400, "MANIFEST_BLOB_UNKNOWN")
    assert str(Digest.of(b"missing")) in answer.message
    assert (await relay.get(reference or pushed.digest)).status == 404


async def test_sizes_have_to_be_right(relay: Relay) -> None:
    await relay.push_blob(CONTENT)
    pushed = document(config={**described(CONTENT, CONFIG), "size": 3})

    assert (await relay.put("v1", pushed.content)).error == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    ("inside", "sent"), [(OCI_MANIFEST, DOCKER_MANIFEST), (OCI_MANIFEST, OCI_INDEX), (OCI_INDEX, OCI_MANIFEST)]
)
async def test_the_media_type_inside_is_that_outside(relay: Relay, inside: str, sent: str) -> None:
    answer = await relay.put("v1", document(inside).content, sent)

    assert answer.error == (400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    ("fields", "media_type"),
    [
        ({"manifests": [], "layers": []}, OCI_MANIFEST),
        ({"manifests": [], "config": described(CONTENT)}, OCI_INDEX),
        ({"manifests": []}, DOCKER_MANIFEST),
        ({"layers": []}, DOCKER_LIST),
        ({"config": described(CONTENT)}, OCI_INDEX),
    ],
)
async def test_a_manifest_is_an_image_or_an_index(relay: Relay, fields: dict[str, object], media_type: str) -> None:
    await relay.push_blob(CONTENT)

    answer = await relay.put("v1", json.dumps(fields).encode(), media_type)

    assert answer.error == (400, "MANIFEST_INVALID")


async def test_a_manifest_may_have_4_mib_and_no_more(relay: Relay) -> None:
    empty = len(document(annotations={"a": ""}).content)
    largest = document(annotations={"a": "x" * (LIMIT - empty)})
    larger = document(annotations={"a": "x" * (LIMIT - empty + 1)})

    assert (await relay.put("v1", larger.content)).status == 413
    await relay.push(largest, "v1")
    assert (await relay.get("v1")).body == largest.content


# Indexes


async def test_an_index_takes_its_children_along(relay: Relay) -> None:
    children = [await relay.push_image(layers=[bytes([number])]) for number in range(3)]
    nested = await relay.push(pushed_index(*(child.descriptor() for child in children[1:])))

    root = await relay.push(pushed_index(children[0].descriptor(), nested.descriptor()), "v1")

    assert relay.artifacts() == ["image-app@v1.tar.zst"]
    assert relay.files() == []
    assert (await relay.get("v1")).headers["Content-Type"] == OCI_INDEX
    for manifest in (root, nested, *children):
        assert (await relay.get(manifest.digest)).body == manifest.content
    for number in range(3):
        assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(bytes([number]))}")).body == bytes([number])


async def test_an_index_may_lack_children(relay: Relay) -> None:
    here, away = await relay.push_image(), pushed_image(CONTENT)

    await relay.push(pushed_index(here.descriptor(), away.descriptor()), "v1")

    assert (await relay.get(here.digest)).status == 200
    assert (await relay.get(away.digest)).status == 404


async def test_an_empty_index_is_one(relay: Relay) -> None:
    pushed = await relay.push(pushed_index(), "v1")

    assert (await relay.get("v1")).body == pushed.content


@pytest.mark.parametrize("reference", ["v1", None])
async def test_the_children_of_an_old_build_cache_are_blobs(relay: Relay, reference: str | None) -> None:
    blobs = [b"layer one", b"layer two", b"cache config"]
    for content in blobs:
        await relay.push_blob(content)
    pushed = pushed_index(*(described(content) for content in blobs))

    await relay.push(pushed, reference or pushed.digest)

    if reference is None:
        for content in blobs:
            refused = await relay.ask("DELETE", f"/v2/app/blobs/{Digest.of(content)}")
            assert refused.error == (405, "UNSUPPORTED")
    assert (await relay.flush()).status == 200
    assert relay.files() == []
    for content in blobs:
        assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(content)}")).body == content


# RetryableError, and at once


@pytest.mark.parametrize("first", ["v1", None])
@pytest.mark.parametrize("then", ["v1", "v2", None])
async def test_the_same_manifest_may_be_pushed_again(relay: Relay, first: str | None, then: str | None) -> None:
    pushed = await relay.push_image(*([first] if first else []))

    await relay.push(pushed, then or pushed.digest)

    for reference in {first, then} - {None} | {str(pushed.digest)}:
        assert (await relay.get(reference)).body == pushed.content
    assert (await relay.flush()).json == {"failed": []}
    tags = sorted({each for each in (first, then) if each})
    stored = [f"image-app@{tag}.tar.zst" for tag in tags] or [f"image-app@sha256+{pushed.digest.hex}.tar.zst"]
    assert relay.artifacts() == stored


@pytest.mark.parametrize("by", ["tag", "digest", "both"])
async def test_the_same_manifest_may_be_pushed_by_many_at_once(relay: Relay, by: str) -> None:
    layer = noise(300_000)
    for content in (CONTENT, layer):
        await relay.push_blob(content)
    pushed = pushed_image(CONTENT, layer)
    ways: dict[str, list[object]] = {"tag": ["v1"], "digest": [pushed.digest], "both": ["v1", pushed.digest]}

    answers = await asyncio.gather(*(relay.put(each, pushed.content) for each in ways[by] * 20))

    assert [answer.body for answer in answers if answer.status != 201] == []
    assert all(created(answer, pushed.digest) for answer in answers)
    await relay.flush()
    assert len(relay.artifacts()) == 1
    assert relay.files() == []
    assert (await relay.get(pushed.digest)).body == pushed.content


async def test_different_manifests_under_one_tag_at_once_leave_one_whole(relay: Relay) -> None:
    images = [await relay.push_image(layers=[bytes([number])]) for number in range(10)]

    await asyncio.gather(*(relay.put("v1", each.content) for each in images))

    answering = await relay.get("v1")
    assert answering.body in {each.content for each in images}
    config_and_layer = answering.json["config"], *answering.json["layers"]
    for descriptor in config_and_layer:
        assert (await relay.ask("GET", f"/v2/app/blobs/{descriptor['digest']}")).status == 200


async def test_a_tag_moves_and_moves_back(relay: Relay) -> None:
    older, newer = await relay.push_image("v1", layers=[b"older"]), await relay.push_image("v1", layers=[b"newer"])

    assert (await relay.get("v1")).body == newer.content
    await relay.push(older, "v1")
    assert (await relay.get("v1")).body == older.content


async def test_what_is_pending_survives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as relay:
        child = await relay.push_image(layers=[noise(300_000)])
        root = await relay.push(pushed_index(child.descriptor()))
        relay.break_store()  # so that nothing is stored at the end

    relay.mend_store()
    async with running(tmp_path) as relay:
        assert relay.artifacts() == []
        assert (await relay.get(root.digest)).body == root.content
        health = (await relay.ask("GET", "/relay/health")).json
        assert sorted(health["pending"]) == sorted([f"app@{child.digest}", f"app@{root.digest}"])
        assert (await relay.flush()).status == 200
        assert relay.artifacts() == [f"image-app@sha256+{root.digest.hex}.tar.zst"]

    async with running(tmp_path) as relay:
        assert (await relay.get(child.digest)).body == child.content
        assert (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(noise(300_000))}")).status == 200


async def test_what_nothing_claims_is_stored_when_its_repository_is_quiet(tmp_path: Path) -> None:
    async with running(tmp_path, settle_seconds=0) as relay:
        pushed = await relay.push_image(name="team/app")
        await eventually(lambda: bool(relay.artifacts()))

        assert relay.artifacts() == [f"image-team+app@sha256+{pushed.digest.hex}.tar.zst"]
        assert (await relay.get(pushed.digest, "team/app")).body == pushed.content


# Waiting


async def test_who_waits_too_long_is_sent_to_the_same_place(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(first_answer=0)) as relay:
        await relay.push_blob(CONTENT)
        pushed = pushed_image(CONTENT)
        path = f"/v2/app/manifests/{pushed.digest}?tag=a%2Db&tag=c"

        told = await relay.ask("PUT", path, data=pushed.content, headers={"Content-Type": OCI_MANIFEST})
        location = re.sub("&waiting=[0-9a-f]+$", "", told.headers["Location"])
        assert (told.status, location) == (307, path.replace("%2D", "-"))

        done = await relay.ask(
            "PUT", path, data=pushed.content, headers={"Content-Type": OCI_MANIFEST}, allow_redirects=True
        )
        assert done.status == 201
        assert done.headers.getall("OCI-Tag") == ["a-b", "c"]


async def test_a_result_that_nobody_fetched_hides_no_later_push(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(first_answer=0)) as relay:
        older, newer = [pushed_image(content) for content in (b"older", b"newer")]
        for content in (b"older", b"newer"):
            await relay.push_blob(content)
        assert (await relay.put("v1", older.content)).status == 307
        for pushed in (newer, older):
            path, headers = "/v2/app/manifests/v1", {"Content-Type": OCI_MANIFEST}
            done = await relay.ask("PUT", path, data=pushed.content, headers=headers, allow_redirects=True)
            assert created(done, pushed.digest)
            (held,) = (await relay.ask("GET", "/relay/images")).json["images"]
            assert held["digest"] == str(pushed.digest)


# Deleting


async def deleted(relay: Relay, reference: object) -> Answer:
    return await relay.ask("DELETE", f"/v2/app/manifests/{reference}")


async def test_a_deleted_tag_is_gone_with_its_archive(relay: Relay) -> None:
    pushed = await relay.push_image("v1", layers=[CONTENT])

    answer = await deleted(relay, "v1")

    assert (answer.status, answer.body) == (202, b"")
    for path in (f"manifests/{pushed.digest}", "manifests/v1", f"blobs/{Digest.of(CONTENT)}"):
        assert (await relay.ask("HEAD", f"/v2/app/{path}")).status == 404
    assert relay.artifacts() == []
    assert (await deleted(relay, "v1")).error == (404, "MANIFEST_UNKNOWN")


async def test_a_manifest_survives_in_another_tag(relay: Relay) -> None:
    pushed = await relay.push_image("v1", "v2")

    await deleted(relay, "v1")

    assert (await relay.get(pushed.digest)).body == (await relay.get("v2")).body == pushed.content


async def test_a_deleted_digest_takes_all_its_tags(relay: Relay) -> None:
    pushed = await relay.push_image("v1", "v2")
    other = await relay.push_image("v3")

    assert (await deleted(relay, pushed.digest)).status == 202
    for reference in ("v1", "v2", pushed.digest):
        assert (await relay.get(reference)).status == 404
    assert (await relay.get("v3")).body == other.content
    assert (await deleted(relay, pushed.digest)).error == (404, "MANIFEST_UNKNOWN")


async def test_a_pending_manifest_is_deleted(relay: Relay) -> None:
    pushed = await relay.push_image()

    assert (await deleted(relay, pushed.digest)).status == 202
    assert (await relay.get(pushed.digest)).status == 404
    assert relay.files("pending") == []
    assert (await relay.flush()).json == {"failed": []}
    assert relay.artifacts() == []


async def test_a_part_of_an_image_is_not_deleted(relay: Relay) -> None:
    child = await relay.push_image()
    await relay.push(pushed_index(child.descriptor()), "v1")

    answer = await deleted(relay, child.digest)

    assert answer.error == (405, "UNSUPPORTED")
    assert "app:v1" in answer.message
    assert (await relay.get(child.digest)).status == 200


@pytest.mark.parametrize("reference", ["v1", Digest.of(b"nothing")])
async def test_what_is_not_there_is_not_deleted(relay: Relay, reference: object) -> None:
    assert (await deleted(relay, reference)).error == (404, "MANIFEST_UNKNOWN")


async def test_another_repository_keeps_what_is_deleted_here(relay: Relay) -> None:
    pushed: Pushed = await relay.push_image("v1")
    await relay.push_image("v1", name="other")

    await deleted(relay, pushed.digest)

    assert (await relay.get("v1", "other")).status == 200


async def test_a_manifest_that_rests_on_a_mount_is_durable_before_the_source_goes(relay: Relay) -> None:
    await relay.push_image("v1", name="source", layers=[b"shared"])
    digest, config = Digest.of(b"shared"), b'{"os":"linux"}'
    await relay.ask("POST", "/v2/app/blobs/uploads/", params={"mount": str(digest), "from": "source"})
    await relay.push_blob(config)
    pushed = await relay.push(pushed_image(config, b"shared"))

    assert (await relay.ask("DELETE", "/v2/source/manifests/v1")).status == 202

    assert (await relay.flush()).status == 200
    assert (await relay.get(pushed.digest)).body == pushed.content
    assert (await relay.ask("GET", f"/v2/app/blobs/{digest}")).body == b"shared"


async def test_what_a_pending_manifest_needs_is_not_deleted_while_that_cannot_be_stored(relay: Relay) -> None:
    await relay.push_image("v1", layers=[b"needed"])
    config = b'{"os":"linux"}'
    await relay.push_blob(config)
    pushed = await relay.push(pushed_image(config, b"needed"))
    relay.break_store()

    refused = await relay.ask("DELETE", "/v2/app/manifests/v1")

    assert refused.error == (403, "DENIED")
    assert f"is still needed by app@{pushed.digest}, which could not be stored (" in refused.message
    assert refused.message.endswith(f"push that again, or delete it: image-relay delete app@{pushed.digest}")
    relay.mend_store()
    assert (await relay.flush()).status == 200
    assert (await relay.get(pushed.digest)).body == pushed.content


# What was replaced


def still_open(relay: Relay) -> int:
    """Count the archives that were replaced or removed, and that the relay has open."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            path = str(each.readlink())
            found += path.startswith(str(relay.data)) and ".tar.zst" in path and path.endswith(" (deleted)")
    return found


@pytest.mark.parametrize("limits", [Limits(replaced_most=5)])
async def test_of_what_was_replaced_the_newest_is_still_read(relay: Relay) -> None:
    pushed = [await relay.push_image("v1", layers=[noise(2000 + number)]) for number in range(20)]

    found = [(await relay.get(each.digest)).status for each in pushed]

    assert found == [404] * 14 + [200] * 6
    assert still_open(relay) == 5


@pytest.mark.parametrize("limits", [Limits(replaced_kept=0.1)])
async def test_what_was_replaced_is_closed_without_any_request(relay: Relay) -> None:
    for size in range(20):
        pushed = await relay.push_image("v1", layers=[noise(2000 + size)])
        assert (await relay.get(pushed.digest)).body == pushed.content

    await eventually(lambda: still_open(relay) == 0)


async def test_what_was_replaced_is_read_though_a_listing_ends_while_it_is_replaced(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await relay.push_image("v1", layers=[b"older"])
    rename, loop, catalog = Path.rename, asyncio.get_running_loop(), relay.services.lookup.catalog

    async def list_anew() -> None:
        catalog.forget_listing()
        await catalog.ours()

    def renamed(path: Path, target: Path) -> Path:
        done = rename(path, target)
        if target.parent == relay.data:
            asyncio.run_coroutine_threadsafe(list_anew(), loop).result()
        return done

    monkeypatch.setattr(Path, "rename", renamed)
    await relay.push_image("v1", layers=[b"newer"])

    assert (await relay.get(older.digest)).body == older.content


@pytest.mark.parametrize("seconds", [0, 1e5])
async def test_what_is_pushed_answers_though_a_numbered_version_of_it_is_newer(relay: Relay, seconds: float) -> None:
    await relay.push_image("v1", layers=[b"older"])
    numbered = relay.data / "image-app@v1~2.tar.zst"
    (relay.data / "image-app@v1.tar.zst").rename(numbered)
    os.utime(numbered, (time.time() + seconds,) * 2)
    relay.services.lookup.catalog.forget_listing()

    newer = await relay.push_image("v1", layers=[b"newer"])

    assert (await relay.get("v1")).body == newer.content


AGENT = {"User-Agent": "containerd/1.7.24+unknown"}  # of buildx 0.13


async def push_as_a_step(relay: Relay, tag: str, number: int) -> Pushed:
    """Push an image as engines do that push the children of an index under its tag."""
    contents = f'{{"os":"linux","architecture":"{number}"}}'.encode(), bytes([number])
    for content in contents:
        await relay.push_blob(content)
    child = pushed_image(*contents)
    headers = {"Content-Type": child.media_type, **AGENT}
    assert (await relay.ask("PUT", f"/v2/app/manifests/{tag}", data=child.content, headers=headers)).status == 201
    return child


@pytest.mark.parametrize("limits", [Limits(replaced_kept=0.05, replaced_most=3)])
async def test_children_that_come_slowly_under_the_tag_of_their_index_are_all_in_it(relay: Relay) -> None:
    made = []
    for number in range(4):
        made.append(await push_as_a_step(relay, "v1", number))
        await relay.push_image("other", layers=[noise(10, number)])
        await asyncio.sleep(0.1)  # longer than what is replaced is kept
    root = pushed_index(*(each.descriptor() for each in made))
    await relay.push(root, "v1")

    for child in made:
        assert (await relay.get(child.digest)).body == child.content


@pytest.mark.parametrize("limits", [Limits(replaced_kept=0.2, replaced_most=50)])
async def test_steps_are_closed_once_something_else_takes_their_tag(relay: Relay) -> None:
    for number in range(5):
        await push_as_a_step(relay, "v1", number)
    assert await asyncio.to_thread(still_open, relay) > 0

    await relay.push_image("v1", layers=[b"no step"])

    async with asyncio.timeout(10):
        while await asyncio.to_thread(still_open, relay):  # noqa: ASYNC110 - closing a file sets no event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("limits", [Limits(replaced_most=3)])
async def test_steps_close_nothing_that_somebody_is_pulling(relay: Relay) -> None:
    layers = [noise(1000, 1), noise(1000, 2)]
    await relay.push_image("v1", layers=layers)
    await relay.push_image("v1", layers=[b"newer"])
    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(layers[0])}")).status == 200

    for number in range(6):
        await push_as_a_step(relay, "other", number)

    assert (await relay.ask("GET", f"/v2/app/blobs/{Digest.of(layers[1])}")).body == layers[1]
