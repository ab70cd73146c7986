"""What engines read of an archive: names in their full form, and the one image that a classic store can load."""

import json

import pytest

from proxy.archive import loading
from proxy.archive.layout import lay_out
from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST
from proxy.oci.names import Name, Tag
from tests.unit.archive.samples import CONFIG, LAYER, Fields, Shelf, members

FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def described(shelf: Shelf, root: Digest, reference: str = "app:v1") -> dict[str, bytes]:
    return members(shelf.archive(root, reference))


def listed(shelf: Shelf, root: Digest) -> Digest | None:
    """Return the image that manifest.json names, by its config."""
    text = described(shelf, root).get("manifest.json")
    if text is None:
        return None
    [image] = json.loads(text)
    config = Digest("sha256", image["Config"].rpartition("/")[2])
    return next(
        digest
        for digest, held in shelf.contents.items()
        if held.manifest and held.manifest.config and held.manifest.config.digest == config
    )


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("app:v1", "docker.io/library/app:v1"),
        ("team/app:v1", "docker.io/team/app:v1"),
        ("a/b/c:v1", "docker.io/a/b/c:v1"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("localhost/app:v1", "localhost/app:v1"),
        ("relay:5000/team/app:v1", "relay:5000/team/app:v1"),
        ("relay/app:v1", "docker.io/relay/app:v1"),
        ("Relay/app:v1", "Relay/app:v1"),
        ("ghcr.io/team/app:v1", "ghcr.io/team/app:v1"),
        ("docker.io/app:v1", "docker.io/library/app:v1"),
        ("docker.io/team/app:v1", "docker.io/team/app:v1"),
        ("index.docker.io/app:v1", "docker.io/library/app:v1"),
        ("[::1]:5000/app:v1", "[::1]:5000/app:v1"),
    ],
)
def test_a_name_gets_its_full_form(reference: str, full: str) -> None:
    assert loading.normalise(reference) == full


def test_an_image_is_loaded_under_its_name_with_and_without_the_host() -> None:
    assert loading.names(Name("team/app"), Tag("v1"), "localhost:5000") == (
        "team/app:v1",
        "localhost:5000/team/app:v1",
    )


def test_an_image_of_another_registry_has_its_own_name_alone() -> None:
    for name in ("ghcr.io/team/app", "registry:5000/app", "[fd00::1]:80/app", "MYHOST/app"):
        assert loading.names(Name(name), Tag("v1"), "localhost:5000") == (f"{name}:v1",)


def test_each_name_has_a_descriptor_with_the_full_form_in_both_annotations() -> None:
    shelf = Shelf()
    root = shelf.put_image([shelf.put(b"layer")])

    found = described(shelf, root)

    index = json.loads(found["index.json"])
    assert (index["schemaVersion"], index["mediaType"]) == (2, OCI_INDEX)
    assert [entry["annotations"] for entry in index["manifests"]] == [
        {"io.containerd.image.name": full, "org.opencontainers.image.ref.name": full}
        for full in ("docker.io/library/app:v1", "localhost:5000/app:v1")
    ]
    assert {(entry["digest"], entry["size"], entry["mediaType"]) for entry in index["manifests"]} == {
        (str(root), len(shelf.plain[root]), OCI_MANIFEST)
    }
    [image] = json.loads(found["manifest.json"])
    assert image["RepoTags"] == ["app:v1", "localhost:5000/app:v1"]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_names_that_are_the_same_in_full_are_given_once() -> None:
    shelf = Shelf()
    root = shelf.put_image([])
    manifest = shelf.contents[root].manifest
    assert manifest is not None

    text = loading.index_json(loading.descriptors(root, manifest, ("team/app:v1", "docker.io/team/app:v1")))

    assert len(json.loads(text)["manifests"]) == 1


def test_an_image_without_a_tag_has_one_descriptor_without_a_name() -> None:
    shelf = Shelf()
    root = shelf.put_image([shelf.put(b"layer")])

    found = described(shelf, root, "app")

    [entry] = json.loads(found["index.json"])["manifests"]
    assert entry == {"mediaType": OCI_MANIFEST, "digest": str(root), "size": len(shelf.plain[root])}
    [image] = json.loads(found["manifest.json"])
    assert image["RepoTags"] is None


def test_manifest_json_names_config_and_layers_by_their_path() -> None:
    shelf = Shelf()
    layers = [shelf.put(b"one"), shelf.put(b"two", algorithm="sha512"), shelf.put(b"")]
    root = shelf.put_image([*layers, layers[0]])

    [image] = json.loads(described(shelf, root)["manifest.json"])

    assert image["Config"] == f"blobs/sha256/{Digest.of(b'{}').hex}"
    assert image["Layers"] == [f"blobs/{layer.algorithm}/{layer.hex}" for layer in [*layers, layers[0]]]


