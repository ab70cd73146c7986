"""An index, and files that pretend to have one: their lengths and CRCs are right, the rest need not be."""

import struct
import zlib

import zstandard

from proxy.archive.index import Entry, Index, encode
from proxy.archive.pieces import PIECE, Piece
from proxy.oci.digest import Digest

ROOT = Digest.of(b"root")
LAYER = Digest.of(b"layer", "sha512")
CHILD = Digest.of(b"child")
BEFORE = 1000  # stored bytes in front of the footer
SMALL_AT = 900


def some_index() -> Index:
    return Index(
        references=("team/app:v1",),
        root=ROOT,
        blobs={
            LAYER: Entry(
                size=PIECE + 5,
                offset=0,
                pieces=(Piece(700, PIECE, 1), Piece(20, 5, 2**32 - 1)),
                crc64=bytes(range(16)),
            ),
            ROOT: Entry(size=40, offset=910, pieces=(Piece(60, 40, 7),), media_type="application/json", subject=CHILD),
            Digest.of(b""): Entry(size=0, offset=970, pieces=()),
        },
    )


def some_file(index: Index | None = None) -> bytes:
    return bytes(BEFORE) + encode(index or some_index(), SMALL_AT, BEFORE)


def forge(text: str | bytes, *, version: int = 1, compressed: bytes | None = None) -> bytes:
    """Write a file whose lengths and CRCs are right, with any text for an index."""
    text = text.encode() if isinstance(text, str) else text
    payload = compressed or zstandard.compress(text)
    lengths = struct.pack("<QII", len(payload) + 40, len(payload), zlib.crc32(payload))
    trailer = lengths + struct.pack("<II", zlib.crc32(lengths), version) + b"imgrelay"
    return bytes(BEFORE) + struct.pack("<II", 0x184D2A57, len(payload) + 32) + payload + trailer


def forged(old: str, new: str) -> bytes:
    text = some_index().model_dump_json(exclude_none=True)
    assert old in text
    return forge(text.replace(old, new, 1))
