"""Which file of an artifact is meant, as its users find out: names, contents, layouts, merged artifacts, listings."""

import asyncio
import zipfile
import zlib

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests import tarballs
from tests.actions_store.relays import Relays
from tests.actions_store.test_external_artifacts import IMAGE, SAVED, refusal, stored
from tests.api.relay import Relay
from tests.api.test_images import files_of, image_of
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Corrupt
from tests.fakes.actions.fixtures import Emulate
from tests.tarballs import COMPRESSIONS, Files, legacy_save, oci_save, sample, tar, zipped

OTHER = sample(b"other")
WEB = legacy_save(OTHER, "web:v2")
LAYOUT = files_of(oci_save(IMAGE, "app:v1", compression="gzip"))
UNPACKED = files_of(legacy_save(IMAGE, "app:v1"))
LOGS = COMPRESSIONS["gzip"](tar({"logs/today": b"fine"}))


def below(folder: str, files: Files) -> Files:
    return {folder + name: content for name, content in files.items()}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"My Image.tar": SAVED, "web.tar": WEB}, "artifact/stored/my-image"),
        ({"app+v1.tar": SAVED, "app@v2.tar": WEB}, "artifact/stored/app-v1"),
        ({"app@v1.tar": SAVED, "web.tar": WEB}, "artifact/stored/app-v1"),
        ({"amd64/app.tar": SAVED, "arm64/app.tar": WEB}, "artifact/stored/amd64/app"),
        ({"amd64/app.tar": SAVED, "arm64/app.tar": WEB}, "artifact/stored/amd64/app.tar"),
        ({"a/b/c/app.tar": SAVED, "a/x/c/app.tar": WEB}, "artifact/stored/b/c/app"),
        ({"stored.tar.gz": COMPRESSIONS["gzip"](SAVED), "web.tar": WEB}, "stored"),
        ({"out/Stored.TAR": SAVED, "web.tar": WEB}, "stored"),
        ({"app.tar": SAVED, "._app.tar": b"\0\5\x16\7" + bytes(500), "__MACOSX/._app.tar": b"x"}, "stored"),
        ({"app.tar": SAVED, ".DS_Store": b"x"}, "stored"),
        ({"out\\app.tar": SAVED, "out\\read me.txt": b"x", "out\\": b""}, "stored"),
        ({"out\\app.tar": SAVED, "other\\web.tar": WEB}, "artifact/stored/out/app"),
        *(({f"app{end}": SAVED, "notes.txt": b"x"}, "stored") for end in (".cnb", ".oci", ".docker", ".img", "")),
        ({"app.img": COMPRESSIONS["zstd"](SAVED), "big.bin": bytes(100_000)}, "stored"),
        ({"app.img": SAVED, "logs.tar.gz": LOGS}, "stored"),
        ({"app.tar": SAVED, "logs.tar.gz": LOGS}, "stored"),
        (below("out/", LAYOUT) | {"notes.txt": b"x"}, "stored"),
        (below("out/", LAYOUT) | below("web/", files_of(WEB)), "artifact/stored/out"),
        (below("deep/out/", LAYOUT), "stored"),
        (below("out\\", {name.replace("/", "\\"): each for name, each in LAYOUT.items()}), "stored"),
        (UNPACKED, "stored"),
        ({"../../../etc/cron.d/x": SAVED, "b": b""}, "stored"),  # a name is no path here
        (below("out/", UNPACKED), "stored"),
    ],
)
async def test_the_file_that_is_meant_is_pulled(emulate: Emulate, relays: Relays, files: Files, name: str) -> None:
    actions = emulate()
    await stored(actions, "stored", zipped(files))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", name) == IMAGE


@pytest.mark.parametrize(
    ("files", "name", "told"),
    [
        (
            {"a/app.tar": SAVED, "b/app.tar": WEB},
            "artifact/stored/app",
            "several tarballs are in it (a/app.tar, b/app.tar); pull artifact/stored/<file>",
        ),
        ({"a.cnb": SAVED, "b.img": WEB}, "stored", "several tarballs are in it (a.cnb, b.img)"),
        ({"a.zip": zipped({"app.tar": SAVED})}, "stored", "this is a zip: unzip it"),
        ({"report.html": b"<html>", "app.tar": SAVED}, "artifact/stored/report.html", "it is a page that begins with"),
        ({"logs.tar.gz": LOGS}, "stored", "neither index.json nor manifest.json is in it"),
        ({"a.txt": b"x", "b.txt": b"y"}, "stored", "no tarball is in it (a.txt, b.txt)"),
    ],
)
async def test_what_is_not_clear_is_told(emulate: Emulate, relays: Relays, files: Files, name: str, told: str) -> None:
    actions = emulate()
    await stored(actions, "stored", zipped(files))
    relay = await relays.start(actions, actions.job("test"))

    assert told in await refusal(relay, name)


