"""Manifests are kept as they are, and understood as far as the service needs."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ManifestInvalid, ManifestTooLarge
from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_LIST, DOCKER_MANIFEST, LIMIT, OCI_INDEX, OCI_MANIFEST, Manifest, Platform, parse

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DIGESTS = [Digest.of(bytes([number])) for number in range(4)]
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"


def described(number: int, media_type: str = LAYER, **more: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(DIGESTS[number]), "size": number, **more}


def read(content_type: str = OCI_MANIFEST, /, **fields: object) -> Manifest:
    return parse(json.dumps(fields).encode(), content_type)


IMAGE = {"schemaVersion": 2, "config": described(0, CONFIG), "layers": [described(1), described(2)]}
INDEX = {"schemaVersion": 2, "manifests": [described(1, OCI_MANIFEST), described(2, OCI_INDEX)]}


def test_an_image_names_its_config_and_layers() -> None:
    manifest = read(**IMAGE, annotations={"a": "b"}, subject=described(3, OCI_MANIFEST))

    assert [each.digest for each in manifest.blobs] == DIGESTS[:3]
    assert [each.size for each in manifest.blobs] == [0, 1, 2]
    assert manifest.children == ()
    assert manifest.named == set(DIGESTS[:3])
    assert manifest.subject
    assert manifest.subject.digest == DIGESTS[3]
    assert manifest.annotations == {"a": "b"}
    assert (manifest.is_image, manifest.is_index) == (True, False)
    assert manifest.digest == Digest.of(manifest.content)


def test_an_index_names_its_children() -> None:
    manifest = read(OCI_INDEX, **INDEX)

    assert [each.digest for each in manifest.children] == DIGESTS[1:3]
    assert manifest.blobs == ()
    assert manifest.named == set(DIGESTS[1:3])
    assert (manifest.is_image, manifest.is_index) == (False, True)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_an_empty_index_is_an_index(media_type: str) -> None:
    assert read(media_type, manifests=[]).is_index


@pytest.mark.parametrize("media_type", [CONFIG, "application/vnd.docker.container.image.v1+json"])
def test_what_has_the_config_of_an_image_is_one(media_type: str) -> None:
    assert read(config=described(0, media_type)).is_image
    assert not read(config=described(0, "application/vnd.cncf.helm.config.v1+json")).is_image
    assert not read(layers=[]).is_image


@pytest.mark.parametrize(
    ("fields", "artifact_type"),
    [
        ({"artifactType": "a/b", "config": described(0, "c/d")}, "a/b"),
        ({"config": described(0, "c/d")}, "c/d"),
        ({"artifactType": "", "config": described(0, "c/d")}, "c/d"),
        ({}, ""),
    ],
)
def test_an_artifact_type_is_declared_or_that_of_the_config(fields: dict[str, Any], artifact_type: str) -> None:
    assert read(**fields).artifact_type == artifact_type


def test_an_artifact_manifest_of_the_release_candidates_has_blobs() -> None:
    manifest = read("application/vnd.oci.artifact.manifest.v1+json", artifactType="a/b", blobs=[described(1)])

    assert [each.digest for each in manifest.blobs] == [DIGESTS[1]]


@pytest.mark.parametrize(
    ("layer", "absent"),
    [
        (described(1), False),
        (described(1, urls=[]), False),
        (described(1, urls=None), False),
        (described(1, urls=["https://example.com"]), True),
        (described(1, FOREIGN), True),
        (described(1, NONDISTRIBUTABLE), True),
        (described(1, f"{NONDISTRIBUTABLE}+zstd"), True),
        ({"digest": str(DIGESTS[1]), "size": 1}, False),
    ],
)
def test_layers_that_lie_elsewhere_may_be_absent(layer: dict[str, object], absent: bool) -> None:
    assert read(layers=[layer]).blobs[0].may_be_absent is absent


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "features": ["x"]}, "linux/arm/v7"),
        ({"architecture": "amd64"}, "amd64"),
        ({}, ""),
    ],
)
def test_a_platform_is_written_as_docker_does(platform: dict[str, object], text: str) -> None:
    child = read(OCI_INDEX, manifests=[described(1, platform=platform)]).children[0]

    assert isinstance(child.platform, Platform)
    assert str(child.platform) == text


@pytest.mark.parametrize(
    ("inside", "outside", "kept"),
    [
        (None, OCI_MANIFEST, OCI_MANIFEST),
        (OCI_MANIFEST, "", OCI_MANIFEST),
        (OCI_MANIFEST, f" {OCI_MANIFEST} ; charset=utf-8; a=b", OCI_MANIFEST),
        (DOCKER_MANIFEST, DOCKER_MANIFEST, DOCKER_MANIFEST),
        (None, "application/vnd.Example.v1+json", "application/vnd.Example.v1+json"),
        ("application/vnd.Example.v1+json", "application/vnd.example.V1+json", "application/vnd.example.V1+json"),
    ],
)
def test_the_media_type_is_that_of_the_header_else_that_inside(inside: str | None, outside: str, kept: str) -> None:
    assert read(outside, mediaType=inside).media_type == kept


@pytest.mark.parametrize("outside", ["", ";", "json", "a/b/c", "a b/c", "*/*", "a/" + "b" * 128, "a/\u00e9"])
def test_a_manifest_needs_a_media_type(outside: str) -> None:
    with pytest.raises(ManifestInvalid, match="media type"):
        read(outside)


@pytest.mark.parametrize(
    ("inside", "outside"),
    [(OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, OCI_MANIFEST), ("", OCI_MANIFEST), ("x", "x/y")],
)
def test_the_media_types_inside_and_outside_are_the_same(inside: str, outside: str) -> None:
    with pytest.raises(ManifestInvalid, match="is not the Content-Type"):
        read(outside, mediaType=inside)


@pytest.mark.parametrize(
    ("media_type", "fields"),
    [
        ("a/b", {"manifests": [], "layers": []}),
        ("a/b", {"manifests": [], "config": described(0)}),
        (OCI_MANIFEST, {"manifests": []}),
        (DOCKER_MANIFEST, {"manifests": []}),
        (OCI_INDEX, {"layers": []}),
        (DOCKER_LIST, {"config": described(0)}),
    ],
)
def test_an_index_is_no_image(media_type: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ManifestInvalid, match="both an index"):
        read(media_type, **fields)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        ("{}".encode("utf-16"), "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b'{"a":-Infinity}', "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a":1,"a":1}', "the key 'a' stands twice"),
        (b'{"a":{"b":1,"b":2}}', "the key 'b' stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[]", "the manifest: Input should be an object$"),
        (b'{"config":"abc"}', "config: Input should be an object$"),
        (b'{"layers":["abc"]}', "layers.0: Input should be an object$"),
        (b'{"annotations":["abc"]}', "annotations: Input should be an object$"),
        (b"null", "the manifest: "),
        (b'"text"', "the manifest: "),
        (b'{"layers":5}', "layers: "),
        (b'{"layers":[5]}', r"layers\.0: "),
        (b'{"config":{}}', r"config\.digest: "),
        (b'{"schemaVersion":"2"}', "schemaVersion: "),
        (b'{"schemaVersion":2.0}', "schemaVersion: "),
        (b'{"schemaVersion":1}', "schema 1"),
        (b'{"annotations":{"a":1}}', r"annotations\.a: "),
        (b'{"mediaType":1}', "mediaType: "),
    ],
)  # fmt: skip
def test_a_bad_document_is_invalid(content: bytes, complaint: str) -> None:
    with pytest.raises(ManifestInvalid, match=complaint):
        parse(content, OCI_MANIFEST)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": -1},
        {"size": 2**63},
        {"size": 1.0},
        {"size": "1"},
        {"size": True},
        {"size": None},
        {"digest": 1},
        {"urls": [1]},
    ]
    + [{"digest": text} for text in ("", "sha256:", "sha256:../../x", f"{DIGESTS[0]}\n", f"md5:{'0' * 32}")]
    + [{"urls": "x"}, {"mediaType": 1}, {"platform": []}, {"platform": {"os": 1}}, {"annotations": []}],
)
@pytest.mark.parametrize("where", ["config", "layers", "manifests", "subject"])
def test_a_bad_descriptor_is_invalid_wherever_it_stands(wrong: dict[str, object], where: str) -> None:
    descriptor = {**described(1), **wrong}

    with pytest.raises(ManifestInvalid):
        read("a/b", **{where: descriptor if where in {"config", "subject"} else [descriptor]})


def test_a_manifest_may_have_4_mib() -> None:
    largest = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'

    assert parse(largest, "a/b").content is largest
    with pytest.raises(ManifestTooLarge):
        parse(largest + b" ", "a/b")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text().map(lambda key: f"x-{key}"), json_values, max_size=4))
def test_unknown_fields_are_kept_and_passed_over(fields: dict[str, Any]) -> None:
    content = json.dumps({**IMAGE, **fields}).encode()

    manifest = parse(content, OCI_MANIFEST)

    assert manifest.content == content
    assert len(manifest.blobs) == 3


@given(st.dictionaries(st.sampled_from([*IMAGE, *INDEX, "mediaType", "subject", "annotations"]), json_values))
def test_a_document_is_a_manifest_or_invalid(fields: dict[str, Any]) -> None:
    with suppress(ManifestInvalid):
        assert read("a/b", **fields).media_type == "a/b"


@given(st.binary(max_size=200))
def test_bytes_are_a_manifest_or_invalid(content: bytes) -> None:
    with suppress(ManifestInvalid):
        assert parse(content, "a/b").content == content


def test_a_key_that_stands_twice_is_found_among_as_many_as_a_manifest_can_have() -> None:
    keys = ",".join(f'"{number}":0' for number in range(300_000))  # one by one, each against all before it: hours

    with pytest.raises(ManifestInvalid, match="the key '299999' stands twice"):
        parse(f'{{{keys},"299999":0}}'.encode(), OCI_MANIFEST)


@pytest.mark.parametrize(
    "changed",
    [
        {"platform": {"os": None, "architecture": None, "variant": None}},
        {"platform": None},
        {"annotations": {"a": None}},
        {"annotations": None},
        {"mediaType": None},
        {"urls": None},
    ],
)
def test_null_is_nothing_in_a_field_that_may_be_absent(changed: dict[str, object]) -> None:
    (child,) = read(OCI_INDEX, manifests=[described(1) | changed]).children

    assert str(child.platform or "") == ""
    assert not any((child.annotations or {}).values())


@pytest.mark.parametrize(
    "name", ["mediaType", "artifactType", "config", "layers", "subject", "annotations", "manifests"]
)
def test_null_is_nothing_in_a_manifest(name: str) -> None:
    assert read(OCI_MANIFEST, schemaVersion=2, **{name: None}).blobs == ()
    assert read(OCI_MANIFEST, schemaVersion=2, annotations={"a": None}).annotations == {"a": ""}
