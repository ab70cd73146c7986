"""Trees of manifests and blobs as a spool keeps them, and the few lines that any writer and reader need."""

import gzip
import json
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import shake_256

import zstandard

from proxy.archive.index import Index, decode, metadata_length
from proxy.archive.layout import Content, Copy, Image, Plan, lay_out
from proxy.archive.loading import names
from proxy.archive.pieces import PIECE, Framing, Piece, choose, covering, frame, unframe
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse
from proxy.oci.names import Name, Tag

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
KINDS = ("random", "text", "zeros", "gzip", "zstd")
Fields = dict[str, object]


def blob(kind: str, size: int, seed: int = 0) -> bytes:
    """About `size` bytes that compress well, badly, or not at all."""
    noise = shake_256(f"{kind}{seed}".encode()).digest(size)
    words = " ".join(str(byte) for byte in noise[:2048]).encode()
    text = (words * (size // max(len(words), 1) + 1))[:size]
    mixed = noise[: size // 2] + text[size // 2 :]
    match kind:
        case "random":
            return noise
        case "text":
            return text
        case "gzip":
            return gzip.compress(mixed, compresslevel=1, mtime=0)
        case "zstd":
            return zstandard.compress(mixed)
        case _:
            return bytes(size)


class Shelf:
    """What was pushed: plain and stored bytes by digest, and what a layout has to know of them."""

    def __init__(self) -> None:
        self.plain: dict[Digest, bytes] = {}
        self.stored: dict[Digest, bytes] = {}
        self.contents: dict[Digest, Content] = {}

    def put(
        self,
        plain: bytes,
        manifest: Manifest | None = None,
        *,
        framing: Framing | None = None,
        cut: int = PIECE,
        algorithm: str = "sha256",
    ) -> Digest:
        digest = Digest.of(plain, algorithm)
        framing = framing or choose(plain)
        framed = [frame(plain[at : at + cut], framing, 3) for at in range(0, len(plain), cut)]
        self.plain[digest] = plain
        self.stored[digest] = b"".join(part for piece in framed for part in piece.parts)
        pieces = tuple(piece.piece for piece in framed)
        self.contents[digest] = Content(digest, len(plain), pieces, manifest)
        return digest

    def describe(self, digest: Digest, media_type: str, **more: object) -> Fields:
        held = self.plain.get(digest, b"")
        return {"mediaType": media_type, "digest": str(digest), "size": len(held)} | more

    def put_manifest(self, fields: Fields, media_type: str = OCI_MANIFEST) -> Digest:
        whole = {"schemaVersion": 2, "mediaType": media_type} | fields
        content = json.dumps(whole).encode()
        return self.put(content, parse(content, media_type))

    def put_image(
        self, layers: Iterable[Digest], config: bytes = b"{}", kind: str = LAYER, more: Fields | None = None
    ) -> Digest:
        fields: Fields = {
            "config": self.describe(self.put(config), CONFIG),
            "layers": [self.describe(layer, kind) for layer in layers],
        }
        return self.put_manifest(fields | (more or {}))

    def put_index(self, *children: Digest, platforms: Sequence[str] = ()) -> Digest:
        """Put an index; platforms such as `linux/arm64` belong to the first children."""
        described = [self.describe(child, OCI_MANIFEST) for child in children]
        for fields, platform in zip(described, platforms, strict=False):
            system, _, architecture = platform.partition("/")
            fields["platform"] = {"os": system, "architecture": architecture}
        return self.put_manifest({"manifests": described}, OCI_INDEX)

    def image(self, root: Digest, reference: str = "app:v1") -> Image:
        text, _, last = reference.partition(":")
        name, tag = Name.parse(text), Tag.parse(last) if last else None
        return Image(
            name=name,
            tag=tag,
            root=root,
            contents=self.contents,
            names=names(name, tag, "localhost:5000"),
        )

    def archive(self, root: Digest, reference: str = "app:v1") -> bytes:
        return assemble(lay_out(self.image(root, reference)), self.stored)


def assemble(plan: Plan, stored: Mapping[Digest, bytes]) -> bytes:
    """Write a plan, and check that its segments follow each other as they say."""
    file = bytearray()
    for segment in plan.segments:
        content = stored[segment.digest] if isinstance(segment, Copy) else segment.content
        assert segment.offset == len(file)
        assert not isinstance(segment, Copy) or segment.length == len(content)
        file += content
    assert len(file) == plan.size
    return bytes(file)


def read_index(archive: bytes) -> Index:
    """Read as the relay does: the last bytes only."""
    metadata = metadata_length(archive[-32:])
    return decode(archive[-metadata:], len(archive))


def read(archive: bytes, index: Index, digest: Digest, start: int, stop: int) -> bytes:
    """Read plain bytes [start, stop) of a blob, decoding only the pieces that hold them."""
    entry = index.blobs[digest]
    plain = b""
    for offset, piece, skip, take in covering(entry.pieces, start, stop):
        at = entry.offset + offset
        views = unframe(archive[at : at + piece.stored], piece)
        plain += b"".join(views)[skip : skip + take]
    return plain


def piece_of(stored: bytes | bytearray, plain: int) -> Piece:
    """Describe stored bytes as somebody would who forges an index."""
    return Piece(len(stored), plain, zlib.crc32(stored))


def members(archive: bytes) -> dict[str, bytes]:
    """Read all members as `zstd -d | tar` would, and refuse what an ordinary tar would not have."""
    plain = zstandard.ZstdDecompressor().stream_reader(archive, read_across_frames=True)
    found = {}
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            assert member.isreg()
            assert (member.mode, member.uid, member.gid, member.mtime) == (0o644, 0, 0, 0)
            assert member.name not in found
            found[member.name] = content.read()
    return found
