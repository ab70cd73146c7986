"""Which platform of an image comes out: the one that is asked for, or that of the engine that asks."""

import json

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX
from tests.api.relay import Answer, Fields, Pushed, Relay, pushed_image
from tests.api.test_images import files_of, get

ATTESTATION = {"platform": {"os": "unknown", "architecture": "unknown"}}


async def _built(relay: Relay, platform: str) -> Pushed:
    """Push an image for a platform by digest."""
    parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    config = json.dumps(parts).encode()
    for content in (config, platform.encode()):
        await relay.push_blob(content)
    pushed = pushed_image(config, platform.encode())
    assert (await relay.put(pushed.digest, pushed.content)).status == 201
    return pushed


def _named(platform: str) -> Fields:
    return {"platform": dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))}


async def _index(relay: Relay, *children: Fields, tag: object = "v1") -> Digest:
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    assert (await relay.put(tag, content, OCI_INDEX)).status == 201
    return Digest.of(content)


async def _of(relay: Relay, *platforms: str) -> tuple[Digest, dict[str, Digest]]:
    """Push an index of images for platforms, and an attestation of the first; gives its digest and theirs."""
    built = {platform: await _built(relay, platform) for platform in platforms}
    attested = (await _built(relay, "unknown/unknown")).descriptor(**ATTESTATION)
    children = [pushed.descriptor(**_named(platform)) for platform, pushed in built.items()]
    return await _index(relay, *children, attested), {platform: each.digest for platform, each in built.items()}


def root_of(answer: Answer) -> Digest:
    """Return the digest under which an engine with containerd's store would know the image."""
    (descriptor,) = json.loads(files_of(answer.body)["index.json"])["manifests"]
    return Digest.parse(descriptor["digest"])


@pytest.mark.parametrize(
    ("engine", "platform"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm/v7", "linux/arm/v6"),
    ],
)
async def test_an_engine_gets_its_own_platform(relay: Relay, engine: str, platform: str) -> None:
    _, images = await _of(relay, "linux/arm/v5", "linux/amd64", "linux/arm64/v8", "linux/arm/v6")

    out = await get(relay, f"app:v1?engine={engine}")

    assert root_of(out) == images[platform]
    (entry,) = json.loads(files_of(out.body)["manifest.json"])
    assert entry["RepoTags"] == ["app:v1"]


async def test_a_platform_from_an_empty_variable_is_not_all_of_them(relay: Relay) -> None:
    await _of(relay, "linux/amd64", "linux/arm64")

    answer = await get(relay, "app:v1?platform=")

    assert answer.error == (400, "UNSUPPORTED")
    assert answer.message == "?platform= has no value: is a variable empty? Without it all platforms come"


async def test_an_engine_that_has_no_platform_in_an_index_is_told_which_there_are(relay: Relay) -> None:
    await _of(relay, "linux/amd64", "linux/arm64")

    answer = await get(relay, "app:v1?engine=linux/s390x")

    assert answer.error == (404, "MANIFEST_UNKNOWN")
    assert answer.message == (
        "app:v1 has no image for 'linux/s390x', only for linux/amd64, linux/arm64: choose with --platform, or the "
        "input platform"
    )


async def test_what_is_there_for_one_platform_is_taken_whole_by_every_engine(relay: Relay) -> None:
    index, _ = await _of(relay, "linux/amd64")
    await relay.push_image("alone")

    assert root_of(await get(relay, "app:v1?engine=linux/arm64")) == index
    assert (await get(relay, "app:alone?engine=linux/arm64")).status == 200
    assert (await get(relay, "app:v1?platform=linux/arm64")).status == 404


async def test_without_a_platform_all_of_it_comes(relay: Relay) -> None:
    index, _ = await _of(relay, "linux/amd64", "linux/arm64")

    assert root_of(await get(relay, "app:v1")) == index
    assert root_of(await get(relay, "app:v1?engine=")) == index


async def test_a_platform_that_is_asked_for_comes_before_that_of_the_engine(relay: Relay) -> None:
    _, images = await _of(relay, "linux/amd64", "linux/arm64")

    assert root_of(await get(relay, "app:v1?platform=linux/arm64&engine=linux/amd64")) == images["linux/arm64"]


async def test_an_index_without_platforms_is_chosen_from_by_the_configs_of_its_images(relay: Relay) -> None:
    arm, amd, s390x = [await _built(relay, each) for each in ("linux/arm64", "linux/amd64", "linux/s390x")]
    attested = (await _built(relay, "linux/riscv64")).descriptor(
        annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    absent = {"mediaType": OCI_INDEX, "digest": str(Digest.of(b"absent")), "size": 6}
    inner = await _index(relay, amd.descriptor(), s390x.descriptor(), tag="inner")
    size = len((await relay.get("inner")).body)
    nested = {"mediaType": OCI_INDEX, "digest": str(inner), "size": size}
    await _index(relay, arm.descriptor(), arm.descriptor(), nested, attested, absent)

    for platform, pushed in (("linux/arm64", arm), ("linux/amd64", amd), ("linux/s390x", s390x)):
        assert root_of(await get(relay, f"app:v1?engine={platform}")) == pushed.digest
    assert (await get(relay, "app:v1?engine=linux/riscv64")).message.endswith(
        "only for linux/arm64, linux/amd64, linux/s390x: choose with --platform, or the input platform"
    )


async def test_an_index_of_no_image_is_taken_whole(relay: Relay) -> None:
    index = await _index(relay)

    assert root_of(await get(relay, "app:v1?engine=linux/amd64")) == index


@pytest.mark.parametrize("query", ["engine=linux/amd64", "platform=linux/amd64", "platform=x86_64", "platform=AMD64"])
async def test_the_platform_itself_comes_before_its_variants(relay: Relay, query: str) -> None:
    _, images = await _of(relay, "linux/amd64/v3", "linux/amd64/v2", "linux/amd64")

    assert root_of(await get(relay, f"app:v1?{query}")) == images["linux/amd64"]


async def test_a_platform_that_nobody_has_pushed_is_told_by_its_name(relay: Relay) -> None:
    pushed = await _built(relay, "linux/amd64")
    absent = {"mediaType": pushed.media_type, "digest": str(Digest.of(b"absent")), "size": 6}
    await _index(relay, pushed.descriptor(**_named("linux/amd64")), absent | _named("linux/arm64"))

    answer = await get(relay, "app:v1?platform=arm64")

    assert answer.error == (404, "MANIFEST_UNKNOWN")
    assert answer.message.startswith("app:v1 lacks 'arm64': it names sha256:")