async def test_the_archives_of_relays_in_a_merged_artifact_are_told_apart(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await relays.start(actions)
    for name, tag in (("app", "v1"), ("app", "v2"), ("ghcr.io/org/web", "v1")):
        await first.push_image(tag, name=name)
    files = [each for _, each in await archives(first, "app:v1", "app:v2", "ghcr.io/org/web:v1")]
    pushed = {reference: (await first.get(*reference)).body for reference in (("v1", "app"), ("v2", "app"))}
    names = ["image-app@v1", "image-app@v2", "image-ghcr.io+org+web@v1"]
    await stored(actions, "flat", zipped({f"{name}.tar.zst": each for name, each in zip(names, files, strict=True)}))
    await stored(
        actions, "nested", zipped({f"{name}/{name}.tar.zst": each for name, each in zip(names, files, strict=True)})
    )
    relay = await relays.start(actions, actions.job("test"))

    for merged in ("flat", "nested"):
        for (tag, name), content in pushed.items():
            assert (await relay.get(tag, f"artifact/{merged}/{name}")).body == content
        assert (await relay.get("v1", f"artifact/{merged}/ghcr.io/org/web")).status == 200
        assert (await relay.ask("GET", f"/v2/artifact/{merged}/app/tags/list")).json["tags"] == ["v1", "v2"]
        assert "several tarballs are in it" in await refusal(relay, f"artifact/{merged}", "v1")
        assert "several tarballs are in it" in await refusal(relay, f"artifact/{merged}/app", "v3")
    listed = (await relay.ask("GET", "/v2/_catalog")).json["repositories"]
    assert {"artifact/flat/app", "artifact/flat/ghcr.io/org/web", "artifact/nested/app"} <= set(listed)


async def archives(relay: Relay, *references: str) -> list[tuple[str, bytes]]:
    return [(each, (await relay.ask("GET", f"/relay/images/{each}")).body) for each in references]


@pytest.mark.parametrize("file", ["myimage.tar", "myimage.tgz", "My Image.tar.gz", "myimage.cnb"])
async def test_a_file_that_was_not_zipped_has_its_name_without_the_ending(
    emulate: Emulate, relays: Relays, file: str
) -> None:
    actions = emulate()
    await stored(actions, file, COMPRESSIONS["gzip"](SAVED))
    relay = await relays.start(actions, actions.job("test"))
    name = "my-image" if " " in file else "myimage"

    assert await image_of(relay, "latest", name) == IMAGE
    assert await image_of(relay, "latest", f"artifact/{name}") == IMAGE


async def test_an_artifact_may_have_the_tag_in_its_name(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "app@v1", zipped({"a.tar": SAVED}))
    await stored(actions, "app", zipped({"a.tar": WEB}))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "v1", "app") == IMAGE
    assert await image_of(relay, "v1", "artifact/app") == IMAGE
    assert await image_of(relay, "latest", "app") == OTHER
    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["latest", "v1"]


