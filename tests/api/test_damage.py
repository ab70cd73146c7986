"""What is damaged on disk is told, counts as not there, and is healed by pushing again."""

from pathlib import Path

import pytest

from proxy.archive.index import Index, decode
from proxy.archive.pieces import PIECE
from proxy.oci.digest import Digest
from tests.api.relay import Relay, pushed_image
from tests.registry_harness import noise

LAYER = noise(PIECE + 1000)
CONFIG = b'{"os":"linux"}'
DIGEST = Digest.of(LAYER)


def index_of(file: Path) -> Index:
    content = file.read_bytes()
    return decode(content, len(content))


def damage(file: Path, digest: Digest) -> None:
    """Flip a bit of the last piece of some content, in place."""
    entry = index_of(file).blobs[digest]
    with file.open("r+b") as opened:
        opened.seek(entry.offset + entry.stored - 1)
        last = opened.read(1)[0]
        opened.seek(-1, 1)
        opened.write(bytes([last ^ 1]))


@pytest.fixture
async def archive(relay: Relay) -> Path:
    """The file of app:v1."""
    await relay.push_blob(CONFIG)
    await relay.push_blob(LAYER)
    await relay.push(pushed_image(CONFIG, LAYER), "v1")
    return relay.data / "image-app@v1.tar.zst"


async def push_again(relay: Relay) -> None:
    """Push as clients do: what HEAD finds is not sent."""
    for content in (CONFIG, LAYER):
        if (await relay.ask("HEAD", f"/v2/app/blobs/{Digest.of(content)}")).status == 404:
            await relay.push_blob(content)
    await relay.push(pushed_image(CONFIG, LAYER), "v1")


async def test_a_damaged_layer_is_never_served_whole(relay: Relay, archive: Path) -> None:
    damage(archive, DIGEST)

    with pytest.raises(Exception, match=r"payload|closed|disconnected|reset"):
        await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")

    assert (await relay.ask("HEAD", f"/v2/app/blobs/{DIGEST}")).status == 404


async def test_a_damaged_layer_is_healed_by_pushing_again(relay: Relay, archive: Path) -> None:
    damage(archive, DIGEST)
    await relay.ask("GET", f"/v2/app/blobs/{DIGEST}", headers={"Range": f"bytes={PIECE}-"})

    await push_again(relay)

    assert (await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")).body == LAYER
    assert index_of(archive).blobs.keys() == {DIGEST, Digest.of(CONFIG), pushed_image(CONFIG, LAYER).digest}


async def test_a_damaged_manifest_is_healed_by_pushing_again(relay: Relay, archive: Path) -> None:
    damage(archive, pushed_image(CONFIG, LAYER).digest)
    for _ in range(3):
        assert (await relay.get("v1")).status == 500
    await push_again(relay)

    assert (await relay.get("v1")).body == pushed_image(CONFIG, LAYER).content


async def test_a_damaged_blob_of_the_spool_is_refused_by_a_seal_and_healed_by_pushing_again(relay: Relay) -> None:
    await relay.push_blob(CONFIG)
    await relay.push_blob(LAYER)
    damage(relay.data / "spool" / "blobs" / "sha256" / DIGEST.hex, DIGEST)

    manifest = pushed_image(CONFIG, LAYER)
    answer = await relay.put("v1", manifest.content)

    assert answer.error == (403, "DENIED")
    assert "damaged; push the image again" in answer.message
    await push_again(relay)
    assert (await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")).body == LAYER
