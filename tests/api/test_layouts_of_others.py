"""OCI layouts as registry tools write them: an index beside its children, referrers, and tags without a repository."""

import json
import re
from collections.abc import Iterable

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.actions_store.relays import blob_of, pulled
from tests.api.relay import Relay
from tests.api.test_files_of_others import place
from tests.api.test_images import get, image_of, put, together
from tests.tarballs import NAME, REF, Fields, Files, blob, descriptor, layout, legacy_save, manifest_of, sample, tar

IMAGES = [sample(b"one"), sample(b"two", architecture="arm64")]
EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


def tagged(described: Fields, tag: str) -> Fields:
    return {**described, "annotations": {REF: tag}}


def named(described: Fields, name: str) -> Fields:
    return {**described, "annotations": {NAME: name}}


def plain(described: Fields) -> Fields:
    return {key: described[key] for key in ("mediaType", "digest", "size")}


def referrer(subject: Fields, text: str) -> tuple[Fields, Files]:
    """Make an artifact, such as a signature, about something."""
    layer = text.encode()
    fields = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "text/plain",
        "config": descriptor(EMPTY, EMPTY_TYPE),
        "layers": [descriptor(layer, "text/plain")],
        "subject": plain(subject),
    }
    content = json.dumps(fields).encode()
    return descriptor(content, OCI_MANIFEST), blob(EMPTY) | blob(layer) | blob(content)


def indexed(children: Iterable[Fields]) -> tuple[Fields, Files]:
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*children]}).encode()
    return descriptor(content, OCI_INDEX), blob(content)


def _made() -> tuple[Fields, list[Fields], Fields, Fields, Files]:
    children, files = list[Fields](), Files()
    for image in IMAGES:
        content, more = manifest_of(image, "gzip")
        platform = {"os": "linux", "architecture": image.architecture}
        children.append(descriptor(content, OCI_MANIFEST, platform=platform))
        files |= more
    root, of_root = indexed(children)
    sbom, of_sbom = referrer(root, "what is in it")
    signature, of_signature = referrer(sbom, "who says so")
    return root, children, sbom, signature, files | of_root | of_sbom | of_signature


ROOT, CHILDREN, SBOM, SIGNATURE, FILES = _made()
HEX = ROOT["digest"].replace(":", "-")
FALLBACK, OF_FALLBACK = indexed([SBOM])
_CONTENT, _MORE = manifest_of(IMAGES[0], "gzip")
COSIGN = descriptor(_CONTENT, OCI_MANIFEST)

ONE = {
    "a tag": [tagged(ROOT, "v1")],
    "children beside it, as oras": [tagged(ROOT, "v1"), *map(plain, CHILDREN)],
    "children with platforms beside it": [tagged(ROOT, "v1"), *CHILDREN],
    "children before it, and no tag at all": [*CHILDREN, ROOT],
    "referrers beside it, as oras cp -r": [tagged(ROOT, "v1"), *map(plain, CHILDREN), SBOM, SIGNATURE],
    "a referrer of a referrer first": [SIGNATURE, SBOM, tagged(ROOT, "v1")],
    "the tag of the referrers, as regctl": [tagged(ROOT, "v1"), tagged(FALLBACK, HEX)],
    "both": [tagged(ROOT, "v1"), tagged(FALLBACK, HEX), *map(plain, CHILDREN), SBOM, SIGNATURE],
    "a full name": [named(ROOT, "docker.io/library/app:v1"), SBOM],
}
REFERRING = {name: SBOM in roots or any(HEX in str(each) for each in roots) for name, roots in ONE.items()}


async def whole(relay: Relay, reference: object, name: str = "app") -> str:
    """Pull an image with all its platforms, each checked; give its digest."""
    await pulled(relay, reference, name)
    return str(Digest.of((await relay.get(reference, name)).body))


async def referrers(relay: Relay, subject: object, name: str = "app") -> list[str]:
    answer = await relay.ask("GET", f"/v2/{name}/referrers/{subject}")
    return [each["digest"] for each in answer.json["manifests"]]


