"""Tarballs in and out: every shape in every compression, names, platforms, and what is refused."""

import asyncio
import json
import re
import resource
import shutil
import zlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from aiohttp import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from proxy.registry import image_import
from proxy.runtime.limits import Limits
from proxy.tarballs.members import members
from proxy.tarballs.streams import plain
from tests import tarballs
from tests.actions_store.relays import pulled
from tests.api.relay import Answer, Relay, connected, pushed_image, pushed_index, request, running
from tests.api.test_admin import full_disk
from tests.registry_harness import noise
from tests.tarballs import COMPRESSIONS, NO_DIGEST, SHAPES, Sample, sample

MIB = 1024 * 1024


async def put(relay: Relay, tarball: bytes, path: str = "/app:v1") -> Answer:
    return await relay.ask("PUT", f"/relay/images{path}", data=tarball)


async def get(relay: Relay, path: str) -> Answer:
    return await relay.ask("GET", f"/relay/images/{path}")


async def test_a_tarball_is_taken_although_somebody_has_removed_the_folder(relay: Relay) -> None:
    await asyncio.to_thread(shutil.rmtree, relay.data)

    assert (await put(relay, tarballs.legacy_save(sample(b"layer")))).status == 201
    assert (await get(relay, "app:v1")).status == 200


def opened(content: bytes) -> bytes:
    """Decompress, whatever it is."""
    if content.startswith(b"\x1f\x8b"):
        return zlib.decompress(content, 31)
    if not content.startswith(b"\x28\xb5\x2f\xfd"):
        return content
    with zstandard.ZstdDecompressor().stream_reader(BytesIO(content), read_across_frames=True) as reader:
        return reader.read()


def files_of(tarball: bytes) -> dict[str, bytes]:
    found = {}
    for member in members(plain(BytesIO(opened(tarball)))):
        content = b""
        while part := member.read(MIB):
            content += part
        found[member.name] = content
    return found


def together(*saved: bytes) -> bytes:
    """Write one tarball with the images of several of Docker's, each in a folder of its own."""
    files, entries = tarballs.Files(), list[tarballs.Fields]()
    for number, made in enumerate(saved):
        own = files_of(made)
        for each in json.loads(own.pop("manifest.json")):
            layers = [f"{number}/{path}" for path in each["Layers"]]
            entries.append({**each, "Config": f"{number}/{each['Config']}", "Layers": layers})
        files |= {f"{number}/{path}": content for path, content in own.items()}
    return tarballs.tar(files | {"manifest.json": json.dumps(entries).encode()})


async def image_of(relay: Relay, reference: object, name: str = "app") -> Sample:
    """Pull an image, and give what it has in it."""
    found = await pulled(relay, reference, name)
    manifest = json.loads(found["manifest"])
    while "manifests" in manifest:
        manifest = json.loads(found[manifest["manifests"][0]["digest"]])
    config = json.loads(found[manifest["config"]["digest"]])
    layers = tuple(opened(found[layer["digest"]]) for layer in manifest["layers"])
    assert [str(Digest.of(layer)) for layer in layers] == config["rootfs"]["diff_ids"]
    return Sample(layers, config.get("architecture", ""))


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_in_every_compression_becomes_the_same_image(
    relay: Relay, shape: str, compression: str
) -> None:
    image = sample(f"{shape} {compression}".encode())
    made = SHAPES[shape](image, "localhost:5000/app:v1")

    answer = await put(relay, COMPRESSIONS[compression](made))
    again = await put(relay, made, "/other:v1")

    (taken,), (other,) = answer.json["images"], again.json["images"]
    assert (answer.status, taken["reference"]) == (201, "app:v1")
    assert await image_of(relay, "v1") == image
    assert taken["digest"] == other["digest"] == (await relay.get("v1")).headers["Docker-Content-Digest"]
    assert taken["stored"] == (relay.data / "image-app@v1.tar.zst").stat().st_size
    if shape not in NO_DIGEST:
        assert f"blobs/sha256/{taken['digest'][7:]}" in files_of(made)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_what_comes_out_goes_in_again_as_the_same(relay: Relay, shape: str, compression: str) -> None:
    image = sample(shape.encode())
    first = (await put(relay, SHAPES[shape](image, "app:v1"))).json["images"]

    out = await get(relay, f"app:v1?compression={compression}")
    second = (await put(relay, out.body, "/copy:v1")).json["images"]

    assert out.status == 200
    assert second[0]["digest"] == first[0]["digest"]
    assert await image_of(relay, "v1", "copy") == image


