"""What people send that is no tarball of an image: each is told what it is, and what to send in its place."""

import gzip
import json
import lzma
import re
import tarfile
from typing import Any

import pytest
import zstandard

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests import tarballs
from tests.api.relay import Answer, Relay
from tests.tarballs import COMPRESSIONS, REF, zipped

_CONFIG = b'{"architecture":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
_FORM = (
    b'--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name="file"; filename="app.tar"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n"
)
_TEXT = "Error response from daemon: reference does not exist\n"
_SAVED = tarballs.tar({"manifest.json": b"[]"})
_WINDOW = zstandard.ZstdCompressionParameters(window_log=27)  # as zstd --long
_FAR = zstandard.ZstdCompressor(compression_params=_WINDOW).compressobj()


async def put(relay: Relay, content: bytes, name: str = "app:v1") -> Answer:
    return await relay.ask("PUT", f"/relay/images/{name}", data=content)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (zipped({"app.tar": _SAVED}), "this is a zip: unzip it"),
        (b"\x04\x22\x4d\x18" + bytes(600), "compressed with lz4: use zstd"),
        (lzma.compress(_SAVED, lzma.FORMAT_ALONE), "compressed with lzma: use xz"),
        (b"LZIP\x01" + bytes(600), "compressed with lzip"),
        (b"\x1f\x9d\x90" + bytes(600), "compressed with compress"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), "this is a 7z archive"),
        (gzip.compress(gzip.compress(_SAVED)), "this is compressed twice"),
        (COMPRESSIONS["zstd"](COMPRESSIONS["xz"](_SAVED)), "this is compressed twice"),
        (b"\xff\xfe" + _TEXT.encode("utf-16-le"), "UTF-16, as PowerShell before 7.4 redirects it"),
        (_FORM + _SAVED, "this is a form, as curl -F sends it: send the file itself, by curl -T FILE"),
        (_TEXT.encode(), "it is a text that begins with 'Error response from daemon"),
        (b"<!DOCTYPE html><title>Log in</title>", "it is a page that begins with '<!DOCTYPE html>"),
        (b'{"errors": []}', "it is a text that begins with"),
        (bytes(range(256)) * 4, "this is not a tarball$"),
        (tarballs.tar({"images/app.tar.gz": b"x"}), "it has another tarball in it, 'images/app.tar.gz': send that"),
        (tarballs.tar({"app/manifest.json": b"[]", "app/abc/layer.tar": b""}), "in the folder 'app': pack what is in"),
        (tarballs.tar({"abc/json": b"{}", "abc/layer.tar": b"", "repositories": b"{}"}), "of Docker before 1.10"),
        (tarballs.tar({"etc/passwd": b"", "bin/sh": b""}), "was it docker export\\? Use docker save"),
        (
            tarballs.tar({"version": b"Directory Transport Version: 1.1\n", "manifest.json": b"{}"}),
            "what skopeo and podman write to dir: and docker-dir; use oci-archive: or docker-archive:",
        ),
        (
            tarballs.tar({"manifest.json": b'[{"Config": "c", "Layers": "l"}]'}),
            r"manifest.json cannot be read: 0.Layers: ",
        ),
        (
            tarballs.tar({"manifest.json": b'[{"Layers": []}]'}),
            r"manifest.json cannot be read: 0.Config: Field required",
        ),
        (
            _FAR.compress(_SAVED) + _FAR.flush(),
            "it needs more than 32 MiB of memory; compress it with zstd --long=25 at most",
        ),
        (lzma.compress(_SAVED, preset=9), "it needs more than 40 MiB of memory; compress it with xz -8 at most"),
    ],
)
async def test_what_is_no_tarball_of_an_image_is_told_what_it_is(relay: Relay, content: bytes, what: str) -> None:
    answer = await put(relay, content)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert re.search(what, answer.message), answer.message
    assert relay.artifacts() == []


# An index.json that lists the platforms itself


def layout(*platforms: str, name: str = "", **more: Any) -> bytes:
    """Write a layout as apko and ko do: the platforms of an image in `index.json`, without a name or all with one."""
    files, listed = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}, []
    for platform in platforms:
        config = _CONFIG % platform.encode()
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(Digest.of(config))}
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described | {"size": len(config)}, "layers": []}
        ).encode()
        for content in (config, manifest):
            files[f"blobs/sha256/{Digest.of(content).hex}"] = content
        os, _, architecture = platform.rpartition("/")
        entry = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(manifest)), "size": len(manifest)}
        listed.append(entry | {"platform": {"os": os or "linux", "architecture": architecture}} | more)
        if name:
            listed[-1]["annotations"] = {REF: name, "org.example": "kept"}
    return tarballs.tar(files | {"index.json": json.dumps({"schemaVersion": 2, "manifests": listed}).encode()})


@pytest.mark.parametrize("name", ["", "app:v1", "v1"])
async def test_platforms_that_index_json_lists_are_one_image(relay: Relay, name: str) -> None:
    assert (await put(relay, layout("amd64", "arm64", "unknown/unknown", name=name))).status == 201

    found = (await relay.get("v1")).json
    assert found["mediaType"] == OCI_INDEX
    assert [each["platform"]["architecture"] for each in found["manifests"]] == ["amd64", "arm64", "unknown"]
    for each in found["manifests"]:
        assert each.get("annotations", {}) == ({"org.example": "kept"} if name else {})
        child = await relay.get(each["digest"])
        assert child.status == 200
        assert (await relay.ask("GET", f"/v2/app/blobs/{child.json['config']['digest']}")).status == 200


# What is bounded by the tarball, not by what it asks for


async def test_an_image_gets_no_more_names_than_anybody_gives_one(relay: Relay) -> None:
    entry = {"Config": "c", "RepoTags": [f"app:{number}" for number in range(100_000)], "Layers": []}
    config = _CONFIG % b"amd64"

    answer = await put(relay, tarballs.tar({"c": config, "manifest.json": json.dumps([entry]).encode()}), "")

    assert answer.error == (400, "MANIFEST_INVALID")
    assert answer.message == "the tarball gives its images more than 2000 names"
    assert relay.artifacts() == []


async def test_extended_headers_take_no_more_than_they_need(relay: Relay) -> None:
    records = b"7 a=bc\n" * 149_000
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    extended = header.tobuf() + records + bytes(-len(records) % 512)

    answer = await put(relay, gzip.compress((extended + tarfile.TarInfo("f").tobuf()) * 100, 1))

    assert answer.error == (400, "MANIFEST_INVALID")
    assert answer.message == "the extended headers of the tarball have more than 500000 records"


async def test_the_same_layout_is_the_same_image_each_time(relay: Relay) -> None:
    first, second = [(await put(relay, layout("amd64", "arm64"))).json["images"][0]["digest"] for _ in range(2)]

    assert first == second


async def test_one_name_for_two_images_of_one_platform_is_refused(relay: Relay) -> None:
    two = layout("amd64", "arm64", name="app:v1", platform={"os": "linux", "architecture": "amd64"})

    answer = await put(relay, two)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert answer.message == "its index.json gives the name 'app:v1' to 2 images"
    assert relay.artifacts() == []
