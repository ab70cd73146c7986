"""Commands to copy: the program of each is one that can use what was stored."""

import json

import pytest

from proxy.artifacts.by_hand import FileByHand
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, parse
from proxy.oci.names import Name, Tag
from proxy.reporting.copyable import ContentKind, content_kind, load_commands, pull_command

DIGEST = Digest.of(b"x")
IMAGE = "application/vnd.oci.image.config.v1+json"
CHART = "application/vnd.cncf.helm.config.v1+json"
CACHE = "application/vnd.buildkit.cacheconfig.v0"
EMPTY = "application/vnd.oci.empty.v1+json"
NAME, TAG = Name.parse("team/app"), Tag.parse("1.0_b")
FILE = FileByHand("image-a b@1.tar.zst", "gh run download 7 -n 'image-a b@1'")


def described(media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(DIGEST), "size": 1}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"config": described(IMAGE), "layers": []}, ContentKind.IMAGE),
        ({"config": described(CHART), "layers": []}, ContentKind.CHART),
        ({"config": described(CACHE), "layers": []}, ContentKind.CACHE),
        ({"config": described(EMPTY), "artifactType": "application/spdx+json", "layers": []}, ContentKind.OTHER),
        ({"manifests": [described(OCI_MANIFEST)]}, ContentKind.IMAGE),
        ({"manifests": [described("application/x"), described(CACHE)]}, ContentKind.CACHE),
        ({"manifests": [described(OCI_MANIFEST)], "artifactType": "application/x"}, ContentKind.OTHER),
    ],
)
def test_what_a_manifest_is_shows_in_its_types(fields: dict[str, object], kind: ContentKind) -> None:
    media_type = OCI_INDEX if "manifests" in fields else OCI_MANIFEST

    assert content_kind(parse(json.dumps({"schemaVersion": 2} | fields).encode(), media_type)) is kind


@pytest.mark.parametrize(
    ("kind", "reference", "command"),
    [
        (ContentKind.IMAGE, TAG, "docker pull localhost:5000/team/app:1.0_b"),
        (ContentKind.IMAGE, DIGEST, f"docker pull localhost:5000/team/app@{DIGEST}"),
        (ContentKind.CHART, TAG, "helm pull oci://localhost:5000/team/app --version 1.0+b --plain-http"),
        (ContentKind.CHART, DIGEST, f"helm pull oci://localhost:5000/team/app@{DIGEST} --plain-http"),
        (ContentKind.CACHE, TAG, "docker buildx build --cache-from type=registry,ref=localhost:5000/team/app:1.0_b ."),
        (ContentKind.OTHER, TAG, "oras pull --plain-http localhost:5000/team/app:1.0_b"),
    ],
)
def test_each_kind_is_pulled_by_its_program(kind: ContentKind, reference: Tag | Digest, command: str) -> None:
    assert pull_command(kind, "localhost:5000", NAME, reference) == command


def test_an_image_of_a_registry_with_a_port_is_loaded() -> None:
    assert pull_command(ContentKind.IMAGE, "localhost:5000", Name.parse("registry:5001/app"), Tag.parse("v1")) == (
        "curl -gsSfL 'http://localhost:5000/relay/images/registry:5001/app:v1' | docker load"
    )


@pytest.mark.parametrize(
    ("kind", "last"),
    [
        (ContentKind.IMAGE, ["docker load -i 'image-a b@1.tar.zst'"]),
        (ContentKind.OTHER, ["zstd -d -o app.tar 'image-a b@1.tar.zst'", f"oras pull --oci-layout app.tar@{DIGEST}"]),
    ],
)
def test_a_file_is_downloaded_and_used(kind: ContentKind, last: list[str]) -> None:
    assert load_commands(kind, FILE, NAME, str(DIGEST)) == (FILE.download, *last)
    assert load_commands(kind, FileByHand(FILE.path), NAME, str(DIGEST)) == tuple(last)


@pytest.mark.parametrize(
    ("kind", "file"),
    [(ContentKind.CHART, FILE), (ContentKind.CACHE, FILE), (ContentKind.IMAGE, None), (ContentKind.OTHER, None)],
)
def test_there_is_no_command_for_what_no_program_reads(kind: ContentKind, file: FileByHand | None) -> None:
    assert load_commands(kind, file, NAME, str(DIGEST)) == ()