async def test_an_image_of_another_registry_comes_out_as_the_file_that_is_stored(relay: Relay) -> None:
    await relay.push_image("v1", name="ghcr.io/org/app", layers=[noise(5 * MIB)])

    out = await get(relay, "ghcr.io/org/app:v1")

    assert out.body == (relay.data / "image-ghcr.io+org+app@v1.tar.zst").read_bytes()
    assert out.headers["Content-Type"] == "application/zstd"
    assert out.headers["Content-Disposition"] == 'attachment; filename="ghcr.io+org+app@v1.tar.zst"'


@pytest.mark.parametrize(
    ("compression", "media_type", "ending"),
    [("none", "application/x-tar", ""), ("gzip", "application/gzip", ".gz"), ("zstd", "application/zstd", ".zst")],
)
async def test_all_compressions_hold_the_same_tar(relay: Relay, compression: str, media_type: str, ending: str) -> None:
    await relay.push_image("v1", name="team/app", layers=[noise(3 * MIB), b"text " * MIB])
    one, head = await get(relay, "team/app:v1"), f"/relay/images/team/app:v1?compression={compression}"

    out, asked = await relay.ask("GET", head), await relay.ask("HEAD", head)

    assert opened(out.body) == opened(one.body)
    assert out.headers["Content-Type"] == media_type
    assert out.headers["Content-Disposition"] == f'attachment; filename="team+app@v1.tar{ending}"'
    assert asked.headers.get("Content-Length") == (None if compression == "gzip" else str(len(out.body)))


async def test_several_images_share_one_tarball_and_their_layers(relay: Relay) -> None:
    layers = [noise(2 * MIB, 1)]
    app = await relay.push_image("v1", layers=layers)
    web = await relay.push_image("v2", name="team/web", layers=[*layers, b"more"])

    out = await get(relay, "app:v1,localhost:5000/team/web:v2?compression=none")
    both = await put(relay, out.body, "")

    assert len(out.body) < 3 * MIB
    described = json.loads(files_of(out.body)["manifest.json"])
    assert [each["RepoTags"] for each in described] == [["app:v1"], ["localhost:5000/team/web:v2"]]
    taken = {each["reference"]: each["digest"] for each in both.json["images"]}
    assert taken == {"app:v1": str(app.digest), "team/web:v2": str(web.digest)}


async def test_one_platform_of_an_index_comes_out_alone(relay: Relay) -> None:
    images = [sample(b"one"), sample(b"other", architecture="arm64")]
    await put(relay, tarballs.buildx_oci(images, "app:v1"))

    arm = await get(relay, "app:v1?platform=linux/arm64")
    none = await get(relay, "app:v1?platform=linux/s390x")
    await put(relay, arm.body, "/arm:v1")

    assert none.error == (404, "MANIFEST_UNKNOWN")
    assert none.message == "app:v1 has no image for 'linux/s390x', only for linux/amd64, linux/arm64"
    assert await image_of(relay, "v1", "arm") == images[1]
    assert len(json.loads(files_of(arm.body)["index.json"])["manifests"]) == 1
    whole = await get(relay, "arm:v1?platform=linux")
    assert whole.status == 200
    assert (await get(relay, "arm:v1?platform=linux/amd64")).message.endswith("only for linux/arm64")


async def test_an_index_with_a_child_that_nobody_pushed_is_pulled_but_never_handed_out_in_silence(relay: Relay) -> None:
    there = await relay.push_image()
    amd64, arm64 = ({"os": "linux", "architecture": each} for each in ("amd64", "arm64"))
    absent = pushed_image(b"{}", b"absent")
    sparse = pushed_index(there.descriptor(platform=amd64), absent.descriptor(platform=arm64))
    await relay.push(sparse, "v1")
    await relay.push(pushed_index(absent.descriptor()), "hollow")

    refused = [await get(relay, reference) for reference in ("app:v1", "app:hollow", f"app@{sparse.digest}")]

    assert (await relay.get("v1")).body == sparse.content
    assert {each.error for each in refused} == {(404, "MANIFEST_UNKNOWN")}
    assert refused[0].message == (
        f"app:v1 is incomplete: linux/arm64 ({absent.digest}) is missing; push it, or choose ?platform="
    )
    assert (await get(relay, "app:v1?platform=linux/amd64")).status == 200
    assert (await get(relay, "app:v1?platform=linux/arm64")).status == 404


