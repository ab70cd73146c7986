"""Pieces: stretches of stored bytes that can be read, checked, copied and decoded alone.

Each is one zstd frame of at most 2 MiB plain bytes. Content that does not compress is framed as raw blocks: such a
frame takes no time, and its plain bytes are views of the stored ones. A piece with damaged bytes is never decoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from isal.isal_zlib import crc32

from proxy.archive import frames, limits
from proxy.archive.crc64 import crc64, packed

PIECE = limits.PIECE
Bytes = frames.Bytes

_SAMPLE = 64 * 1024  # bytes; enough to tell a compressed layer from a plain one
_TRIAL_LEVEL = 1
_WORTH = 0.9  # of the plain size; content that stays above it is stored raw
# RFC 8878, 3.1.1.1. The content size follows. A single-segment frame would ask for as much memory as content.
_START = bytes.fromhex("28b52ffd c0 38")  # magic; 8-byte content size, not single-segment; window of 128 KiB
_HEADER = len(_START) + 8
_BLOCK_HEADER = 3
_STRIDE = _BLOCK_HEADER + limits.BLOCK


class PieceDamaged(Exception):
    """The stored bytes are not those of the piece, or not a frame with the content that it announces."""


class Piece(NamedTuple):
    """The length of some stored bytes, that of their plain bytes, and the CRC-32 of the stored ones."""

    stored: int
    plain: int
    crc: int


class Framing(Enum):
    """How a piece is stored: in raw blocks, or compressed."""

    RAW = "raw"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Framed:
    """A piece, its stored bytes in parts that follow each other, and their CRC-64/NVME as eight bytes."""

    parts: list[Bytes]
    piece: Piece
    crc64: bytes


class Extent(NamedTuple):
    """Where to find plain bytes: a piece, and how many of its plain bytes to skip and to take.

    `offset` is where the piece starts, in stored bytes from the start of the blob.
    """

    offset: int
    piece: Piece
    skip: int
    take: int


def choose(sample: Bytes) -> Framing:
    """Return how to store a piece, by compressing its first 64 KiB; content that hardly shrinks is stored raw."""
    trial = memoryview(sample)[:_SAMPLE]
    shrunk = len(frames.compressor(_TRIAL_LEVEL).compress(trial))
    return Framing.RAW if shrunk > _WORTH * len(trial) else Framing.ZSTD


def frame(plain: Bytes, framing: Framing, level: int) -> Framed:
    """Return a piece of 1 to PIECE plain bytes; the same input gives the same stored bytes.

    `level` is zstd's. The parts of a raw frame are views of `plain`, ready for a gathering write.
    """
    if not 0 < len(plain) <= PIECE:
        raise ValueError(f"a piece has 1 to {PIECE} bytes, not {len(plain)}")
    parts: list[Bytes] = [frames.compressor(level).compress(plain)] if framing is Framing.ZSTD else _raw_parts(plain)
    stored = crc = longer = 0
    for part in parts:
        stored += len(part)
        crc = crc32(part, crc)
        longer = crc64(part, longer)
    return Framed(parts, Piece(stored, len(plain), crc), packed(longer))


def pack(plain: Bytes, level: int) -> Framed:
    """Return a piece in the framing that suits it: a layer that is not compressed may contain files that are."""
    return frame(plain, choose(plain), level)


def check(stored: Bytes, piece: Piece) -> None:
    """Raise PieceDamaged if these are not the stored bytes of the piece."""
    if len(stored) != piece.stored or crc32(stored) != piece.crc:
        raise PieceDamaged("the stored bytes have not the length and CRC of the piece")


def unframe(stored: Bytes, piece: Piece) -> list[memoryview]:
    """Return the plain bytes of a piece, those of a raw frame as views of `stored`.

    Raise PieceDamaged if these are not the bytes that the piece describes.
    """
    check(stored, piece)
    view = memoryview(stored)
    if (views := _raw_views(view, piece.plain)) is not None:
        return views
    try:
        plain = frames.decompress(view, piece.plain)
    except frames.FrameInvalid as error:
        raise PieceDamaged(str(error)) from error
    if len(plain) != piece.plain:
        raise PieceDamaged(f"the frame holds {len(plain)} bytes, the piece {piece.plain}")
    return [memoryview(plain)]


def covering(pieces: Sequence[Piece], start: int, stop: int) -> list[Extent]:
    """Return where the plain bytes [start, stop) are, as far as there are any, in order."""
    extents = []
    stored = plain = 0
    for piece in pieces:
        if plain >= stop:
            break
        skip = max(start - plain, 0)
        take = min(stop - plain, piece.plain) - skip
        if take > 0:
            extents.append(Extent(stored, piece, skip, take))
        stored += piece.stored
        plain += piece.plain
    return extents


def _raw_parts(plain: Bytes) -> list[Bytes]:
    view = memoryview(plain)
    parts: list[Bytes] = [_START + len(view).to_bytes(8, "little")]
    for offset in range(0, len(view), limits.BLOCK):
        block = view[offset : offset + limits.BLOCK]
        parts += (_block_header(len(block), last=offset + len(block) == len(view)), block)
    return parts


def _raw_views(frame: memoryview, plain: int) -> list[memoryview] | None:
    """Return the plain bytes of a frame that `_raw_parts` made; None for any other frame."""
    if frame[:_HEADER] != _START + plain.to_bytes(8, "little"):
        return None
    views = []
    for offset in range(_HEADER, len(frame), _STRIDE):
        block = frame[offset + _BLOCK_HEADER : offset + _STRIDE]
        last = offset + _STRIDE >= len(frame)
        if frame[offset : offset + _BLOCK_HEADER] != _block_header(len(block), last=last):
            return None
        views.append(block)
        plain -= len(block)
    return None if plain else views


def _block_header(size: int, *, last: bool) -> bytes:
    """Return the header of a raw block (RFC 8878, 3.1.1.2)."""
    return (size << 3 | last).to_bytes(_BLOCK_HEADER, "little")
