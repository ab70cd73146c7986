"""Artifacts that others made under names like ours: named, and never in the way."""

import pytest

from proxy.archive.index import Entry, Index, encode
from proxy.archive.pieces import PIECE, Framing, frame
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST
from proxy.runtime.limits import Limits
from tests.actions_store import foreign_images
from tests.actions_store.relays import Relays, pulled
from tests.api.relay import MIB
from tests.fakes.actions.fixtures import Emulate
from tests.registry_harness import noise

ROOT = Digest.of(b"what it says it is")


def bomb(pieces: int) -> bytes:
    """Make a small archive whose manifest says to be so many times 2 MiB."""
    framed = frame(bytes(PIECE), Framing.ZSTD, 3)
    stored = b"".join(framed.parts) * pieces
    small = Entry(size=PIECE, offset=0, pieces=(framed.piece,), media_type=OCI_MANIFEST)
    entry = small.model_copy(update={"size": pieces * PIECE, "pieces": (framed.piece,) * pieces})
    index = Index(references=("app:v1",), root=ROOT, blobs={ROOT: small})
    index = index.model_copy(update={"blobs": {ROOT: entry}})
    return stored + encode(index, len(stored), len(stored))


async def test_a_manifest_that_says_to_be_huge_is_not_taken_into_memory(emulate: Emulate, relays: Relays) -> None:
    actions = emulate()
    await foreign_images.store(actions, actions.job("other"), "image-app@v1", bomb(64))
    relay = await relays.start(actions)

    answer = await relay.get("v1")

    assert answer.error == (403, "DENIED")
    assert answer.message == (
        "image-app@v1 cannot be read: the index is not sound: Value error, a manifest is larger than 4 MiB; "
        "push it again, or remove it"
    )
    pushed = await relay.push_image("v1")
    assert (await relay.get("v1")).body == pushed.content


@pytest.mark.parametrize("number", ["2", "99999999", "100000000", "999999999", "9999999999", "0", "01"])
async def test_whatever_number_somebody_takes_the_tag_can_be_pushed_and_pulled(
    emulate: Emulate, relays: Relays, number: str
) -> None:
    actions = emulate()
    await foreign_images.store(actions, actions.job("other"), f"image-app@v1~{number}", b"no archive")
    relay = await relays.start(actions)

    first = await relay.push_image("v1", layers=[b"first"])
    assert (await relay.get("v1")).body == first.content
    pushed = await relay.push_image("v1", layers=[b"second"])
    assert (await relay.get("v1")).body == pushed.content
    reader = await relays.start(actions, actions.job("deploy"))
    assert (await pulled(reader, "v1"))["manifest"] == pushed.content


async def test_indexes_are_read_again_where_memory_is_short(emulate: Emulate, relays: Relays) -> None:
    relays.limits = Limits(index_pieces=40)  # those of one image
    actions = emulate()
    writer = await relays.start(actions)
    pushed = {
        tag: await writer.push_image(tag, layers=[noise(5 * MIB, number)])
        for number, tag in enumerate(("v1", "v2", "v3"))
    }
    reader = await relays.start(actions, actions.job("deploy"))

    for relay in (writer, reader):
        for tag, image in [*pushed.items()] * 2:
            assert (await pulled(relay, tag))["manifest"] == image.content
        assert len(relay.services.lookup.catalog._opener.archives.archives()) == 1