@pytest.mark.parametrize("case", ONE)
async def test_a_layout_of_one_image_is_that_image_with_all_that_is_about_it(relay: Relay, case: str) -> None:
    made = tar(layout(ONE[case], FILES | OF_FALLBACK))

    answer = await put(relay, made, "/app:mine")

    assert answer.status == 201, answer.body
    assert [each["digest"] for each in answer.json["images"]] == [ROOT["digest"]]
    assert await whole(relay, "mine") == ROOT["digest"]
    assert await referrers(relay, ROOT["digest"]) == [SBOM["digest"]] * REFERRING[case]
    if SIGNATURE in ONE[case]:
        assert await referrers(relay, SBOM["digest"]) == [SIGNATURE["digest"]]
        assert await whole(relay, SIGNATURE["digest"]) == SIGNATURE["digest"]


@pytest.mark.parametrize("case", ONE)
async def test_in_the_folder_it_is_the_same_image(relay: Relay, case: str) -> None:
    await place(relay, "app.tar", tar(layout(ONE[case], FILES | OF_FALLBACK)))

    assert await whole(relay, "latest") == ROOT["digest"]
    assert await referrers(relay, ROOT["digest"]) == [SBOM["digest"]] * REFERRING[case]
    assert "app" in (await relay.ask("GET", "/v2/_catalog")).json["repositories"]


async def test_under_its_own_name_it_brings_its_referrers(relay: Relay) -> None:
    made = tar(layout([named(ROOT, "docker.io/library/app:v1"), SBOM], FILES))

    assert (await put(relay, made, "/")).status == 201

    assert await referrers(relay, ROOT["digest"]) == [SBOM["digest"]]


async def test_signatures_that_are_found_by_their_tag_keep_it(relay: Relay) -> None:
    made = tar(layout([tagged(ROOT, "v1"), tagged(COSIGN, f"{HEX}.sig")], FILES | _MORE))

    assert (await put(relay, made, "/app:v1")).status == 201

    assert (await relay.ask("GET", "/v2/app/tags/list")).json["tags"] == [f"{HEX}.sig", "v1"]
    assert await whole(relay, f"{HEX}.sig") == COSIGN["digest"]


async def test_platforms_that_are_listed_one_by_one_are_one_image_beside_a_bill_of_materials(relay: Relay) -> None:
    sbom, more = referrer(CHILDREN[0], "of one platform")

    answer = await put(relay, tar(layout([*CHILDREN, sbom], FILES | more)))

    assert answer.status == 201, answer.body
    await whole(relay, "v1")
    assert [each["digest"] for each in (await relay.get("v1")).json["manifests"]] == [
        each["digest"] for each in CHILDREN
    ]
    assert await referrers(relay, CHILDREN[0]["digest"]) == [sbom["digest"]]


def _digest(described: Fields) -> str:
    return str(described["digest"])


@pytest.mark.parametrize("wanted", ["v1", "mine", "sbom"])
async def test_what_refers_to_an_image_takes_no_tag_of_another(relay: Relay, wanted: str) -> None:
    before = await relay.push_image("sbom")
    made = tar(layout([tagged(ROOT, "v1"), tagged(SBOM, "sbom")], FILES))

    answer = await put(relay, made, f"/app:{wanted}")

    (told,) = answer.json["images"]
    assert told["digest"] == _digest(SBOM if wanted == "sbom" else ROOT) == await whole(relay, wanted)
    assert wanted == "sbom" or await whole(relay, "sbom") == str(before.digest)
    assert wanted == "sbom" or await referrers(relay, ROOT["digest"]) == [SBOM["digest"]]


async def test_what_refers_to_a_manifest_of_two_images_stays_with_both(relay: Relay) -> None:
    about, more = referrer(CHILDREN[0], "of one platform")
    roots = [named(ROOT, "docker.io/library/all:v1"), named(CHILDREN[0], "docker.io/library/one:v1"), about]

    assert (await put(relay, tar(layout(roots, FILES | more)), "/")).status == 201

    for name in ("all", "one"):
        assert await referrers(relay, CHILDREN[0]["digest"], name) == [about["digest"]]


