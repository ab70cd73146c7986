"""The stored form of one blob: its pieces, and a footer that makes its file readable by itself."""

import os
from pathlib import Path

from proxy.archive import limits
from proxy.archive.crc64 import WIDTH
from proxy.archive.index import TAIL, ArchiveInvalid, Entry, Index, decode, encode, metadata_length
from proxy.archive.pieces import PIECE, Framed, Piece, pack
from proxy.blob import Blob, Verification
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.runtime.files import Bytes, InMemory, NewFile, Source


def footer(digest: Digest, entry: Entry) -> bytes:
    """Return the end of a file that holds the pieces of one blob."""
    index = Index(references=(), root=digest, blobs={digest: entry})
    return encode(index, metadata=entry.stored, at=entry.stored)


class BlobWriter:
    """A blob file that is being written: piece after piece, then the footer. All of it blocks."""

    def __init__(self, file: NewFile) -> None:
        self.file = file
        self.pieces: list[Piece] = []
        self.end = 0  # stored bytes so far
        self.crc64 = bytearray()  # of the pieces, eight bytes each

    @property
    def size(self) -> int:
        """Return how many plain bytes the pieces have in all."""
        return sum(piece.plain for piece in self.pieces)

    def append(self, framed: Framed) -> None:
        """Write one more piece."""
        self.file.write(framed.parts, self.end)
        self.pieces.append(framed.piece)
        self.crc64 += framed.crc64
        self.end += framed.piece.stored

    def drop_last(self) -> None:
        """Let the next piece take the place of the last one."""
        self.end -= self.pieces.pop().stored
        del self.crc64[-WIDTH:]

    def complete(self, digest: Digest) -> Entry:
        """Write the footer that makes the file readable by itself."""
        entry = Entry(size=self.size, offset=0, pieces=tuple(self.pieces), crc64=bytes(self.crc64))
        self.file.end_at(self.end)
        self.file.write([footer(digest, entry)], self.end)
        return entry


class BlobCopy:
    """A blob file with the pieces that another file has of a blob, as they are stored. All of it blocks."""

    def __init__(self, blob: Blob, file: NewFile) -> None:
        self.entry = Entry(size=blob.size, offset=0, pieces=blob.pieces, crc64=blob.crc64)
        self._digest = blob.digest
        self._file = file
        self._end = 0  # bytes so far

    def append(self, part: Bytes) -> None:
        """Write what comes next."""
        self._file.write([part], self._end)
        self._end += len(part)

    def complete(self) -> None:
        """Write the footer, once the digest of all pieces was found to be right."""
        self.append(footer(self._digest, self.entry))


def in_memory(digest: Digest, manifest: Manifest, level: int) -> Blob:
    """Return a manifest in its stored form, without using the disk."""
    stored, pieces = _stored(manifest.content, level)
    return Blob(digest, len(manifest.content), pieces, InMemory(stored), 0, manifest.media_type, Verification({digest}))


def _stored(content: bytes, level: int) -> tuple[bytes, tuple[Piece, ...]]:
    framed = [pack(content[at : at + PIECE], level) for at in range(0, len(content), PIECE)]
    return b"".join(part for each in framed for part in each.parts), tuple(each.piece for each in framed)


def write_manifest(path: Path, digest: Digest, manifest: Manifest, level: int) -> Entry:
    """Write a manifest as a blob file, and return its entry."""
    stored, pieces = _stored(manifest.content, level)
    entry = Entry(size=len(manifest.content), offset=0, pieces=pieces, media_type=manifest.media_type)
    path.write_bytes(stored + footer(digest, entry))
    return entry


def blob_of(digest: Digest, entry: Entry, source: Source, findings: Verification) -> Blob:
    """Return the blob that `source` holds from its first byte on."""
    return Blob(digest, entry.size, entry.pieces, source, 0, entry.media_type, findings, entry.crc64)


def read_entry(path: Path, digest: Digest) -> Entry | None:
    """Read the footer of a blob file; None if the file is not whole."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        try:
            for length in (TAIL, limits.METADATA):
                file.seek(max(0, size - length))
                tail = file.read()
                if metadata_length(tail) <= len(tail):
                    return decode(tail, size).blobs.get(digest)
        except ArchiveInvalid:
            return None
    return None
