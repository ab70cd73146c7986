"""The index at the end of an archive, and of a blob in the spool: what the file contains, and where.

It is the payload of a zstd skippable frame, which decoders skip. Nothing in it is trusted: whatever `decode` returns
lies inside the file, does not overlap, and is small enough for memory.
"""

import re
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Annotated, Self

from isal.isal_zlib import crc32
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)

from proxy.archive import frames, limits
from proxy.archive.crc64 import WIDTH
from proxy.archive.pieces import Piece
from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.manifest import MEDIA_TYPE
from proxy.oci.names import label, parse_label

TAIL = limits.TAIL
VERSION = 1

_LEVEL = 3
_SKIPPABLE = struct.Struct("<II")  # RFC 8878, 3.1.2: magic number, payload length
_MAGIC_NUMBER = 0x184D2A57
_LENGTHS = struct.Struct("<QII")  # all metadata, compressed index, CRC-32 of the compressed index
_TRAILER = struct.Struct("<16sII8s")  # the lengths, their CRC-32, format version, magic
_AROUND = _SKIPPABLE.size + _TRAILER.size  # bytes of a footer around the compressed index
_MAGIC = b"imgrelay"


class ArchiveInvalid(Exception):
    """The file has no index, or one that cannot be right."""


class FormatUnknown(ArchiveInvalid):
    """The file has a format that only another version of this program can read."""


DigestText = Annotated[
    Digest,
    PlainValidator(lambda value: value if isinstance(value, Digest) else Digest.parse(str(value))),
    PlainSerializer(str),
]
MediaType = Annotated[str, Field(pattern=f"^(?:{MEDIA_TYPE})$")]  # it becomes a header
Reference = Annotated[str, AfterValidator(lambda text: label(*parse_label(text)))]
Count = Annotated[int, Field(ge=0, le=limits.FILE)]


HINT = 16  # hexadecimal digits of a digest
SIBLINGS = 200  # artifacts that an archive has hints about
SIBLING_MANIFESTS = 16  # of each of them
_HINT_TEXT = re.compile(rf"[0-9a-f]{{{HINT}}}")
_SIBLING = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,1024}")


def _hints(value: object) -> dict[str, tuple[str, ...]] | None:
    """Return the hints that are well-formed and within the bounds; no archive is refused for a bad one."""
    if not isinstance(value, dict):
        return None
    hints = dict[str, tuple[str, ...]]()
    for name, digests in islice(value.items(), SIBLINGS):
        if isinstance(name, str) and isinstance(digests, list | tuple) and _SIBLING.fullmatch(name):
            some = islice(digests, SIBLING_MANIFESTS)
            hints[name] = tuple(each for each in some if isinstance(each, str) and _HINT_TEXT.fullmatch(each))
    return hints or None


Hints = Annotated[dict[str, tuple[str, ...]] | None, BeforeValidator(_hints)]
Checksums = Annotated[
    bytes,
    PlainValidator(lambda value: value if isinstance(value, bytes) else b64decode(str(value), validate=True)),
    PlainSerializer(lambda value: b64encode(value).decode(), return_type=str),
]