def test_of_an_index_the_linux_amd64_image_is_listed() -> None:
    shelf = Shelf()
    arm, windows, amd = (shelf.put_image([], config=text) for text in (b"{ }", b"{  }", b"{   }"))

    root = shelf.put_index(arm, windows, amd, platforms=("linux/arm64", "windows/amd64", "linux/amd64"))

    assert listed(shelf, root) == amd


def test_without_linux_amd64_the_first_complete_image_is_listed() -> None:
    shelf = Shelf()
    half = shelf.put_image([Digest.of(b"never pushed")], config=b"{ }")
    whole = shelf.put_image([], config=b"{  }")
    other = shelf.put_image([], config=b"{   }")

    assert listed(shelf, shelf.put_index(half, whole, other, platforms=("linux/amd64", "linux/s390x"))) == whole
    assert listed(shelf, shelf.put_index(half, other, whole)) == other


def test_an_image_in_a_nested_index_is_found_in_tree_order() -> None:
    shelf = Shelf()
    first, second, amd = (shelf.put_image([], config=text) for text in (b"{ }", b"{  }", b"{   }"))
    inner = shelf.put_index(first, amd, platforms=("linux/arm64", "linux/amd64"))

    assert listed(shelf, shelf.put_index(shelf.put_index(first), second)) == first
    assert listed(shelf, shelf.put_index(second, inner)) == amd


def test_an_index_a_thousand_deep_and_full_of_repetitions_is_no_trouble() -> None:
    shelf = Shelf()
    root = image = shelf.put_image([])
    for _ in range(1000):
        root = shelf.put_index(root, root, root)

    assert listed(shelf, root) == image


def test_an_attestation_is_not_an_image_to_load() -> None:
    shelf = Shelf()
    statement = shelf.put(b"statement")
    attestation = shelf.put_image([statement], config=b"{ }", kind="application/vnd.in-toto+json")
    image = shelf.put_image([])

    assert listed(shelf, shelf.put_index(attestation, image)) == image
    assert listed(shelf, shelf.put_index(attestation, platforms=["unknown/unknown"])) is None
    assert listed(shelf, attestation) is None


_EMPTY, _CACHE = "application/vnd.oci.empty.v1+json", "application/vnd.buildkit.cacheconfig.v0"
_ABSENT = "a layer of it is not here, but at an address of others"


@pytest.mark.parametrize(
    ("fields", "obstacle"),
    [
        pytest.param({"config": {"mediaType": _EMPTY}}, f"config type {_EMPTY}", id="artifact"),
        pytest.param({"config": {"mediaType": _CACHE}}, f"config type {_CACHE}", id="cache"),
        pytest.param({"config": {"mediaType": CONFIG}, "layers": [FOREIGN]}, _ABSENT, id="foreign layer"),
        pytest.param(
            {"config": {"mediaType": CONFIG}, "layers": ["text/plain"]}, "layer type text/plain", id="no layer"
        ),
        pytest.param({"layers": [LAYER]}, "it has no config", id="no config"),
    ],
)
def test_what_is_no_whole_image_is_not_listed_for_graph_stores(fields: Fields, obstacle: str) -> None:
    shelf = Shelf()
    absent = str(Digest.of(b"absent"))
    whole: Fields = {}
    if isinstance(config := fields.get("config"), dict):
        whole["config"] = {"digest": str(shelf.put(b"{}")), "size": 2} | config
    if isinstance(layers := fields.get("layers"), list):
        whole["layers"] = [{"mediaType": kind, "digest": absent, "size": 9} for kind in layers]
    root = shelf.put_manifest(whole)

    found = described(shelf, root)

    assert "manifest.json" not in found
    assert json.loads(found["index.json"])["manifests"][0]["digest"] == str(root)
    manifests = {digest: held.manifest for digest, held in shelf.contents.items() if held.manifest}
    assert loading.obstacle(root, manifests, shelf.contents) == obstacle


def test_an_old_buildkit_cache_is_kept_with_its_blobs_for_children() -> None:
    shelf = Shelf()
    layer, config = shelf.put(b"layer"), shelf.put(b'{"layers":[]}')
    fields: Fields = {
        "manifests": [
            shelf.describe(layer, LAYER),
            shelf.describe(config, "application/vnd.buildkit.cacheconfig.v0"),
        ]
    }
    root = shelf.put_manifest(fields, DOCKER_LIST)

    plan = lay_out(shelf.image(root, "cache:v1"))

    assert set(plan.index.blobs) == {layer, config, root}
    assert [entry.media_type for entry in plan.index.blobs.values()].count(DOCKER_LIST) == 1
    assert "manifest.json" not in described(shelf, root)
