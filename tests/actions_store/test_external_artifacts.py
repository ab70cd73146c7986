"""Artifacts that others stored, pulled as images: what upload-artifact writes, and what nobody should."""

import asyncio
import json
import time
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from proxy.oci.manifest import OCI_MANIFEST
from proxy.runtime.limits import Limits
from tests import tarballs
from tests.actions_store.relays import Relays
from tests.api.relay import Relay, eventually
from tests.api.test_images import files_of, image_of
from tests.fakes.actions import kinds
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.faults import Corrupt, Delay
from tests.fakes.actions.fixtures import Emulate, require_tools
from tests.fakes.actions.official import OfficialClient
from tests.fakes.actions.options import Flavour
from tests.registry_harness import noise
from tests.tarballs import COMPRESSIONS, SHAPES, Sample, legacy_save, sample, tar, zipped
from tests.unit.fakes.caller import Caller

MIB = 1024 * 1024
ENDINGS = {"plain": "tar", "gzip": "tar.gz", "bzip2": "tar.bz2", "xz": "tar.xz", "zstd": "tar.zst"}
IMAGE = sample(b"foreign", count=3)
SAVED = legacy_save(IMAGE, "myimage:latest")


async def stored(actions: Emulator, name: str, content: bytes) -> None:
    """Store an artifact, in a job before that of the relay."""
    assert (await Caller(actions, actions.job("build")).upload(name, content)).json["ok"]


async def refusal(relay: Relay, name: str, tag: str = "latest") -> str:
    answer = await relay.get(tag, name)
    assert answer.error == (404, "MANIFEST_UNKNOWN")
    return answer.message


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, None], ids=["deflated", "stored", "raw"])
async def test_a_tarball_in_an_artifact_is_pulled_as_the_image_that_it_is(
    emulate: Emulate, relays: Relays, compression: str, method: int | None
) -> None:
    actions, tarball = emulate(), COMPRESSIONS[compression](SAVED)
    file = f"myimage.{ENDINGS[compression]}"
    await stored(actions, "myimage", tarball if method is None else zipped({file: tarball}, method))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "myimage") == IMAGE
    assert await image_of(relay, "latest", "artifact/myimage") == IMAGE


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_is_understood(emulate: Emulate, relays: Relays, shape: str) -> None:
    actions, made = emulate(), SHAPES[shape](IMAGE, "team/app:v7")
    await stored(actions, "app", zipped({"image.tar": made}))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "app") == IMAGE
    assert await image_of(relay, "v7", "artifact/app") == IMAGE


@pytest.mark.parametrize("flavour", Flavour)
async def test_every_server_hands_them_out(emulate: Emulate, relays: Relays, flavour: Flavour) -> None:
    actions = emulate(flavour=flavour)
    image = Sample((tar({"big": noise(MIB - 100_000)}), *IMAGE.layers))
    await stored(actions, "myimage", zipped({"a.tar": legacy_save(image, "myimage:latest")}))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "myimage") == image


async def test_what_the_official_client_zipped_is_pulled(emulate: Emulate, relays: Relays, tmp_path: Path) -> None:
    actions, file = emulate(), tmp_path / "files" / "myimage.tar"
    file.parent.mkdir()
    file.write_bytes(SAVED)
    client = OfficialClient(require_tools(), actions.environment(actions.job("build")), tmp_path)
    for name, level in (("stored", 0), ("deflated", 6)):
        await asyncio.to_thread(client.upload, name, [file], compressionLevel=level)
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "stored") == IMAGE
    assert await image_of(relay, "latest", "deflated") == IMAGE


async def test_a_bare_file_of_the_official_client_is_pulled(emulate: Emulate, relays: Relays, tmp_path: Path) -> None:
    actions, file = emulate(), tmp_path / "files" / "myimage.tar.zst"
    file.parent.mkdir()
    file.write_bytes(COMPRESSIONS["zstd"](SAVED))
    client = OfficialClient(require_tools(), actions.environment(actions.job("build")), tmp_path)
    await asyncio.to_thread(client.upload, "ignored", [file], raw=True)
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "artifact/myimage.tar.zst") == IMAGE


