"""How an image becomes one file: which bytes are where, known before the first is written.

The file is an OCI image layout and a Docker archive at once: a tar in independent zstd frames. Blobs are copied as they
are stored; only what lies between them is made here. Equal images make equal files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.archive import limits, loading, tar
from proxy.archive.frames import compressor
from proxy.archive.index import Entry, Index, encode
from proxy.archive.pieces import Piece
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label

_LEVEL = 3  # of tar headers and small JSON


@dataclass(frozen=True, slots=True)
class Content:
    """A blob in its stored form; `size` is in plain bytes, `manifest` is set if it was pushed as one.

    `crc64` has the CRC-64/NVME of each piece, eight bytes each, or is None where that is not known.
    """

    digest: Digest
    size: int
    pieces: tuple[Piece, ...]
    manifest: Manifest | None = None
    crc64: bytes | None = None


@dataclass(frozen=True, slots=True)
class Literal:
    """Bytes to write at a file offset."""

    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """All pieces of a blob, `length` stored bytes, to copy to a file offset."""

    offset: int
    digest: Digest
    length: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A file to write: segments in order and without gaps, its index, and its size in bytes."""

    segments: tuple[Literal | Copy, ...]
    index: Index
    size: int


@dataclass(frozen=True)
class Image:
    """An image to write as one file.

    `contents` are the root and everything it needs, in tree order; `names` are the names it has after loading;
    `siblings` are hints for readers (`archive.index.Index`).
    """

    name: Name
    tag: Tag | None
    root: Digest
    contents: Mapping[Digest, Content]
    names: tuple[str, ...]
    siblings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def manifests(self) -> dict[Digest, Manifest]:
        """Its contents that were pushed as manifests."""
        return {digest: held.manifest for digest, held in self.contents.items() if held.manifest}


class _Tape:
    """A tar that grows: segments, and plain bytes that wait to share one frame."""

    def __init__(self) -> None:
        self.segments: list[Literal | Copy] = []
        self.size = 0  # bytes of the file so far
        self._waiting = bytearray()
        self._compressor = compressor(_LEVEL)

    def copy(self, content: Content) -> Entry:
        """Add a blob as a member."""
        self._waiting += tar.header(loading.path(content.digest), content.size)
        if content.pieces:
            self.flush()
        manifest = content.manifest
        entry = Entry(
            size=content.size,
            offset=self.size,
            pieces=content.pieces,
            media_type=manifest.media_type if manifest else None,
            subject=manifest.subject.digest if manifest and manifest.subject else None,
            crc64=content.crc64,
        )
        if content.pieces:
            self._append(Copy(self.size, content.digest, entry.stored), entry.stored)
        self._waiting += tar.padding(content.size)
        return entry

    def write(self, name: str, text: bytes) -> None:
        """Add a member with these bytes."""
        self._waiting += tar.header(name, len(text)) + text + tar.padding(len(text))

    def flush(self, last: bytes = b"") -> None:
        """Compress what waits, with `last` behind it, into frames of its own."""
        self._waiting += last
        for start in range(0, len(self._waiting), limits.PIECE):
            self.put(self._compressor.compress(self._waiting[start : start + limits.PIECE]))
        self._waiting.clear()

    def put(self, content: bytes) -> None:
        """Add stored bytes."""
        self._append(Literal(self.size, content), len(content))

    def _append(self, segment: Literal | Copy, length: int) -> None:
        self.segments.append(segment)
        self.size += length


def lay_out(image: Image) -> Plan:
    """Plan the file of an image: large blobs, everything small, the index.

    Raise ValueError if the root is not a manifest.
    """
    tape, blobs, near = _written([image])
    root = image.contents[image.root].manifest
    index = Index(
        references=(label(image.name, image.tag or image.root),),
        root=image.root,
        blobs=blobs,
        interim=(root is not None and root.interim) or None,
        siblings=dict(image.siblings) or None,
    )
    # The metadata start with the first small member, or later if all small members are too much for memory.
    starts = (segment.offset for segment in tape.segments[near:] if isinstance(segment, Literal))
    metadata = next((start for start in starts if tape.size - start <= limits.NEAR), tape.size)
    tape.put(encode(index, metadata, tape.size))
    return Plan(tuple(tape.segments), index, tape.size)


def lay_out_tar(images: Sequence[Image]) -> tuple[Literal | Copy, ...]:
    """Plan a file of one or several images without an index, to be read from start to end."""
    tape, _, _ = _written(images)
    return tuple(tape.segments)


def _written(images: Sequence[Image]) -> tuple[_Tape, dict[Digest, Entry], int]:
    """Return all but the index: the tar, where each blob is, and how many segments come before the small members.

    Large blobs come first, in the order of the tree; then small ones, with what is read most often, configs and
    manifests, next to the index. `manifest.json` is written only if an image can be loaded.
    """
    contents = {digest: content for image in images for digest, content in image.contents.items()}
    tape = _Tape()
    blobs = {digest: tape.copy(content) for digest, content in contents.items() if not _is_small(content)}
    near = len(tape.segments)
    small = sorted(
        filter(_is_small, contents.values()), key=lambda each: (bool(each.manifest), -each.size, str(each.digest))
    )
    blobs |= {content.digest: tape.copy(content) for content in small}
    descriptors, loadable = list[loading.Fields](), list[tuple[Manifest, Sequence[str]]]()
    for image in images:
        root = image.contents[image.root].manifest
        if root is None:
            raise ValueError("the root of an archive is a manifest")
        descriptors += loading.descriptors(image.root, root, image.names)
        if found := loading.loadable(image.root, image.manifests, image.contents.keys()):
            loadable.append((found, image.names))
    tape.write("oci-layout", loading.OCI_LAYOUT)
    tape.write("index.json", loading.index_json(descriptors))
    if loadable:
        tape.write("manifest.json", loading.manifest_json(loadable))
    tape.flush(tar.END)
    return tape, blobs, near


def _is_small(content: Content) -> bool:
    return content.manifest is not None or content.size <= limits.SMALL