async def test_of_an_image_that_names_no_platform_that_is_told(relay: Relay) -> None:
    await relay.push_blob(b"{}")
    await relay.push(pushed_image(b"{}"), "v1")

    said = (await get(relay, "app:v1?platform=linux/amd64")).message

    assert said == "app:v1 has no image for 'linux/amd64', and does not say which platform it is for"


async def test_children_that_are_in_the_index_are_kept_with_it(relay: Relay) -> None:
    images = [sample(b"one"), sample(b"other", architecture="arm64")]

    (taken,) = (await put(relay, tarballs.buildx_oci(images, "app:v1"))).json["images"]

    answer = await relay.get("v1")
    assert len(answer.json["manifests"]) == 2
    assert taken["digest"] == answer.headers["Docker-Content-Digest"]
    assert await pulled(relay, "v1")
    assert relay.artifacts() == ["image-app@v1.tar.zst"]
    assert relay.files() == []


async def test_an_attestation_with_a_subject_is_kept_with_the_index_that_names_both(relay: Relay) -> None:
    content, files = tarballs.manifest_of(sample(), "gzip")
    described = tarballs.descriptor(content, OCI_MANIFEST)
    about = pushed_image(sample().config, subject=described).content
    both = [described, tarballs.descriptor(about, OCI_MANIFEST)]
    root = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": both}).encode()
    made = tarballs.layout(
        [tarballs.descriptor(root, OCI_INDEX)], {**files, **tarballs.blob(about), **tarballs.blob(root)}
    )

    await put(relay, tarballs.tar(made))

    assert await pulled(relay, "v1")
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


async def test_a_tarball_of_one_image_goes_under_any_name_and_without_one_under_its_own(relay: Relay) -> None:
    made = tarballs.legacy_save(sample(), "localhost:5000/team/app:v1", "ghcr.io/other:v2", "docker.io/library/hub:v3")

    await put(relay, made, "/else")
    own = await put(relay, made, "")
    with_host = await put(relay, made, "/localhost:5000/host/app:v9")

    assert [each["reference"] for each in own.json["images"]] == ["team/app:v1", "ghcr.io/other:v2", "hub:v3"]
    assert with_host.json["images"][0]["reference"] == "host/app:v9"
    assert (await relay.get("latest", "else")).status == 200


async def test_a_tarball_is_answered_only_if_all_its_names_are_stored(relay: Relay) -> None:
    (relay.data / "image-app@b.tar.zst").mkdir()

    answer = await put(relay, tarballs.oci_save(sample(), "app:a", "app:b"), "")

    assert answer.error == (403, "DENIED")
    assert "app:b was not stored: image-app@b.tar.zst is a folder" in answer.message


@pytest.mark.parametrize(
    "name", ["image.tar", "team/image.tar.gz", "image.tgz", "image.tar.zst", "Image.TAR", "My_Image.tar"]
)
async def test_the_name_of_a_file_is_not_taken_for_that_of_an_image(relay: Relay, name: str) -> None:
    answer = await put(relay, SHAPES["docker before 25"](sample(), "app:v1"), f"/{name}")

    assert answer.error == (400, "NAME_INVALID")
    assert answer.message.startswith(f"{name} is the name of a file, which curl -T appends")
    assert relay.artifacts() == []


async def test_of_several_images_that_of_the_name_is_taken(relay: Relay) -> None:
    one, two = sample(b"one"), sample(b"two")
    both = together(tarballs.legacy_save(one, "app:v1"), tarballs.legacy_save(two, "localhost:1/web:v1"))

    chosen = await put(relay, both, "/web:v1")
    none = await put(relay, both, "/neither:v1")
    everything = await put(relay, both, "")

    assert (chosen.status, await image_of(relay, "v1", "web")) == (201, two)
    assert none.error == (400, "MANIFEST_INVALID")
    assert none.message.startswith("the tarball holds 2 images (app:v1, web:v1), none of them neither:v1")
    assert [each["reference"] for each in everything.json["images"]] == ["app:v1", "web:v1"]


async def test_names_of_a_layout_without_any_come_from_docker(relay: Relay) -> None:
    content, files = tarballs.manifest_of(sample(), "gzip")
    docker = tarballs.entry(next(iter(tarballs.blob(sample().config))), [], ["app:v1"])
    bare = tarballs.tar(tarballs.layout([tarballs.descriptor(content, OCI_MANIFEST)], files, [docker]))

    assert [each["reference"] for each in (await put(relay, bare, "")).json["images"]] == ["app:v1"]


