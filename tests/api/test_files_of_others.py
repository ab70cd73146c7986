"""Tarballs and layouts that others put into the folder of the relay."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.api.relay import Relay
from tests.api.test_images import files_of, image_of
from tests.tarballs import COMPRESSIONS, legacy_save, oci_save, sample

IMAGE = sample(b"foreign")
SAVED = legacy_save(IMAGE, "app:v7")
LAYOUT = files_of(oci_save(IMAGE, "app:v7", compression="gzip"))


async def place(relay: Relay, name: str, content: bytes) -> Path:
    path = relay.data / name

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    await asyncio.to_thread(write)
    return path


@pytest.mark.parametrize(
    ("file", "name", "tag"),
    [
        ("myimage.tar", "myimage", "latest"),
        ("myimage.tar.gz", "myimage", "latest"),
        ("myimage.tgz", "myimage", "latest"),
        ("myimage.tar.zst", "myimage", "latest"),
        ("myimage.tar.zstd", "myimage", "latest"),
        ("myimage.TBZ", "myimage", "latest"),
        ("My Image+1.TAR", "my-image-1", "latest"),
        ("myimage.tar", "artifact/myimage", "latest"),
        ("myimage.tar", "artifact/myimage", "v7"),
        ("myimage@v1.tar", "myimage", "v1"),
        ("myimage:v1.tgz", "myimage", "v1"),
        ("image-app@v1.tar", "image-app", "v1"),  # called as an archive of the relay, and none
    ],
)
async def test_a_tarball_is_an_image_by_its_name(relay: Relay, file: str, name: str, tag: str) -> None:
    content = COMPRESSIONS["zstd" if ".zst" in file else "plain" if "tar" in file.lower() else "gzip"](SAVED)
    await place(relay, file, content)

    assert await image_of(relay, tag, name) == IMAGE
    assert tag in (await relay.ask("GET", f"/v2/{name}/tags/list")).json["tags"]
    assert (
        name.removeprefix("artifact/") in (await relay.ask("GET", "/v2/_catalog")).json["repositories"] or tag == "v1"
    )


async def test_a_folder_with_a_layout_is_an_image(relay: Relay) -> None:
    for name, content in LAYOUT.items():
        await place(relay, f"my.image/{name}", content)
    outside = await place(relay, "secret/file", b"nobody's business")
    (relay.data / "my.image" / "blobs" / "link").symlink_to(outside)

    assert await image_of(relay, "latest", "my.image") == IMAGE
    assert (await relay.ask("GET", "/v2/_catalog")).json["repositories"] == ["my.image"]


async def test_a_layout_that_is_written_anew_is_another_image(relay: Relay) -> None:
    for name, content in LAYOUT.items():
        await place(relay, f"app/{name}", content)
    first = await image_of(relay, "latest", "app")
    newer = sample(b"newer")
    for name, content in files_of(oci_save(newer, "app:v8")).items():
        await place(relay, f"app/{name}", content)
    os.utime(relay.data / "app" / "index.json", (2_000_000_000, 2_000_000_000))

    async with asyncio.timeout(20):
        while await image_of(relay, "latest", "app") == first:
            pass

    assert await image_of(relay, "latest", "app") == newer


async def test_what_is_no_image_is_neither_listed_nor_in_the_way(relay: Relay) -> None:
    await place(relay, "notes.txt", b"x")
    await place(relay, "empty/index.json", b"{}")
    await place(relay, "._app.tar", b"\0\5\x16\7")
    await place(relay, "broken.tar", b"x")
    await place(relay, "image-app@v1.tar", b"x")
    (relay.data / "folder.tar").mkdir()
    await relay.push_image("v1")

    assert (await relay.ask("GET", "/v2/_catalog")).json["repositories"] == ["app"]
    assert (await relay.get("v1")).status == 200
    assert (await relay.get("latest", "broken")).error == (404, "MANIFEST_UNKNOWN")
    assert (await relay.ask("DELETE", "/relay/images")).status < 500
    assert (relay.data / "image-app@v1.tar").exists()


async def test_a_file_that_was_replaced_is_read_anew(relay: Relay) -> None:
    await place(relay, "myimage.tar", SAVED)
    assert await image_of(relay, "latest", "myimage") == IMAGE
    newer = sample(b"newer")
    await place(relay, "myimage.tar", legacy_save(newer, "app:v8"))

    async with asyncio.timeout(20):
        while await image_of(relay, "latest", "myimage") != newer:
            pass


async def test_a_404_names_them(relay: Relay) -> None:
    await place(relay, "My Image.tar", SAVED)

    assert (await relay.get("latest", "myimage")).message == (
        "myimage:latest is not here (there is: artifact/my-image); another tag, or not pushed yet?"
    )


async def test_what_others_have_stored_is_not_deleted(relay: Relay) -> None:
    file = await place(relay, "myimage.tar", SAVED)

    for path in ("/relay/images/myimage", "/v2/myimage/manifests/latest", "/relay/images/artifact/myimage?dry-run"):
        answer = await relay.ask("DELETE", path)
        assert answer.error == (405, "UNSUPPORTED")
        assert answer.message.endswith("was stored by another program; image-relay deletes what it has stored")

    assert await asyncio.to_thread(file.read_bytes) == SAVED


@pytest.mark.parametrize("lost", [["oci-layout"], ["oci-layout", "index.json"], ["oci-layout", "manifest.json"]])
async def test_a_folder_without_the_mark_of_a_layout_is_an_image(relay: Relay, lost: list[str]) -> None:
    for name, content in LAYOUT.items():
        if name not in lost:
            await place(relay, f"app/{name}", content)

    assert await image_of(relay, "latest", "app") == IMAGE
    assert (await relay.ask("GET", "/v2/_catalog")).json["repositories"] == ["app"]


@pytest.mark.parametrize("text", [b"{}", b'[{"Config": "absent"}]', b'[{"Config": "\0"}]', b""])
async def test_a_folder_with_any_manifest_json_is_none(relay: Relay, text: bytes) -> None:
    await place(relay, "app/manifest.json", text)
    await place(relay, "pipe/x", b"")
    os.mkfifo(relay.data / "pipe" / "manifest.json")

    assert (await relay.get("latest", "app")).status == 404
    assert (await relay.ask("GET", "/v2/_catalog")).json["repositories"] == []


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Image@v1.tar", "my-image"), ("My-Image@v1.tar", "my-image"), ("a+b@v1.tgz", "a-b"), ("a--b@v1.tar", "a--b")],
)
async def test_a_name_with_a_tag_is_converted_as_one_without(relay: Relay, file: str, name: str) -> None:
    await place(relay, file, SAVED)

    assert await image_of(relay, "v1", name) == IMAGE
    assert (await relay.ask("GET", f"/v2/{name}/tags/list")).json["tags"] == ["v1"]
    assert (await relay.get("v2", name)).status == 404


async def test_the_name_itself_comes_before_what_becomes_the_same(relay: Relay) -> None:
    await place(relay, "my-image@v1.tar", SAVED)
    other = await place(relay, "My Image@v1.tar", legacy_save(sample(b"other"), "app:v7"))
    os.utime(other, (2_000_000_000, 2_000_000_000))

    assert await image_of(relay, "v1", "my-image") == IMAGE


@pytest.mark.parametrize("name", ["\N{ROCKET}", "\u955c\u50cf"])
async def test_of_an_artifact_without_a_possible_name_is_told_what_to_do(relay: Relay, name: str) -> None:
    await place(relay, f"{name}.tar", SAVED)

    assert (
        f"The artifact '{name}.tar' cannot be pulled by its name: rename it, with letters a to z."
        in (await relay.get("latest", "app")).message
    )


async def test_what_nobody_has_is_not_told_to_be_of_another_program(relay: Relay) -> None:
    pushed = await relay.push_image("v2", name="myimage")
    await place(relay, "myimage.tar", b"no image at all")
    path = f"/relay/images/myimage@{pushed.digest}"

    first, again = await relay.ask("DELETE", path), await relay.ask("DELETE", path)
    other = await relay.ask("DELETE", "/relay/images/artifact/myimage:nope")

    assert (first.status, again.error) == (200, (404, "MANIFEST_UNKNOWN"))
    assert other.error == (404, "MANIFEST_UNKNOWN")