async def test_an_artifact_is_read_once_and_again_only_when_it_was_given_up(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    await image_of(relay, "latest", "myimage")
    actions.traffic.reset()

    await image_of(relay, "latest", "myimage")
    again = actions.traffic.blob_requests
    for path in (relay.data / "spool" / "blobs" / "sha256").iterdir():
        path.unlink()
    image = await image_of(relay, "latest", "myimage")

    assert again == 0
    assert image == IMAGE
    assert actions.traffic.blob_requests > 0


async def test_a_manifest_that_was_read_opens_one_file_at_most(
    emulate: Emulate, relays: Relays, opened: list[str]
) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    await image_of(relay, "latest", "myimage")
    opened.clear()

    answer = await relay.get("latest", "myimage")

    assert answer.status == 200
    assert len([path for path in opened if path.startswith(str(relay.data))]) == 1


async def test_reading_survives_the_sweep_while_somebody_asks(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"), limits=Limits(unclaimed_kept=3.0))
    began = time.monotonic()

    while time.monotonic() < began + 3.5:  # nothing of it is older than a moment
        await image_of(relay, "latest", "myimage")
        await relay.services.spool.sweep()
        await asyncio.sleep(0.1)
    kept = len(relay.files("links"))
    while relay.files("links"):
        await asyncio.sleep(0.1)
        await relay.services.spool.sweep()

    assert kept == len(IMAGE.layers) + 2
    assert relay.files("links") == []
    assert await image_of(relay, "latest", "myimage") == IMAGE


async def test_what_was_pushed_wins_and_the_newest_artifact_wins_over_older_ones(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    relay = await relays.start(actions, actions.job("test"))
    await stored(actions, "myimage", zipped({"a.tar": legacy_save(sample(b"older"), "myimage:latest")}))
    before = await image_of(relay, "latest", "myimage")
    other = Caller(actions, actions.job("build", attempt=2))
    await other.upload("myimage", zipped({"a.tar": SAVED}))

    late = await relays.start(actions, actions.job("deploy", attempt=2))
    newest = await image_of(late, "latest", "myimage")
    pushed = await late.push_image("latest", name="myimage")

    assert before == sample(b"older")
    assert newest == IMAGE
    assert (await late.get("latest", "myimage")).body == pushed.content
    assert await image_of(late, "latest", "artifact/myimage") == IMAGE


async def test_which_file_and_which_image(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    app, web = sample(b"app"), sample(b"web")
    await stored(
        actions,
        "images",
        zipped({"out/app.tar": legacy_save(app, "x/app:v1"), "web.tar.gz": legacy_save(web, "web:v2")}),
    )
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "artifact/images/app") == app
    assert await image_of(relay, "latest", "artifact/images/app.tar") == app
    assert await image_of(relay, "v2", "artifact/images/web") == web
    assert await refusal(relay, "images") == (
        "the artifact images cannot be pulled: several tarballs are in it (out/app.tar, web.tar.gz); "
        "pull artifact/images/<file>"
    )
    assert "it holds x/app:v1; pull artifact/images:<tag>" in await refusal(relay, "artifact/images/app", "v3")


def together(samples: Mapping[str, Sample]) -> bytes:
    """Save several images to one tarball, each under its name."""
    descriptors: list[tarballs.Fields] = []
    files: tarballs.Files = {}
    for name, each in samples.items():
        content, more = tarballs.manifest_of(each, "gzip")
        annotations = {tarballs.NAME: f"docker.io/{name}"}
        descriptors.append(tarballs.descriptor(content, OCI_MANIFEST, annotations=annotations))
        files |= more
    return tar(tarballs.layout(descriptors, files))


async def test_an_image_of_several_in_one_tarball_is_picked_by_name_or_tag(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    samples = {"app:v1": sample(b"one"), "team/web:v1": sample(b"two"), "app:v2": sample(b"three")}
    await stored(actions, "images", zipped({"all.tar": together(samples)}))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "v2", "artifact/images") == samples["app:v2"]
    actions.traffic.reset()
    assert await image_of(relay, "v1", "artifact/images/app") == samples["app:v1"]
    assert await image_of(relay, "latest", "artifact/images/team/web") == samples["team/web:v1"]
    for name, tag in (("artifact/images", "v1"), ("artifact/images", "latest"), ("artifact/images/app", "latest")):
        assert "it holds app:v1, team/web:v1, app:v2" in await refusal(relay, name, tag)
    assert actions.traffic.blob_requests == 0  # all of them came with the first one


async def test_images_of_different_registries_in_one_tarball_are_told_apart(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    names = ["app:v1", "ghcr.io/team/app:v1", "quay.io/team/app:v1"]
    samples = {name: sample(name.encode()) for name in names}
    await stored(actions, "images", zipped({"all.tar": together(samples)}))
    relay = await relays.start(actions, actions.job("test"))

    for name in names:
        assert await image_of(relay, "v1", f"artifact/images/{name.partition(':')[0]}") == samples[name]
    assert f"it holds {', '.join(names)}" in await refusal(relay, "artifact/images/team/app", "v1")


async def test_images_of_one_tarball_that_are_asked_for_at_once_are_read_once(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    both = {"app:v1": sample(b"one", count=2), "web:v1": sample(b"two", count=2)}
    await stored(actions, "images", zipped({"all.tar": together(both)}))
    relay = await relays.start(actions, actions.job("test"))
    actions.traffic.reset()
    actions.plan.play(kinds.GET_RANGE, Delay(0.2))

    found = await asyncio.gather(
        image_of(relay, "latest", "artifact/images/app"), image_of(relay, "latest", "artifact/images/web")
    )

    assert list(found) == list(both.values())
    assert actions.traffic.blob_requests <= 4  # the end of the zip and its start, twice at most


async def test_a_wrong_tag_spoils_no_right_one_that_waits_for_the_same_artifact(
    emulate: Emulate, relays: Relays
) -> None:
    actions = emulate()
    both = {"app:v1": sample(b"one"), "web:v2": sample(b"two")}
    await stored(actions, "images", zipped({"all.tar": together(both)}))
    relay = await relays.start(actions, actions.job("test"))
    actions.plan.play(kinds.GET_RANGE, Delay(0.3))

    first = asyncio.create_task(image_of(relay, "latest", "artifact/images/app"))
    await eventually(lambda: actions.traffic.blob_requests > 0)
    wrong = asyncio.create_task(refusal(relay, "artifact/images", "nosuch"))
    await asyncio.sleep(0.05)  # so that it comes before the right one

    assert await image_of(relay, "v2", "artifact/images") == both["web:v2"]
    assert await first == both["app:v1"]
    assert "it holds app:v1, web:v2" in await wrong


async def test_when_some_of_several_images_were_given_up_they_are_read_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    both = {"app:v1": sample(b"one"), "web:v1": sample(b"two")}
    await stored(actions, "images", zipped({"all.tar": together(both)}))
    relay = await relays.start(actions, actions.job("test"))
    await image_of(relay, "latest", "artifact/images/app")
    for path in (relay.data / "spool" / "blobs" / "sha256").iterdir():
        path.unlink()

    assert await image_of(relay, "latest", "artifact/images/web") == both["web:v1"]


async def test_a_layout_that_lies_in_the_artifact_file_by_file_is_an_image(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    files = files_of(tarballs.oci_save(IMAGE, "app:v1", compression="gzip"))
    await stored(actions, "layout", zipped(files))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "layout") == IMAGE


async def test_names_that_no_repository_can_have_are_found_all_the_same(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "My Image (amd64)", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))

    assert await image_of(relay, "latest", "artifact/my-image-amd64") == IMAGE


async def test_an_index_of_several_platforms_comes_whole(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    made = tarballs.buildx_oci([IMAGE, sample(b"arm", architecture="arm64")], "app:v1")
    await stored(actions, "app", zipped({"a.tar": made}))
    relay = await relays.start(actions, actions.job("test"))

    answer = await relay.get("latest", "app")

    assert len(answer.json["manifests"]) == 2
    for child in answer.json["manifests"]:
        assert (await relay.get(child["digest"], "app")).status == 200


async def test_a_foreign_image_comes_out_as_a_tarball(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))

    out = await relay.ask("GET", "/relay/images/myimage?compression=none")

    assert json.loads(files_of(out.body)["manifest.json"])[0]["RepoTags"][0] == "myimage:latest"


async def test_a_relay_that_only_hands_out_images_serves_them_too(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"), access="read")

    assert await image_of(relay, "latest", "myimage") == IMAGE


async def test_reading_that_takes_long_tells_the_client_to_come_again(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"), limits=Limits(first_answer=0.05))
    actions.plan.play(kinds.GET_RANGE, Delay(0.4))

    first = await relay.get("latest", "myimage")
    while (answer := await relay.get("latest", "myimage")).status == 307:
        pass

    assert first.status == 307
    assert first.headers["Location"].startswith("/v2/myimage/manifests/latest?waiting=")
    assert answer.status == 200


async def test_what_is_damaged_on_the_way_is_not_served(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "raw", COMPRESSIONS["plain"](SAVED))
    await stored(actions, "zip", zipped({"a.tar": SAVED}, zipfile.ZIP_STORED))
    relay = await relays.start(actions, actions.job("test"))
    actions.plan.play(kinds.GET_RANGE, Corrupt(600), times=None)

    told = [await relay.get("latest", name) for name in ("raw", "zip")]
    actions.plan.clear()

    assert [each.error for each in told] == [(403, "DENIED")] * 2
    assert told[0].message.startswith("raw cannot be read: what came is not what was stored; ")
    assert await image_of(relay, "latest", "raw") == await image_of(relay, "latest", "zip") == IMAGE


PNG = b"\x89PNG\r\n" + bytes(1000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped({}), "no tarball is in it (nothing)"),
        (zipped({"a.txt": b"x", "b/c.log": b"y"}), "no tarball is in it (a.txt, b/c.log)"),
        (zipped({f"{n}.txt": b"" for n in range(9)}), "no tarball is in it (0.txt, 1.txt, 2.txt, 3.txt, 4.txt, …)"),
        (zipped({"report.html": b"<html>"}), "this is not a tarball"),
        (zipped({"a.tar": tar({"x": b"y"})}), "the tarball holds no image"),
        (PNG, "this is not a tarball"),
        (b"", "this is not a tarball"),
        (zipped({"a.tar": SAVED})[:-1], "the zip cannot be read"),
        (zipped({"a.tar": SAVED})[:200] + zipped({"a.tar": SAVED})[210:], "cannot be pulled"),
    ],
)
async def test_an_artifact_that_is_no_image_says_what_it_is(
    emulate: Emulate, relays: Relays, content: bytes, message: str
) -> None:
    actions = emulate()
    await stored(actions, "logs", content or b"\0")
    relay = await relays.start(actions, actions.job("test"))

    told = await refusal(relay, "logs")

    assert told.startswith("the artifact logs cannot be pulled: ")
    assert message in told
    assert relay.files("uploads") == relay.files("blobs") == []


def patched(content: bytes, signature: bytes, at: int, value: bytes) -> bytes:
    """Change a field of the last header of its kind."""
    start = content.rindex(signature) + at
    return content[:start] + value + content[start + len(value) :]


HONEST = zipped({"a.tar": SAVED})
CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"


def with_twins() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.tar", SAVED)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.tar", legacy_save(sample(b"evil"), "x:y"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (patched(HONEST, CENTRAL, 8, b"\x09\x00"), "the zip cannot be read"),  # encrypted
        (patched(HONEST, CENTRAL, 10, b"\x63\x00"), "compression that upload-artifact does not use"),
        (zipped({"a.tar": SAVED}, zipfile.ZIP_BZIP2), "compression that upload-artifact does not use"),
        (zipped({"a.tar": SAVED}, zipfile.ZIP_LZMA), "compression that upload-artifact does not use"),
        (patched(HONEST, CENTRAL, 16, b"\0\0\0\0"), "the zip cannot be read: Bad CRC-32"),
        (patched(HONEST, CENTRAL, 24, b"\x10\0\0\0"), "this is not a tarball|ends too early|the zip cannot be read"),
        (patched(HONEST, CENTRAL, 42, b"\xff\xff\xff\x7f"), "the zip cannot be read"),
        (patched(HONEST, END, 12, b"\xff\xff\xff\x7f"), "the zip cannot be read|the directory of the zip has"),
        (zipped({"../../../etc/cron.d/x": b"x", "b": b""}), "no tarball is in it"),
        (zipped({"a.tar": COMPRESSIONS["gzip"](bytes(64 * MIB)) * 30}), "not a tarball|expands more than"),
    ],
    ids=["encrypted", "method", "bzip2", "lzma", "crc", "size", "offset", "directory", "names", "bomb"],
)
async def test_a_hostile_zip_is_told_and_leaves_nothing(
    emulate: Emulate, relays: Relays, content: bytes, message: str
) -> None:
    actions = emulate()
    await stored(actions, "evil", content)
    relay = await relays.start(actions, actions.job("test"))

    told = await refusal(relay, "evil")

    assert any(each in told for each in message.split("|")), told
    assert relay.files("uploads") == relay.files("blobs") == []
    assert (await relay.ask("GET", "/relay/health")).status == 200


async def test_of_two_files_of_one_name_none_is_served(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "twins", with_twins())
    relay = await relays.start(actions, actions.job("test"))

    assert "several tarballs are in it (a.tar, a.tar)" in await refusal(relay, "twins")


async def test_a_zip_of_a_crowd_of_files_is_refused(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "crowd", zipped({f"{number}": b"" for number in range(10_001)}, zipfile.ZIP_STORED))
    relay = await relays.start(actions, actions.job("test"))

    assert "more than 10000 files" in await refusal(relay, "crowd")


async def test_what_is_no_image_is_not_read_again_at_once(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "logs", zipped({"a.txt": b"x"}))
    relay = await relays.start(actions, actions.job("test"))
    await refusal(relay, "logs")
    actions.traffic.reset()

    await refusal(relay, "logs")

    assert actions.traffic.blob_requests == 0


async def test_other_tags_than_latest_need_the_folder(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"a.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))

    assert "myimage:v1 is not in this run" in await refusal(relay, "myimage", "v1")
    assert "team/myimage:latest is not in this run" in await refusal(relay, "team/myimage")


async def test_a_deletion_that_is_refused_reads_nothing(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await stored(actions, "myimage", zipped({"myimage.tar": SAVED}))
    relay = await relays.start(actions, actions.job("test"))
    actions.traffic.reset()

    assert (await relay.ask("DELETE", "/relay/images/myimage")).error == (405, "UNSUPPORTED")
    assert (await relay.ask("DELETE", "/v2/myimage/manifests/latest")).error == (405, "UNSUPPORTED")
    assert actions.traffic.blob_requests == 0
