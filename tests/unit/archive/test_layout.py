"""An image as one file: every reader gets every byte."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.archive.layout import Content, Copy, Literal, Plan, lay_out
from proxy.archive.limits import NEAR, SMALL, TAIL
from proxy.archive.loading import path
from proxy.archive.pieces import PIECE, Framing, Piece
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST
from tests.machine import require
from tests.unit.archive.samples import KINDS, LAYER, Fields, Shelf, assemble, blob, members, read, read_index

MIB = 1024 * 1024
GIB = 1024 * MIB


def order(plan: Plan) -> list[Digest]:
    return [segment.digest for segment in plan.segments if isinstance(segment, Copy)]


@st.composite
def trees(draw: st.DrawFn) -> tuple[Shelf, Digest]:
    """Any tree of manifests: images of some layers, indexes of images, indexes of indexes, or one image alone."""
    shelf = Shelf()
    sizes = st.one_of(st.integers(0, 5000), st.sampled_from([0, SMALL, SMALL + 1, MIB + 1, 3 * MIB, PIECE + 1]))
    layers = [
        shelf.put(
            blob(draw(st.sampled_from(KINDS)), draw(sizes), number),
            cut=draw(st.sampled_from([PIECE, 700_001])),
            framing=draw(st.sampled_from([None, *Framing])),
            algorithm=draw(st.sampled_from(["sha256", "sha512"])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    roots = [
        shelf.put_image(draw(st.permutations(layers)), config=b"{%d}" % number)
        for number in range(draw(st.integers(1, 3)))
    ]
    while len(roots) > 1 or draw(st.booleans()):
        taken = draw(st.integers(1, len(roots)))
        roots = [shelf.put_index(*roots[:taken], platforms=["linux/amd64"]), *roots[taken:]]
    return shelf, roots[0]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees(), st.data())
def test_every_blob_and_every_range_of_any_tree_comes_back(tree: tuple[Shelf, Digest], data: st.DataObject) -> None:
    shelf, root = tree

    archive = shelf.archive(root)

    index = read_index(archive)
    assert (index.root, index.references, set(index.blobs)) == (root, ("app:v1",), set(shelf.plain))
    for digest, plain in shelf.plain.items():
        start = data.draw(st.integers(0, len(plain)))
        stop = data.draw(st.integers(start, len(plain)))
        assert read(archive, index, digest, 0, len(plain)) == plain
        assert read(archive, index, digest, start, stop) == plain[start:stop]
    found = members(archive)
    assert {path(digest): plain for digest, plain in shelf.plain.items()}.items() <= found.items()
    assert list(found)[len(shelf.plain) :] == ["oci-layout", "index.json", "manifest.json"]


def sample() -> tuple[Shelf, Digest]:
    shelf = Shelf()
    layers = [shelf.put(blob(kind, 3 * MIB, 1)) for kind in ("random", "text", "gzip")]
    small = [shelf.put(blob("random", size)) for size in (SMALL, 5, 0)]
    children = (shelf.put_image([*layers, *small]), shelf.put_image(layers, config=b'{"os":"linux"}'))
    return shelf, shelf.put_index(*children, platforms=("linux/arm64", "linux/amd64"))


def test_equal_images_give_equal_files_whatever_the_order_of_small_contents() -> None:
    shelf, root = sample()
    again, _ = sample()
    small = [digest for digest, content in again.contents.items() if content.size <= SMALL]
    again.contents |= {digest: again.contents.pop(digest) for digest in reversed(small)}

    assert shelf.archive(root) == again.archive(root)


def test_large_blobs_come_first_and_manifests_last() -> None:
    shelf, root = sample()

    found = order(lay_out(shelf.image(root)))

    contents = [shelf.contents[digest] for digest in found]
    kinds = ["manifest" if held.manifest else "small" if held.size <= SMALL else "large" for held in contents]
    assert kinds == ["large"] * 3 + ["small"] * 4 + ["manifest"] * 3
    assert found[:3] == [digest for digest, held in shelf.contents.items() if held.size > SMALL]


def test_metadata_begins_with_the_first_small_member() -> None:
    shelf, root = sample()
    plan = lay_out(shelf.image(root))
    archive = assemble(plan, shelf.stored)

    metadata = len(archive) - int.from_bytes(archive[-32:-24], "little")

    large = max(segment.offset + segment.length for segment in plan.segments[:6] if isinstance(segment, Copy))
    assert metadata == large


def test_metadata_stays_small_however_many_small_members_there_are() -> None:
    shelf = Shelf()
    root = shelf.put_image([shelf.put(blob("random", SMALL, number)) for number in range(30)])

    archive = shelf.archive(root)

    metadata = int.from_bytes(archive[-32:-24], "little")
    assert NEAR - SMALL - 1000 < metadata < NEAR + 10_000
    assert read_index(archive).root == root


def test_the_root_of_an_ordinary_image_is_in_the_last_256_kib() -> None:
    shelf, root = sample()

    archive = shelf.archive(root)

    assert read_index(archive).blobs[root].offset > len(archive) - TAIL


def test_manifests_keep_their_media_type_and_their_subject() -> None:
    shelf = Shelf()
    image = shelf.put_image([])
    signature = shelf.put_image([], config=b"{ }", more={"subject": shelf.describe(image, OCI_MANIFEST)})

    blobs = lay_out(shelf.image(signature)).index.blobs

    assert (blobs[image].media_type, blobs[image].subject) == (OCI_MANIFEST, None)
    assert (blobs[signature].media_type, blobs[signature].subject) == (OCI_MANIFEST, image)
    assert blobs[Digest.of(b"{}")].media_type is None


def test_an_image_by_digest_has_no_reference() -> None:
    shelf, root = sample()

    assert lay_out(shelf.image(root, "app")).index.references == (f"app@{root}",)


def test_the_root_must_be_a_manifest() -> None:
    shelf = Shelf()

    with pytest.raises(ValueError, match="is a manifest"):
        lay_out(shelf.image(shelf.put(b"blob")))


def test_a_padding_and_the_next_header_share_one_small_frame() -> None:
    shelf, root = sample()

    literals = [segment for segment in lay_out(shelf.image(root)).segments if isinstance(segment, Literal)]

    assert len(literals) == 10 + 2  # one before each blob but the empty one, the end, the footer
    assert max(len(segment.content) for segment in literals[1:10]) < 250


def test_a_manifest_json_over_4_mib_is_cut_into_frames() -> None:
    shelf = Shelf()
    layer = shelf.put(b"layer")
    config = shelf.put(b"{}")
    many = [shelf.describe(layer, LAYER.removesuffix("+gzip"))] * 20_000
    bare = [{"digest": entry["digest"], "mediaType": entry["mediaType"], "size": 5} for entry in many]
    fields: Fields = {"config": shelf.describe(config, "application/vnd.oci.image.config.v1+json"), "layers": bare}
    root = shelf.put_manifest(fields)

    assert len(members(shelf.archive(root))["manifest.json"]) > 20_000 * 70


def giant(size: int, pieces: int) -> tuple[Shelf, Digest, Digest]:
    """An image with a layer whose bytes nobody has."""
    shelf = Shelf()
    layer = Digest.of(b"giant")
    each = tuple(Piece(PIECE + 110, PIECE, number) for number in range(pieces))
    shelf.contents[layer] = Content(layer, size, each)
    return shelf, shelf.put_image([layer]), layer


def test_a_plan_for_100_gib_is_cheap() -> None:
    shelf, root, layer = giant(100 * GIB, 51_200)

    plan = lay_out(shelf.image(root))

    assert len(plan.segments) == 8
    assert sum(len(segment.content) for segment in plan.segments if isinstance(segment, Literal)) < 300_000
    assert plan.index.blobs[layer].size == 100 * GIB
    assert 100 * GIB < plan.size < 101 * GIB


def test_an_index_of_10000_images_is_laid_out() -> None:
    shelf = Shelf()
    children = [shelf.put_image([], config=b"{}", more={"annotations": {"n": str(n)}}) for n in range(10_000)]
    root = shelf.put_index(*children)

    plan = lay_out(shelf.image(root))

    assert len(plan.index.blobs) == 10_002


def test_the_zstd_program_finds_the_file_sound(tmp_path: Path) -> None:
    shelf, root = sample()
    file = tmp_path / "image.tar.zst"
    file.write_bytes(shelf.archive(root))

    subprocess.run([require("zstd"), "-tq", "--memory=8MB", file], check=True)  # noqa: S603 - found on this machine