async def test_a_digest_is_pulled_as_the_tag_is(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    images = [IMAGE, sample(b"arm", architecture="arm64")]
    await stored(actions, "app", zipped({"a.tar": tarballs.buildx_oci(images, "app:v1")}))
    await stored(actions, "logs", zipped({"a.txt": b"x"}))
    first, fresh, other = [await relays.start(actions, actions.job(f"test {number}")) for number in range(3)]
    root = await first.get("latest", "app")
    child = root.json["manifests"][1]["digest"]

    assert (await fresh.get(Digest.of(root.body), "app")).body == root.body
    assert await image_of(other, child, "artifact/app") == images[1]
    assert (await other.get(Digest.of(b"unknown"), "app")).error == (404, "MANIFEST_UNKNOWN")
    assert (await other.get(Digest.of(b"unknown"), "logs")).error == (404, "MANIFEST_UNKNOWN")


async def test_images_in_artifacts_are_listed(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "My Image", zipped({"a.tar": SAVED}))
    await stored(actions, "two", zipped({"app.tar": SAVED, "web.img": WEB, "notes": b"x"}))
    await stored(actions, "logs", zipped({"a.txt": b"x"}))
    await stored(actions, "bare.tar", SAVED)
    await stored(actions, "report.html", b"<html>")
    relay = await relays.start(actions, actions.job("test"))
    await relay.push_image("v1", name="pushed")

    listed = (await relay.ask("GET", "/v2/_catalog")).json["repositories"]

    assert listed == ["artifact/two/app", "artifact/two/web", "bare", "my-image", "pushed"]
    tags = [(await relay.ask("GET", f"/v2/{name}/tags/list")).json["tags"] for name in listed]
    assert tags == [["latest"], ["latest", "v2"], ["latest"], ["latest"], ["v1"]]
    assert (await relay.ask("GET", "/v2/artifact/my-image/tags/list")).json["tags"] == ["latest"]
    assert (await relay.ask("GET", "/v2/logs/tags/list")).error == (404, "NAME_UNKNOWN")


async def test_a_listing_reads_little_of_each_artifact_and_only_once(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(
        actions,
        "app",
        zipped({f"{number}.bin": bytes(200_000) for number in range(50)} | {"a.tar": SAVED}, zipfile.ZIP_STORED),
    )
    relay = await relays.start(actions, actions.job("test"))
    actions.traffic.reset()

    listed = (await relay.ask("GET", "/v2/_catalog")).json["repositories"]
    requests = actions.traffic.blob_requests
    again = (await relay.ask("GET", "/v2/_catalog")).json["repositories"]

    assert listed == again == ["app"]
    assert 0 < requests <= 17
    assert actions.traffic.blob_requests == requests


async def test_a_404_lists_the_artifacts_of_others_and_the_nearest_name_first(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    for name in ("logs", "My Image", "myimage-arm64", *(f"report-{number}" for number in range(9))):
        await stored(actions, name, zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    await relay.push_image("v1", name="backend")

    assert "(it has: artifact/my-image, backend:v1, artifact/report-8, " in await refusal(relay, "myimage")
    assert "(it has: backend:v1, artifact/report-8, " in await refusal(relay, "backnd", "v1")
    assert "(it has: artifact/logs, backend:v1, " in await refusal(relay, "artifact/log")


def expanding(layout: Files) -> bytes:
    """Write a zip of a layout with a file of 1,300 MiB of zeros, in 1.3 MB."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    part = compressor.compress(bytes(20 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    content = bytearray(zipped(layout | {"blobs/zeros": part * 65 + b"\x03\x00"}, zipfile.ZIP_STORED))
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 10 : entry + 12] = zipfile.ZIP_DEFLATED.to_bytes(2, "little")
    content[entry + 24 : entry + 28] = (1300 << 20).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.timeout(240)  # it reads a gibibyte
async def test_a_layout_that_expands_beyond_all_proportion_is_refused(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "bomb", expanding(LAYOUT))
    relay = await relays.start(actions, actions.job("test"), limits=Limits(first_answer=200))

    assert "the zip expands more than 200 times: it is no image" in await refusal(relay, "bomb")
    assert relay.files("uploads") == relay.files("blobs") == []


@pytest.mark.parametrize("apart", [0, 40], ids=["the same header", "headers within another file"])
async def test_a_zip_whose_files_share_bytes_is_refused_before_any_is_read(
    emulate: Emulate, relays: Relays, apart: int
) -> None:
    actions = emulate()
    await stored(actions, "quoted", sharing(4000, apart))
    relay = await relays.start(actions, actions.job("test"))
    actions.traffic.reset()

    assert "the zip names the same bytes several times: it is no image" in await refusal(relay, "quoted")
    assert actions.traffic.blob_requests <= 2


def sharing(times: int, apart: int) -> bytes:
    """Write a zip that names one file several times, or whose files begin within another one."""
    content = zipped({"a.tar": SAVED})
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    entry = bytearray(content[start:end])
    directory = bytearray()
    for number in range(times):
        entry[42:46] = (number * apart % (start - 100)).to_bytes(4, "little")
        directory += entry
    tail = bytearray(content[end:])
    tail[8:12] = times.to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return content[:start] + bytes(directory) + bytes(tail)


async def test_reading_for_one_tag_refuses_no_other_one(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    first = await relays.start(actions)
    await first.push_image("v1")
    ((_, archive),) = await archives(first, "app:v1")
    await stored(actions, "merged", zipped({"image-app@v1.tar.zst": archive, "image-app@v2.tar.zst": b"damaged"}))
    relay = await relays.start(actions, actions.job("test"))

    assert "this is not a tarball" in await refusal(relay, "artifact/merged/app", "v2")
    assert (await relay.get("v1", "artifact/merged/app")).status == 200
    assert actions.traffic.blob_requests
    actions.traffic.reset()
    await asyncio.gather(*(refusal(relay, "artifact/merged/app", "v2") for _ in range(3)))
    assert actions.traffic.blob_requests == 0


async def test_an_artifact_that_cannot_be_read_hides_no_pushed_tags(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "app", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    await relay.push_image("v1")
    actions.plan.play(kinds.GET_RANGE, Corrupt(600), times=None)

    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == ["v1"]
