"""Names of images: of another registry they keep its host, whatever way they come and go."""

import json

import pytest

from tests import tarballs
from tests.api.relay import Relay, pushed_image
from tests.api.test_images import files_of, get, put
from tests.tarballs import sample

OTHERS = ["ghcr.io/org/app", "registry.example:5000/org/app", "[fd00::1]:5000/org/app", "MYHOST/org/app", "org/app"]


@pytest.fixture
async def stored(relay: Relay) -> dict[str, str]:
    """Store another image of the same path and tag for each registry."""
    digests = {}
    for name in OTHERS:
        answer = await put(relay, tarballs.legacy_save(sample(name.encode()), "any:v1"), f"/{name}:v1")
        (taken,) = answer.json["images"]
        assert taken["reference"] == f"{name}:v1"
        digests[name] = taken["digest"]
    assert len(set(digests.values())) == len(OTHERS)
    return digests


def named(tarball: bytes) -> tuple[list[str], list[str]]:
    """Return the names in a tarball: for classic stores, and for those of containerd."""
    files = files_of(tarball)
    (entry,) = json.loads(files["manifest.json"])
    annotations = [each["annotations"] for each in json.loads(files["index.json"])["manifests"]]
    assert all(len(set(each.values())) == 1 for each in annotations)
    return entry["RepoTags"], [each["io.containerd.image.name"] for each in annotations]


@pytest.mark.parametrize("name", OTHERS)
async def test_each_registry_has_an_image_of_its_own(relay: Relay, stored: dict[str, str], name: str) -> None:
    out = await get(relay, f"{name}:v1?compression=none")

    full = f"docker.io/{name}:v1" if name == "org/app" else f"{name}:v1"
    assert named(out.body) == ([f"{name}:v1"], [full])
    assert json.loads(files_of(out.body)["index.json"])["manifests"][0]["digest"] == stored[name]


async def test_whoever_lists_images_sees_their_registries(relay: Relay, stored: dict[str, str]) -> None:
    images = (await relay.ask("GET", "/relay/images")).json["images"]
    names = (await relay.ask("GET", "/v2/_catalog")).json["repositories"]
    summary = (await relay.ask("GET", "/relay/summary")).body.decode()

    assert {each["references"][0]: each["digest"] for each in images} == {f"{name}:v1": stored[name] for name in OTHERS}
    assert names == ["ghcr.io/org/app", "org/app"]  # the others are no path
    assert all(f"`{name}:v1`" in summary for name in OTHERS)
    host = f"localhost:{relay.port}"
    assert f"docker pull {host}/ghcr.io/org/app:v1\n# {stored[OTHERS[0]]}\n" in summary
    for name in OTHERS[1:4]:
        assert f"curl -gsSfL 'http://{host}/relay/images/{name}:v1' | docker load\n# {stored[name]}\n" in summary


async def test_a_relay_that_starts_anew_knows_the_same_names(relay: Relay, stored: dict[str, str]) -> None:
    assert relay.artifacts() == [
        "image-^.fd00^-^-1^_^-5000+org+app@v1.tar.zst",
        "image-^m^y^h^o^s^t+org+app@v1.tar.zst",
        "image-ghcr.io+org+app@v1.tar.zst",
        "image-org+app@v1.tar.zst",
        "image-registry.example^-5000+org+app@v1.tar.zst",
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("org/app", "org/app"),
        ("docker.io/org/app", "org/app"),
        ("localhost/org/app", "org/app"),
        ("ghcr.io/org/app", "ghcr.io/org/app"),
        ("org/app?ns=ghcr.io", "ghcr.io/org/app"),
        ("org/app?ns=GHCR.io", "ghcr.io/org/app"),
        ("org/app?ns=docker.io", "org/app"),
        ("org/app?ns=", "org/app"),
        ("org/app?ns=localhost:5000", "org/app"),
        ("org/app?ns=registry.example:5000", "registry.example:5000/org/app"),
        ("org/app?ns=[fd00::1]:5000", "[fd00::1]:5000/org/app"),
        ("org/app?ns=MyHost", "MYHOST/org/app"),
    ],
)
async def test_a_pull_names_a_registry_by_path_or_parameter(
    relay: Relay, stored: dict[str, str], path: str, name: str
) -> None:
    repository, _, query = path.partition("?")

    found = await relay.ask("GET", f"/v2/{repository}/manifests/v1?{query}")
    tags = await relay.ask("GET", f"/v2/{repository}/tags/list?{query}")
    blob = await relay.ask("GET", f"/v2/{repository}/blobs/{found.json['config']['digest']}?{query}")

    assert found.headers["Docker-Content-Digest"] == stored[name]
    assert (blob.status, tags.json["tags"]) == (200, ["v1"])