async def test_layers_that_no_registry_knows_are_stored_plain(relay: Relay) -> None:
    image = sample()
    files = files_of(tarballs.legacy_save(image, "app:v1"))
    packed = {
        name: COMPRESSIONS["xz"](content) if name.endswith("layer.tar") else content for name, content in files.items()
    }

    await put(relay, tarballs.tar(packed))

    assert await image_of(relay, "v1") == image
    assert json.loads((await relay.get("v1")).body)["layers"][0]["mediaType"] == tarballs.LAYER_TYPE


async def test_plain_layers_are_compressed_where_they_are_stored(relay: Relay) -> None:
    (taken,) = (await put(relay, tarballs.legacy_save(sample(b"text " * MIB)))).json["images"]

    assert taken["size"] > 10 * MIB
    assert taken["stored"] < MIB // 4


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("reference", ["A", "a//b", "app:", "app:.x", "app@sha256:12", "app:v1:v2", "a%00"])
async def test_what_is_no_reference_is_refused(relay: Relay, method: str, reference: str) -> None:
    answer = await relay.ask(method, f"/relay/images/{reference}", data=tarballs.legacy_save(sample()))

    assert (answer.status, answer.error[1]) in {
        (400, code) for code in ("NAME_INVALID", "TAG_INVALID", "DIGEST_INVALID")
    }


async def test_an_image_is_not_sent_under_a_digest_but_comes_out_under_one(relay: Relay) -> None:
    pushed = await relay.push_image("v1")

    refused = await put(relay, tarballs.legacy_save(sample()), f"/app@{pushed.digest}")
    out = await get(relay, f"app@{pushed.digest}")

    assert refused.error == (400, "TAG_INVALID")
    assert json.loads(files_of(out.body)["manifest.json"])[0]["RepoTags"] is None


async def test_what_is_not_there_does_not_come_out(relay: Relay) -> None:
    await relay.push_image("v1")

    assert (await get(relay, "app:v2")).error == (404, "MANIFEST_UNKNOWN")
    assert (await get(relay, "app:v1,app:v2")).error == (404, "MANIFEST_UNKNOWN")
    assert (await get(relay, "app:v1?compression=rar")).error == (400, "UNSUPPORTED")


def without(tarball: bytes, *names: str) -> bytes:
    return tarballs.tar({name: content for name, content in files_of(tarball).items() if name not in names})


def changed(tarball: bytes, **more: bytes) -> bytes:
    return tarballs.tar(files_of(tarball) | more)


LEGACY, SAVED = tarballs.legacy_save(sample(), "app:v1"), tarballs.oci_save(sample(), "app:v1")
LAYER = f"blobs/sha256/{Digest.of(sample().layers[0]).hex}"
CONFIG = f"{Digest.of(sample().config).hex}.json"
MANIFEST = next(iter(tarballs.blob(tarballs.manifest_of(sample(), "plain")[0])))


def with_roots(number: int, size: int) -> bytes:
    """Write a layout with several images, whose manifests have so many bytes each."""
    files, descriptors = {}, []
    for each in range(number):
        text = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "x": f"{each}" * size})
        digest = Digest.of(text.encode())
        files[f"blobs/sha256/{digest.hex}"] = text.encode()
        descriptors.append({"mediaType": OCI_INDEX, "digest": str(digest), "size": len(text)})
    return tarballs.tar(files | {"index.json": json.dumps({"manifests": descriptors}).encode()})


def with_docker_entries(layers: int) -> bytes:
    """Change a tarball of Docker's, such that its image has the same layer ever again."""
    return changed(LEGACY, **{"manifest.json": json.dumps([{"Config": CONFIG, "Layers": ["a"] * layers}]).encode()})


async def test_who_has_not_begun_to_send_keeps_nobody_waiting(relay: Relay) -> None:
    begun = request("PUT", "/relay/images/web:v1", {"Transfer-Encoding": "chunked"})
    async with AsyncExitStack() as stack, asyncio.timeout(20):
        for _ in range(3):
            await stack.enter_async_context(connected(relay.port, begun))

        assert (await put(relay, LEGACY)).status == 201


