"""An archive of format version 1 that was written once and must stay readable for ever.

zstd may compress better one day, so today's writer is compared with it by what is inside: equal tar, equal raw pieces,
equal index but for offsets and lengths of what is compressed.
"""

from pathlib import Path

import zstandard

from proxy.archive.index import Index
from proxy.archive.layout import lay_out
from proxy.archive.pieces import Framing
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from tests.unit.archive.samples import Shelf, assemble, blob, members, read, read_index

GOLDEN = Path(__file__).parent / "golden" / "two-platforms.tar.zst"
THERE = Digest.of(b"a child that is in another archive")  # its field `elsewhere` is no longer written or read


def two_platforms() -> tuple[Shelf, Digest]:
    """Make what is in the golden file: every form that a blob can have, in a few kilobytes."""
    shelf = Shelf()
    large = shelf.put(bytes(300_000), framing=Framing.ZSTD, cut=131_072)
    raw = shelf.put(blob("random", 700), framing=Framing.RAW)
    text = shelf.put(blob("text", 2500), framing=Framing.ZSTD, algorithm="sha512")
    cut = shelf.put(blob("random", 1000, 2), framing=Framing.RAW, cut=400)
    empty = shelf.put(b"")
    amd = shelf.put_image([large, raw], config=b'{"os":"linux","architecture":"amd64"}')
    arm = shelf.put_image([text, cut, empty], config=b'{"os":"linux","architecture":"arm64"}')
    platforms = [{"os": "linux", "architecture": name} for name in ("arm64", "amd64")]
    children = [
        shelf.describe(child, OCI_MANIFEST, platform=platform)
        for child, platform in zip((arm, amd), platforms, strict=True)
    ]
    fields: dict[str, object] = {
        "manifests": [*children, {"mediaType": OCI_MANIFEST, "digest": str(THERE), "size": 34}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(b"subject")), "size": 7},
    }
    return shelf, shelf.put_manifest(fields, OCI_INDEX)


def written_today() -> tuple[Shelf, bytes]:
    shelf, root = two_platforms()
    plan = lay_out(shelf.image(root, "team/app:v1"))
    return shelf, assemble(plan, shelf.stored)


def plain_tar(archive: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(archive, read_across_frames=True).read()


def raw_frames(archive: bytes, index: Index) -> list[bytes]:
    start = zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\xc0\x38"
    stretches = [archive[entry.offset :][: entry.stored] for entry in index.blobs.values()]
    return [stored for stored in stretches if stored.startswith(start)]


def lasting(index: Index) -> dict[str, object]:
    """Take what does not depend on how well zstd compresses."""
    compressed = {"blobs": {"__all__": {"offset", "pieces", "crc64"}}}
    return index.model_dump(exclude=compressed) | {"order": list(index.blobs)}


def test_the_golden_file_stays_readable() -> None:
    archive = GOLDEN.read_bytes()
    shelf, root = two_platforms()

    index = read_index(archive)

    assert (index.version, index.references, index.root) == (1, ("team/app:v1",), root)
    assert set(index.blobs) == set(shelf.plain)
    for digest, plain in shelf.plain.items():
        assert read(archive, index, digest, 0, len(plain)) == plain
        assert read(archive, index, digest, 300, 900) == plain[300:900]
    assert THERE not in index.blobs
    assert index.blobs[root].subject == Digest.of(b"subject")
    assert len(members(archive)) == len(shelf.plain) + 3


def test_the_writer_of_today_writes_the_golden_file() -> None:
    golden = GOLDEN.read_bytes()

    _, archive = written_today()

    index = read_index(archive)
    assert plain_tar(archive) == plain_tar(golden)
    assert lasting(index) == lasting(read_index(golden))
    assert raw_frames(archive, index) == raw_frames(golden, read_index(golden))
    assert len(raw_frames(archive, index)) == 4