async def test_a_registry_that_is_none_is_refused(relay: Relay) -> None:
    for text in ("reg:x", "a/b", "a_b.c", "http://ghcr.io", "\n"):
        answer = await relay.ask("GET", "/v2/app/manifests/v1", params={"ns": text})

        assert answer.error == (400, "NAME_INVALID")


@pytest.mark.parametrize("asked", ["org/app", "quay.io/org/app", "other:5000/org/app"])
async def test_the_same_path_of_another_registry_is_named_first_and_never_taken(relay: Relay, asked: str) -> None:
    for number in range(9):
        await relay.push_image("v1", name=f"a/other{number}")
    await relay.push_image("pr", name="ghcr.io/org/app")

    answer = await get(relay, f"{asked}:pr")

    assert answer.error == (404, "MANIFEST_UNKNOWN")
    assert answer.message.startswith(f"{asked}:pr is not here (there is: ghcr.io/org/app:pr, ")


async def test_a_push_to_a_registry_that_a_parameter_names_goes_there(relay: Relay) -> None:
    query = "?ns=registry.example:5000"
    location = await relay.open_upload("org/app", query)
    answer = await relay.ask("PUT", f"{location}&digest={await relay.push_blob(b'{}')}", data=b"{}")
    pushed = pushed_image(b"{}")
    put = await relay.put("v1", pushed.content, name="org/app", query=query)

    assert "?ns=registry.example%3A5000" in location
    assert (answer.status, put.status) == (201, 201)
    assert (await relay.ask("GET", answer.headers["Location"])).body == b"{}"
    assert (await relay.ask("GET", put.headers["Location"])).body == pushed.content
    assert (await relay.ask("GET", "/v2/org/app/manifests/v1")).status == 404
    assert relay.artifacts() == ["image-registry.example^-5000+org+app@v1.tar.zst"]
    tags = await relay.ask("GET", f"/v2/org/app/tags/list{query}&n=1")
    assert tags.json == {"name": "org/app", "tags": ["v1"]}


async def test_pages_of_tags_stay_in_their_registry(relay: Relay, stored: dict[str, str]) -> None:
    made = tarballs.legacy_save(sample(b"second"), "any:v1")
    await put(relay, made, "/registry.example:5000/org/app:v2")

    first = await relay.ask("GET", "/v2/org/app/tags/list?ns=registry.example:5000&n=1")
    second = await relay.ask("GET", first.headers["Link"].partition("<")[2].partition(">")[0])

    assert (first.json["tags"], second.json["tags"]) == (["v1"], ["v2"])


@pytest.mark.parametrize(
    ("names", "references"),
    [
        (["ghcr.io/org/app:v1"], ["ghcr.io/org/app:v1"]),
        (["registry:5000/app:v1", "app:v1"], ["registry:5000/app:v1", "app:v1"]),
        (["localhost:5000/app:v1", "docker.io/library/app:v1", "127.0.0.1/app:v1"], ["app:v1"]),
        (["localhost:5000/ghcr.io/org/app:v1"], ["ghcr.io/org/app:v1"]),
    ],
)
@pytest.mark.parametrize("shape", ["legacy_save", "oci_save", "crane_archive"])
async def test_a_tarball_keeps_the_names_that_are_in_it(
    relay: Relay, names: list[str], references: list[str], shape: str
) -> None:
    answer = await put(relay, getattr(tarballs, shape)(sample(), *names), "")

    assert [each["reference"] for each in answer.json["images"]] == references


