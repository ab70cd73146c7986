"""Pieces: any bytes come back, whole or by ranges, and damaged ones never do."""

import struct
import subprocess
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.archive.pieces import PIECE, Framing, Piece, PieceDamaged, check, choose, covering, frame, unframe
from tests.machine import require
from tests.unit.archive.samples import KINDS, blob, piece_of

BLOCK = 131_072
HEADER = 14
framings = st.sampled_from(Framing)
sizes = st.one_of(
    st.integers(1, 3000),
    st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 1, PIECE - 1, PIECE]),
)


@settings(deadline=None)
@given(st.sampled_from(KINDS), sizes, framings, st.sampled_from([1, 3, 19]))
def test_any_piece_comes_back_and_any_decoder_reads_it(kind: str, size: int, framing: Framing, level: int) -> None:
    plain = blob(kind, size)[:PIECE] or b"x"

    framed = frame(plain, framing, level if size < 10_000 else 1)

    stored = b"".join(framed.parts)
    assert b"".join(unframe(stored, framed.piece)) == plain
    assert framed.piece == piece_of(stored, len(plain))
    assert zstandard.ZstdDecompressor(max_window_size=PIECE).decompress(stored) == plain
    assert zstandard.ZstdDecompressor(max_window_size=PIECE).decompressobj().decompress(stored) == plain


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 10 * BLOCK + 7, PIECE])
def test_offsets_in_a_raw_frame_can_be_computed(size: int) -> None:
    plain = blob("random", size)

    stored = b"".join(frame(plain, Framing.RAW, 3).parts)

    assert len(stored) == HEADER + size + 3 * -(-size // BLOCK)
    for number, start in enumerate(range(0, size, BLOCK)):
        at = HEADER + number * (BLOCK + 3) + 3
        assert stored[at : at + BLOCK][:9] == plain[start : start + 9]


def test_a_raw_frame_is_not_single_segment_and_has_a_window_of_128_kib() -> None:
    stored = b"".join(frame(bytes(PIECE), Framing.RAW, 3).parts)

    header = zstandard.get_frame_parameters(stored)

    assert (header.content_size, header.window_size) == (PIECE, BLOCK)
    assert not stored[4] & 0b0010_0000
    assert not header.has_checksum


def test_the_bytes_of_a_raw_piece_are_never_copied() -> None:
    plain = bytearray(blob("random", 3 * BLOCK + 5))

    framed = frame(plain, Framing.RAW, 3)
    stored = bytearray(b"".join(framed.parts))
    views = unframe(stored, framed.piece)

    assert [view.obj is plain for view in framed.parts[2::2] if isinstance(view, memoryview)] == [True] * 4
    assert [len(view) for view in views] == [BLOCK, BLOCK, BLOCK, 5]
    assert all(view.obj is stored for view in views)


@pytest.mark.parametrize("size", [0, PIECE + 1])
def test_a_piece_is_neither_empty_nor_larger_than_4_mib(size: int) -> None:
    with pytest.raises(ValueError, match="a piece has 1 to"):
        frame(bytes(size), Framing.RAW, 3)


@pytest.mark.parametrize(
    ("kind", "framing"),
    [
        ("random", Framing.RAW),
        ("gzip", Framing.RAW),
        ("zstd", Framing.RAW),
        ("text", Framing.ZSTD),
        ("zeros", Framing.ZSTD),
    ],
)
def test_what_is_compressed_already_is_stored_raw(kind: str, framing: Framing) -> None:
    assert choose(blob(kind, 300_000)) is framing


def test_only_the_first_64_kib_decide_about_the_framing() -> None:
    assert choose(bytes(65_536) + blob("random", 500_000)) is Framing.ZSTD
    assert choose(blob("random", 65_536) + bytes(500_000)) is Framing.RAW
    assert choose(b"") is Framing.RAW


@pytest.mark.parametrize("framing", Framing)
def test_no_flipped_byte_goes_unnoticed(framing: Framing) -> None:
    framed = frame(blob("text", 700), framing, 3)
    stored = b"".join(framed.parts)

    for position in range(len(stored)):
        for mask in (0x01, 0x80, 0xFF):
            damaged = bytearray(stored)
            damaged[position] ^= mask
            with pytest.raises(PieceDamaged):
                unframe(damaged, framed.piece)


@pytest.mark.parametrize("framing", Framing)
@pytest.mark.parametrize("bit", range(32))
def test_no_flipped_bit_of_the_crc_goes_unnoticed(framing: Framing, bit: int) -> None:
    framed = frame(b"some bytes", framing, 3)
    stored = b"".join(framed.parts)

    with pytest.raises(PieceDamaged):
        unframe(stored, framed.piece._replace(crc=framed.piece.crc ^ 1 << bit))


def test_stored_bytes_can_be_checked_without_decoding() -> None:
    framed = frame(b"some bytes", Framing.RAW, 3)
    stored = b"".join(framed.parts)

    check(stored, framed.piece)

    with pytest.raises(PieceDamaged):
        check(stored[::-1], framed.piece)


@pytest.mark.parametrize("framing", Framing)
@pytest.mark.parametrize("length", [0, 1, 13, 14, 17, 500])
def test_a_piece_that_was_cut_short_is_damaged(framing: Framing, length: int) -> None:
    framed = frame(blob("random", 600), framing, 3)

    with pytest.raises(PieceDamaged):
        unframe(b"".join(framed.parts)[:length], framed.piece)


@settings(deadline=None)
@given(st.data(), framings)
def test_a_forged_piece_never_gives_more_or_less_than_it_promises(data: st.DataObject, framing: Framing) -> None:
    plain = blob("text", 2 * BLOCK + 99)
    forged = bytearray(b"".join(frame(plain, framing, 1).parts))
    interesting = st.sampled_from([4, 5, 6, 7, 13, 14, 15, 16, HEADER + BLOCK + 3, HEADER + BLOCK + 4])
    for position in data.draw(st.lists(interesting | st.integers(0, len(forged) - 1), max_size=4)):
        forged[position % len(forged)] = data.draw(st.integers(0, 255))

    try:
        views = unframe(forged, piece_of(forged, len(plain)))
    except PieceDamaged:
        return

    assert sum(map(len, views)) == len(plain)


def hostile_frames() -> Iterator[tuple[str, bytes, int]]:
    """Name, stored bytes, and the plain size that the piece promises."""
    plain = blob("text", 5000)
    sound = zstandard.ZstdCompressor(write_content_size=True).compress(plain)
    raw = b"".join(frame(plain, Framing.RAW, 3).parts)
    magic = struct.pack("<I", zstandard.MAGIC_NUMBER)
    endless = struct.pack("<I", BLOCK << 3 | 0b010)[:3] + b"\0"  # an RLE block that is not the last
    yield "nothing", b"", 1
    yield "garbage", b"garbage" * 9, 5000
    yield "zeros", bytes(5000), 5000
    yield "smaller than promised", sound, 5001
    yield "larger than promised", sound, 4999
    yield "raw and smaller than promised", raw, 5001
    yield "raw and larger than promised", raw, 4999
    yield "raw without a block", raw[:HEADER], 5000
    yield "raw that never ends", raw[:HEADER] + bytes([raw[HEADER] & 0xFE]) + raw[HEADER + 1 :], 5000
    yield "raw with a reserved block type", raw[:HEADER] + bytes([raw[HEADER] | 6]) + raw[HEADER + 1 :], 5000
    yield "two frames", sound + sound, 5000
    yield "something behind the frame", sound + b"\0", 5000
    yield "something behind a raw frame", raw + b"\0\0\0\0", 5000
    yield "a skippable frame", struct.pack("<II", 0x184D2A50, 5) + b"12345", 5
    yield "no content size", zstandard.ZstdCompressor(write_content_size=False).compress(plain), 5000
    yield "a window of 2 GiB", magic + b"\xc0\xa8" + struct.pack("<Q", 5000) + raw[HEADER:], 5000
    yield "a window of 3.75 TiB", magic + b"\xc0\xff" + struct.pack("<Q", 5000) + raw[HEADER:], 5000
    yield "a dictionary", magic + b"\xc1\x38\x07" + struct.pack("<Q", 5000) + raw[HEADER:], 5000
    yield "16 EiB announced", magic + b"\xc0\x38" + b"\xff" * 8 + raw[HEADER:], 5000
    yield "8 EiB announced", magic + b"\xc0\x38" + b"\xff" * 7 + b"\x7f" + raw[HEADER:], 5000
    yield "a bomb", magic + b"\xc0\x38" + struct.pack("<Q", 5000) + endless * 100_000, 5000


@pytest.mark.parametrize(("stored", "plain"), [pytest.param(*case, id=name) for name, *case in hostile_frames()])
def test_a_hostile_frame_is_damage_although_its_crc_is_right_and_leaves_nothing_behind(
    stored: bytes, plain: int
) -> None:
    sound = frame(blob("text", 5000), Framing.ZSTD, 3)

    with pytest.raises(PieceDamaged):
        unframe(stored, piece_of(stored, plain))

    assert b"".join(unframe(b"".join(sound.parts), sound.piece)) == blob("text", 5000)


def test_raw_blocks_in_another_frame_header_are_read_too() -> None:
    plain = blob("random", 5000)
    raw = b"".join(frame(plain, Framing.RAW, 3).parts)
    smaller_header = raw[:4] + b"\x40\x38" + struct.pack("<H", 5000 - 256) + raw[HEADER:]

    assert b"".join(unframe(smaller_header, piece_of(smaller_header, 5000))) == plain


@given(
    st.lists(st.integers(1, 9)),
    st.integers(0, 50),
    st.integers(0, 50),
)
def test_covering_pieces_hold_exactly_the_range(lengths: list[int], start: int, stop: int) -> None:
    pieces = [Piece(2 * plain + 1, plain, 0) for plain in lengths]
    plain_bytes = range(sum(lengths))

    found: list[int] = []
    for offset, piece, skip, take in covering(pieces, start, stop):
        number = next(n for n in range(len(pieces)) if sum(p.stored for p in pieces[:n]) == offset)
        before = sum(lengths[:number])
        assert pieces[number] is piece
        assert 0 < take <= piece.plain - skip
        found += plain_bytes[before + skip : before + skip + take]

    assert found == list(plain_bytes[start:stop])


def test_a_blob_without_bytes_has_no_pieces_to_cover() -> None:
    assert covering([], 0, 10) == []


@pytest.mark.parametrize("framing", Framing)
def test_the_zstd_program_reads_a_piece(framing: Framing) -> None:
    plain = blob("text", PIECE)
    stored = b"".join(frame(plain, framing, 3).parts)

    done = subprocess.run([require("zstd"), "-dc"], input=stored, capture_output=True, check=True)  # noqa: S603 - found on this machine

    assert done.stdout == plain
