"""OCI layouts of which a part is missing: what is there is an image, or it is told what lacks."""

import json

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.api.relay import Relay
from tests.api.test_images import files_of, get, put
from tests.tarballs import Fields, Files, blob, descriptor, layout, manifest_of, sample, tar

AMD, ARM = sample(b"one"), sample(b"two", architecture="arm64")
UNKNOWN: Fields = {"platform": {"os": "unknown", "architecture": "unknown"}}
ATTESTS: Fields = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}


def parts(number: int, **more: object) -> tuple[Fields, Files, Files]:
    """Make one child of an index: its descriptor, its manifest and its blobs."""
    image = (AMD, ARM, sample(b"in-toto"))[number]
    content, files = manifest_of(image, "gzip")
    platform = {"os": "linux", "architecture": image.architecture}
    described = descriptor(content, OCI_MANIFEST, **({"platform": platform} | more))
    return described, blob(content), {name: each for name, each in files.items() if each != content}


AMD_IS, AMD_MANIFEST, AMD_BLOBS = parts(0)
ARM_IS, ARM_MANIFEST, ARM_BLOBS = parts(1)
TOTO_IS, TOTO_MANIFEST, TOTO_BLOBS = parts(2, **UNKNOWN)
NOTED_IS, _, _ = parts(2, **ATTESTS)
SOME = dict([*ARM_BLOBS.items()][:2])
WHOLE = AMD_MANIFEST | AMD_BLOBS
UNTYPED = {key: value for key, value in ARM_IS.items() if key != "mediaType"}
CACHE = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": str(Digest.of(b"c")), "size": 1}


def saved(children: list[Fields], files: Files) -> tuple[bytes, Digest]:
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    return tar(layout([descriptor(index, OCI_INDEX)], files | blob(index))), Digest.of(index)


@pytest.mark.parametrize(
    ("children", "files", "more"),
    [
        ([AMD_IS, ARM_IS], WHOLE, {}),
        ([AMD_IS, ARM_IS], WHOLE, ARM_MANIFEST),
        ([ARM_IS, AMD_IS], WHOLE, ARM_MANIFEST),
        ([AMD_IS, ARM_IS, ARM_IS], WHOLE, ARM_MANIFEST | SOME),
        ([AMD_IS, TOTO_IS], WHOLE, TOTO_MANIFEST),
        ([AMD_IS, NOTED_IS], WHOLE, {}),
        ([AMD_IS, ARM_IS, TOTO_IS], WHOLE | TOTO_MANIFEST | TOTO_BLOBS, ARM_MANIFEST),
        ([AMD_IS, ARM_IS], WHOLE | ARM_MANIFEST | ARM_BLOBS, {}),
        ([], {}, {}),
        ([CACHE], blob(b"c"), {}),
    ],
)
async def test_of_an_index_what_is_there_with_its_blobs_is_kept(
    relay: Relay, children: list[Fields], files: Files, more: Files
) -> None:
    made, root = saved(children, files | more)

    answer = await put(relay, made)

    assert answer.status == 201, answer.body
    assert [each["digest"] for each in answer.json["images"]] == [str(root)]
    (archive,) = relay.data.glob("*.tar.zst")
    held = {name for name in files_of(archive.read_bytes()) if name.startswith("blobs/")}
    assert held == {*files, f"blobs/sha256/{root.hex}"}


@pytest.mark.parametrize(
    ("children", "files", "lacks"),
    [
        ([AMD_IS, ARM_IS], {}, AMD_IS["digest"]),
        ([UNTYPED], {}, ARM_IS["digest"]),
        ([ARM_IS], ARM_MANIFEST, json.loads(next(iter(ARM_MANIFEST.values())))["config"]["digest"]),
        ([AMD_IS, TOTO_IS], TOTO_MANIFEST | TOTO_BLOBS, AMD_IS["digest"]),
        ([AMD_IS, NOTED_IS], {}, AMD_IS["digest"]),
    ],
)
async def test_an_index_without_a_whole_platform_is_refused(
    relay: Relay, children: list[Fields], files: Files, lacks: str
) -> None:
    answer = await put(relay, saved(children, files)[0])

    assert answer.error == (400, "MANIFEST_INVALID")
    assert answer.message == f"the tarball lacks {lacks}, which its image needs"
    assert relay.artifacts() == []


@pytest.mark.parametrize("attestation", [TOTO_IS, NOTED_IS])
@pytest.mark.parametrize("query", ["engine=linux/amd64", "engine=linux/arm64", ""])
async def test_an_image_without_its_attestation_comes_out(relay: Relay, attestation: Fields, query: str) -> None:
    made, root = saved([AMD_IS, attestation], WHOLE)
    assert (await put(relay, made)).status == 201

    out = await get(relay, f"app:v1?{query}")

    assert out.status == 200, out.body
    assert json.loads(files_of(out.body)["index.json"])["manifests"][0]["digest"] == str(root)