async def test_what_refers_to_something_else_goes_with_the_only_image(relay: Relay) -> None:
    about, more = referrer(descriptor(b"elsewhere", OCI_MANIFEST), "of nothing here")

    assert (await put(relay, tar(layout([tagged(ROOT, "v1"), about], FILES | more)))).status == 201

    assert await whole(relay, "v1") == ROOT["digest"]
    assert await referrers(relay, Digest.of(b"elsewhere")) == [about["digest"]]


async def test_in_the_folder_what_refers_to_an_image_is_found_by_its_tag(relay: Relay) -> None:
    tags = [tagged(ROOT, "v1"), tagged(COSIGN, f"{HEX}.sig"), tagged(FALLBACK, HEX), tagged(SIGNATURE, "signed")]
    await place(relay, "app.tar", tar(layout(tags, FILES | OF_FALLBACK | _MORE)))

    found = {tag: await whole(relay, tag, "artifact/app") for tag in ("v1", f"{HEX}.sig", HEX, "signed", "latest")}

    assert list(found.values()) == [*map(_digest, (ROOT, COSIGN, FALLBACK, SIGNATURE, ROOT))]
    assert (await relay.ask("GET", "/v2/artifact/app/tags/list")).json["tags"] == sorted(found)
    wrong = await relay.get("v3", "artifact/app")
    assert "it holds" in wrong.message
    assert "v1; pull artifact/app:<tag>" in wrong.message


@pytest.mark.timeout(60)
@pytest.mark.parametrize("typed", [True, False])
async def test_the_children_of_an_index_are_each_looked_at_once(relay: Relay, *, typed: bool) -> None:
    large = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": {"x": "y" * 2**21}}).encode()
    child = descriptor(large, OCI_MANIFEST) if typed else {"digest": str(Digest.of(large)), "size": len(large)}
    absent = [descriptor(b"%d" % number, OCI_MANIFEST) for number in range(8000)]
    root, files = indexed([*[child] * 5000, *absent])

    answer = await put(relay, tar(layout([tagged(root, "v1"), plain(root)], files | blob(large))))

    assert answer.status == 201, answer.body


async def test_a_child_that_is_no_manifest_and_does_not_say_so_is_a_blob(relay: Relay) -> None:
    cache = b"a layer of a build cache"
    root, files = indexed([{"digest": str(Digest.of(cache)), "size": len(cache)}] * 2)

    assert (await put(relay, tar(layout([tagged(root, "v1")], files | blob(cache))))).status == 201

    assert (await blob_of(relay, Digest.of(cache))).body == cache


async def test_a_tag_that_only_looks_like_that_of_a_signature_is_one_of_an_image(relay: Relay) -> None:
    made = tar(layout([tagged(ROOT, "v1"), tagged(COSIGN, "sha256-abc")], FILES | _MORE))

    assert (await put(relay, made, "/app:sha256-abc")).status == 201

    assert await whole(relay, "sha256-abc") == COSIGN["digest"]


async def test_more_that_refers_to_images_than_anybody_has_is_refused(relay: Relay) -> None:
    files, roots = dict(FILES), [tagged(CHILDREN[0], "one")]
    for number in range(3):
        root, more = indexed([{**CHILDREN[0], "annotations": {"number": str(number)}}])
        roots.append(tagged(root, f"v{number}"))
        files |= more
    for number in range(600):
        about, more = referrer(CHILDREN[0], str(number))
        roots.append(about)
        files |= more

    answer = await put(relay, tar(layout(roots, files)), "/app:one")

    assert answer.error == (400, "MANIFEST_INVALID")
    assert answer.message == "more than 2000 manifests in the tarball refer to its images"