class _Part(BaseModel):
    """No conversion between types; unknown fields are ignored, since a later writer may add some."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Entry(_Part):
    """A blob or manifest: its plain size, its pieces without gaps, and the file offset of the first.

    `crc64` has the CRC-64/NVME of each piece, eight bytes each, the lowest first.
    """

    size: Count
    offset: Count
    pieces: tuple[Piece, ...]
    media_type: MediaType | None = None
    subject: DigestText | None = None
    crc64: Checksums | None = None

    @property
    def stored(self) -> int:
        """Bytes of all pieces together."""
        return sum(piece.stored for piece in self.pieces)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        for stored, plain, crc in self.pieces:
            if not (0 < plain <= limits.PIECE and 0 < stored <= limits.STORED and 0 <= crc < 2**32):
                raise ValueError("a piece is empty, too large, or has no CRC-32")
        if sum(piece.plain for piece in self.pieces) != self.size:
            raise ValueError("the pieces do not add up to the size")
        if self.crc64 is not None and len(self.crc64) != WIDTH * len(self.pieces):
            raise ValueError("there are not as many CRC-64 as pieces")
        if self.media_type is not None and self.size > limits.MANIFEST:
            raise ValueError("a manifest is larger than 4 MiB")
        return self


class Index(_Part):
    """What one file contains: references (`app:v1`, or `app@sha256:…`), the root, and all blobs and manifests."""

    version: int = VERSION
    references: tuple[Reference, ...]
    root: DigestText
    blobs: dict[DigestText, Entry]
    interim: bool | None = None  # its client may be about to push, under the same tag, the index that names it
    siblings: Hints = None  # manifests of other artifacts of the repository, by name

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.root not in self.blobs:
            raise ValueError("the root is not among the blobs")
        if any(end > start for (_, end), (start, _) in pairwise(sorted(_stretches(self.blobs.values())))):
            raise ValueError("blobs overlap")
        return self


def encode(index: Index, metadata: int, at: int) -> bytes:
    """Return the footer of a file: a skippable frame that ends in the fixed trailer.

    `metadata` is the file offset where the small members start, `at` the one where this frame starts. Raise
    ArchiveInvalid if no reader would accept the index.
    """
    text = index.model_dump_json(exclude_none=True).encode()
    _refuse_unbounded(text)
    payload = frames.compressor(_LEVEL).compress(text)
    total = at - metadata + _AROUND + len(payload)
    if total > limits.METADATA:
        raise ArchiveInvalid(f"the metadata would have {total} bytes, readers take {limits.METADATA}")
    lengths = _LENGTHS.pack(total, len(payload), crc32(payload))
    start = _SKIPPABLE.pack(_MAGIC_NUMBER, len(payload) + _TRAILER.size)
    return start + payload + _TRAILER.pack(lengths, crc32(lengths), VERSION, _MAGIC)


def metadata_length(tail: bytes) -> int:
    """Return how many bytes the small members and the index have, by the trailer at the end of `tail`.

    Raise ArchiveInvalid if there is no trailer, or one of a newer format.
    """
    metadata, _, _ = _trailer(tail)
    return metadata


def decode(tail: bytes, size: int) -> Index:
    """Return the index of a file of `size` bytes, by its last bytes, at least `metadata_length`.

    Raise ArchiveInvalid if it is damaged, contradictory or beyond a limit.
    """
    metadata, length, crc = _trailer(tail)
    if not metadata <= len(tail) <= size:
        raise ArchiveInvalid(f"the metadata has {metadata} bytes, {len(tail)} were read of {size}")
    footer = _AROUND + length
    start = len(tail) - footer
    payload = memoryview(tail)[start + _SKIPPABLE.size : -_TRAILER.size]
    if _SKIPPABLE.unpack_from(tail, start) != (_MAGIC_NUMBER, length + _TRAILER.size) or crc32(payload) != crc:
        raise ArchiveInvalid("the index is damaged")
    try:
        text = frames.decompress(payload, limits.INDEX)
        _refuse_unbounded(text)
        index = Index.model_validate_json(text)
    except (frames.FrameInvalid, RegistryError) as error:
        raise ArchiveInvalid(f"the index is not sound: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ArchiveInvalid(f"the index is not sound: {first['msg']}") from error
    if index.version != VERSION:
        raise ArchiveInvalid("the index and the trailer disagree about the format version")
    if any(end > size - footer for _, end in _stretches(index.blobs.values())):
        raise ArchiveInvalid("a blob lies outside the file")
    return index


def _trailer(tail: bytes) -> tuple[int, int, int]:
    """Return the length of all metadata, that of the compressed index, and the CRC-32 of the latter."""
    if len(tail) < _TRAILER.size:
        raise ArchiveInvalid("too short to be an archive of image-relay")
    lengths, crc, version, magic = _TRAILER.unpack_from(tail, len(tail) - _TRAILER.size)
    if magic != _MAGIC:
        raise ArchiveInvalid("no archive of image-relay: the trailer is missing")
    if version != VERSION:
        raise FormatUnknown(f"it has format version {version}, this image-relay reads version {VERSION}")
    metadata, length, payload_crc = _LENGTHS.unpack(lengths)
    if crc32(lengths) != crc or not _AROUND + length <= metadata <= limits.METADATA:
        raise ArchiveInvalid("the trailer is damaged")
    return metadata, length, payload_crc


def _refuse_unbounded(text: bytes) -> None:
    """Raise ArchiveInvalid before parsing: a value takes two bytes of JSON but a hundred of memory, an object 1000."""
    values, objects = text.count(b",") + text.count(b"["), text.count(b"{")
    if len(text) > limits.INDEX or values > limits.VALUES or objects > limits.OBJECTS:
        raise ArchiveInvalid("the index describes more than a reader takes")


def _stretches(entries: Iterable[Entry]) -> Iterable[tuple[int, int]]:
    return ((entry.offset, entry.offset + entry.stored) for entry in entries)