async def test_of_several_images_that_of_the_registry_is_taken(relay: Relay) -> None:
    for name in ("app", "ghcr.io/org/app"):
        await relay.push_image("v1", name=name, layers=[name.encode()])
    made = (await get(relay, "app:v1,ghcr.io/org/app:v1")).body

    hosted = await put(relay, made, "/ghcr.io/org/app:v1")
    neither = await put(relay, made, "/quay.io/org/app:v1")

    assert [each["reference"] for each in hosted.json["images"]] == ["ghcr.io/org/app:v1"]
    assert neither.error == (400, "MANIFEST_INVALID")
    assert "(app:v1, ghcr.io/org/app:v1), none of them quay.io/org/app:v1" in neither.message


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("org/app:v1", ["org/app:v1"]),
        ("docker.io/org/app:v1", ["org/app:v1"]),
        ("localhost:5000/org/app:v1", ["localhost:5000/org/app:v1"]),
        ("localhost/ghcr.io/org/app:v1", ["localhost/ghcr.io/org/app:v1"]),
        ("GHCR.io/org/app:v1", ["GHCR.io/org/app:v1"]),
        ("MyHost/org/app:v1=app", ["app:latest"]),
        ("org/app:v1=ghcr.io/other/name:x", ["ghcr.io/other/name:x"]),
    ],
)
async def test_an_image_is_called_what_it_was_asked_for_as(
    relay: Relay, stored: dict[str, str], asked: str, names: list[str]
) -> None:
    out = await get(relay, f"{asked}?compression=none")

    assert named(out.body)[0] == names


async def test_by_digest_an_image_has_the_name_that_it_is_given_or_none(relay: Relay, stored: dict[str, str]) -> None:
    digest = stored["ghcr.io/org/app"]

    none = await get(relay, f"ghcr.io/org/app@{digest}?compression=none")
    given = await get(relay, f"ghcr.io/org/app:other@{digest}=app:v7?compression=none")
    wrong = await get(relay, f"org/app@{digest}=app:v7")

    (entry,) = json.loads(files_of(none.body)["manifest.json"])
    assert entry["RepoTags"] is None
    assert named(given.body)[0] == ["app:v7"]
    assert wrong.error == (404, "MANIFEST_UNKNOWN")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("org/app:v1=app@sha256:" + "0" * 64, "an engine knows an image by a tag, not by a digest: "),
        ("org/app:v1=", "not a repository name: ''"),
        ("org/app:v1=a=b", "not a repository name: 'a=b'"),
        ("ghcr.io/org/app:v1=app,org/app:v1=app", "two images cannot both be called app:latest"),
        ("org/app:feature/x", "not a tag: 'feature/x'"),
        ("0" * 64, "0000000000000000000… is the id of an image"),
        ("App", "not a repository name: 'App'"),
    ],
)
async def test_what_cannot_be_asked_for_is_told(relay: Relay, stored: dict[str, str], asked: str, said: str) -> None:
    answer = await get(relay, asked)

    assert answer.status == 400
    assert answer.message.startswith(said)
    assert len(answer.message) <= 200


@pytest.mark.parametrize("reference", ["app:feature/foo", "app:v1@sha256:" + "0" * 64, "App:v1", "0" * 64])
async def test_a_tarball_goes_under_no_such_name(relay: Relay, reference: str) -> None:
    answer = await put(relay, tarballs.legacy_save(sample(), "app:v1"), f"/{reference}")

    assert answer.status == 400
    assert relay.artifacts() == []