@pytest.mark.parametrize(
    ("tarball", "message"),
    [
        (b"", "this is not a tarball: it is empty"),
        (b"hello" * 1000, "this is not a tarball"),
        (
            tarballs.tar({"a": b"b"}),
            "holds no image: neither index.json nor manifest.json is in it; was it docker export",
        ),
        (without(LEGACY, CONFIG), f"the tarball lacks '{CONFIG}', which its manifest.json names"),
        (without(LEGACY, "id1/layer.tar"), "the tarball lacks 'id1/layer.tar', which its manifest.json names"),
        (changed(LEGACY, **{"id1/layer.tar": tarballs.tar({"x": b"y"})}), "the layer 'sha256:.* has the wrong content"),
        (changed(LEGACY, **{CONFIG: b"no json"}), "the config .* cannot be read"),
        (changed(LEGACY, **{CONFIG: b'{"rootfs":{"diff_ids":[]}}'}), "the config names 0 layers, manifest.json 2"),
        (changed(LEGACY, **{"manifest.json": b"[" * 100_000}), "manifest.json cannot be read"),
        (changed(LEGACY, **{"manifest.json": b'[{"Config":1}]'}), "manifest.json cannot be read"),
        (changed(LEGACY, **{"manifest.json": b"[]"}), "the tarball holds no image"),
        (changed(LEGACY, **{"manifest.json": b"[" + b" " * 5 * MIB + b"]"}), "manifest.json has .* bytes"),
        (
            changed(LEGACY, **{"manifest.json": b'[{"Config":"../../etc/passwd","Layers":["/etc/shadow"]}]'}),
            "the tarball lacks '../../etc/passwd'",
        ),
        (without(SAVED, LAYER), "the tarball lacks sha256:.*, which its image needs"),
        (without(SAVED, MANIFEST), "the tarball lacks sha256:.*, which its index.json names"),
        (changed(SAVED, **{LAYER: b"other"}), "the tarball is damaged: sha256:.* has the wrong content"),
        (without(changed(SAVED, **{"index.json": b"{}"}), "manifest.json"), "the tarball holds no image"),
        (changed(SAVED, **{"index.json": b"}"}), "index.json cannot be read"),
        (
            changed(SAVED, **{"index.json": b'{"manifests":[{"digest":"sha256:../../x","size":1}]}'}),
            "index.json cannot",
        ),
        (
            LEGACY[: LEGACY.rindex(b"{}") + 512 - LEGACY.rindex(b"{}") % 512] + tarballs.tar({"id0/layer.tar": b"2"}),
            "the tarball is damaged: the layer .* has the wrong content",
        ),
        (tarballs.tar({}, {"manifest.json": "manifest.json"}), "holds no image|no tarball"),
        (
            tarballs.tar({"l50": b"[]"}, {"manifest.json": "l0", **{f"l{n}": f"l{n + 1}" for n in range(50)}}),
            "the tarball holds no image",
        ),
        (with_roots(3, 3 * MIB), "the manifests in the tarball have more than 8388608 bytes"),
        (with_docker_entries(60_000), "the manifests in the tarball have more than 8388608 bytes"),
    ],
)
async def test_a_tarball_that_is_no_sound_image_is_refused_and_leaves_nothing(
    relay: Relay, tarball: bytes, message: str
) -> None:
    answer = await put(relay, tarball)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert re.search(message, answer.message)
    assert relay.artifacts() == relay.files("uploads") == relay.files("blobs") == []