@pytest.mark.parametrize(("tag", "number"), [("v1", 0), ("v2", 1)])
async def test_of_several_images_that_of_the_tag_is_taken(relay: Relay, tag: str, number: int) -> None:
    made = tar(layout([tagged(CHILDREN[0], "v1"), tagged(CHILDREN[1], "v2")], FILES))

    assert (await put(relay, made, f"/app:{tag}")).status == 201

    assert await image_of(relay, tag) == IMAGES[number]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/app:v3", r"holds 2 images \(v1, v2\), none of them app:v3"),
        ("/", r"tags without the name of a repository \(v1, v2\): .*PUT /relay/images/app:v1"),
    ],
)
async def test_otherwise_the_tags_are_told(relay: Relay, path: str, said: str) -> None:
    made = tar(layout([tagged(CHILDREN[0], "v1"), tagged(CHILDREN[1], "v2")], FILES))

    answer = await put(relay, made, path)

    assert answer.error == (400, "MANIFEST_INVALID")
    assert re.search(said, answer.message), answer.message
    assert relay.artifacts() == []


def _docker(*names: str) -> bytes:
    """Two images as `docker save` writes them, each with a name or without."""
    return together(*(legacy_save(image, *filter(None, [name])) for image, name in zip(IMAGES, names, strict=True)))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("app:v1", "app:v1"), "gives the name app:v1 to 2 images"),
        (("app:v1", "localhost:5000/app:v1"), "gives the name app:v1 to 2 images"),
        (("app:v1", ""), r"1 of the 2 images in the tarball have no name \(sha256:[0-9a-f]+…\)"),
        (("", ""), "2 of the 2 images in the tarball have no name"),
    ],
)
async def test_no_image_is_left_out_in_silence(relay: Relay, names: tuple[str, str], said: str) -> None:
    answer = await put(relay, _docker(*names), "/")

    assert answer.error == (400, "MANIFEST_INVALID")
    assert re.search(said, answer.message), answer.message
    assert relay.artifacts() == []


async def test_an_image_without_a_name_is_not_in_the_way_of_the_one_that_is_asked_for(relay: Relay) -> None:
    assert (await put(relay, _docker("app:v1", ""), "/app:v1")).status == 201

    assert await image_of(relay, "v1") == IMAGES[0]


async def test_what_says_of_no_child_what_it_is_comes_out_and_goes_in_again(relay: Relay) -> None:
    for content in FILES.values():
        await relay.push_blob(content)
    child = next(content for content in FILES.values() if Digest.of(content) == Digest.parse(CHILDREN[0]["digest"]))
    assert (await relay.put(CHILDREN[0]["digest"], child)).status == 201
    listed = {key: CHILDREN[0][key] for key in ("digest", "size")}
    root, files = indexed([listed])
    (content,) = files.values()
    assert (await relay.put("v1", content, media_type=OCI_INDEX)).status == 201

    made = await get(relay, "app:v1?compression=none")
    assert (await put(relay, made.body, "/again:v1")).status == 201

    assert await whole(relay, "v1", "again") == root["digest"]


@pytest.mark.parametrize("key", ["os.version", "os.features"])
@pytest.mark.parametrize("name", ["", "docker.io/library/app:v1"])
async def test_platforms_that_only_differ_in_their_version_are_one_image(relay: Relay, key: str, name: str) -> None:
    roots, files = list[Fields](), Files()
    for number in range(3):
        content, more = manifest_of(sample(bytes([65 + number])), "gzip")
        platform = {
            "os": "windows",
            "architecture": "amd64",
            key: ["x", "y"][:number] if key[3] == "f" else str(number),
        }
        roots.append(
            descriptor(content, OCI_MANIFEST, platform=platform, **({"annotations": {NAME: name}} if name else {}))
        )
        files |= more

    answer = await put(relay, tar(layout(roots, files)))

    assert answer.status == 201, answer.body
    listed = (await relay.get("v1")).json["manifests"]
    assert [each["platform"] for each in listed] == [each["platform"] for each in roots]