async def test_a_tarball_without_a_name_needs_one(relay: Relay) -> None:
    assert (await put(relay, tarballs.legacy_save(sample()), "")).message == (
        "no image in the tarball has a name: give it one (save --file FILE app:v1, or PUT /relay/images/app:v1)"
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_told_and_never_becomes_another_image(data: st.DataObject, tmp_path: Path) -> None:
    # Of a plain tarball of Docker before 25 nothing tells whether the fields of the config are those that were written.
    kind = data.draw(st.sampled_from(sorted(COMPRESSIONS)))
    made = bytearray(COMPRESSIONS[kind](data.draw(st.sampled_from([LEGACY, SAVED]))))
    for _ in range(data.draw(st.integers(1, 5))):
        made[data.draw(st.integers(0, len(made) - 1))] ^= data.draw(st.integers(1, 255))

    async def send() -> None:
        async with running(tmp_path / "fuzzed") as relay:
            answer = await put(relay, bytes(made))
            assert answer.status in {201, 400}
            if answer.status == 201:
                assert (await image_of(relay, "v1")).layers == sample().layers
                await relay.ask("DELETE", "/v2/app/manifests/v1")
            assert relay.files("uploads") == []

    asyncio.run(send())


async def test_a_config_that_lost_a_field_is_taken_as_docker_load_takes_it(relay: Relay) -> None:
    damaged = LEGACY.replace(b'"architecture"', b'"arbhitecture"')

    assert (await put(relay, damaged)).status == 201
    assert await image_of(relay, "v1") == Sample(sample().layers, architecture="")


async def test_a_client_that_leaves_midway_leaves_nothing(relay: Relay) -> None:
    async def leaving() -> AsyncIterator[bytes]:
        yield LEGACY[:4000]
        raise ConnectionResetError

    with pytest.raises(ClientError):
        await relay.ask("PUT", "/relay/images/app:v1", data=leaving())
    await put(relay, LEGACY)

    assert relay.files("uploads") == relay.files("blobs") == []


async def test_a_full_disk_is_told_and_leaves_nothing(relay: Relay) -> None:
    made = tarballs.legacy_save(Sample((tarballs.tar({"x": noise(MIB)}),)))
    with full_disk():
        refused = await put(relay, made)

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("the disk is full")
    assert relay.files() == relay.artifacts() == []
    assert (await put(relay, made)).status == 201


async def test_a_store_that_fails_is_told_and_the_next_try_succeeds(relay: Relay) -> None:
    relay.break_store()

    refused = await put(relay, LEGACY)
    relay.mend_store()

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith("app:v1 was not stored: ")
    assert (await put(relay, LEGACY)).status == 201


async def test_who_watches_is_told_what_came_of_it(relay: Relay) -> None:
    told = await put(relay, LEGACY, "/app:v1?progress")

    assert (told.status, told.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert told.body.decode().splitlines()[-1].startswith(f"app:v1 {(await relay.get('v1')).headers['ETag'][1:-1]}: ")


async def test_who_watches_a_failure_is_told_and_gets_no_end(relay: Relay) -> None:
    with pytest.raises(Exception, match=r"[Pp]ayload"):
        await put(relay, b"no tarball", "/app:v1?progress")


@pytest.mark.parametrize("limits", [Limits(progress_poll=0.01)])
async def test_while_it_comes_who_watches_sees_how_far_it_is(relay: Relay) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield LEGACY[:4000]
        await gate.wait()
        yield LEGACY[4000:]

    async with relay.session.put(f"http://127.0.0.1:{relay.port}/relay/images/app:v1?progress", data=slow()) as answer:
        first = await answer.content.readline()
        gate.set()
        rest = await answer.read()

    assert first.decode().startswith("received ")
    assert rest.decode().splitlines()[-1].startswith("app:v1 sha256:")


async def test_tarballs_wait_for_each_other_and_all_are_taken(relay: Relay) -> None:
    made = [tarballs.legacy_save(sample(bytes([number]) * 5000)) for number in range(3 * image_import._AT_ONCE)]

    answers = await asyncio.gather(*(put(relay, each, f"/app:v{number}") for number, each in enumerate(made)))

    assert [answer.status for answer in answers] == [201] * len(made)


async def test_a_bomb_takes_neither_memory_nor_disk(relay: Relay) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = zstandard.compress(bytes(256 * MIB)) * 10

    answer = await put(relay, bomb)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert relay.files() == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024  # KiB; the bomb itself is made here


async def test_a_layer_of_a_tarball_is_shared_with_what_was_pushed(relay: Relay) -> None:
    image = sample()
    await put(relay, tarballs.legacy_save(image), "/app:v1")
    layer = json.loads((await relay.get("v1")).body)["layers"][0]["digest"]

    found = await relay.ask("HEAD", f"/v2/app/blobs/{layer}")

    assert found.status == 200


async def test_one_image_under_a_thousand_names_is_read_once(relay: Relay) -> None:
    text = tarballs.blob(tarballs.manifest_of(sample(), "plain")[0])[MANIFEST]
    names = [f"app:v{number}" for number in range(900)]
    descriptor = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(text)), "size": len(text)}
    index = {"manifests": [descriptor | {"annotations": {tarballs.NAME: name}} for name in names]}
    tarball = without(changed(SAVED, **{"index.json": json.dumps(index).encode()}), "manifest.json")

    answer = await put(relay, tarball, "/app:v7")

    assert answer.status == 201
    assert [each["reference"] for each in answer.json["images"]] == ["app:v7"]


async def test_what_is_asked_for_twice_comes_once(relay: Relay) -> None:
    await put(relay, SAVED)

    once = await relay.ask("GET", "/relay/images/app:v1?compression=none")
    twice = await relay.ask("GET", "/relay/images/app:v1,docker.io/library/app:v1?compression=none")

    assert once.body == twice.body
