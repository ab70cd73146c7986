"""Streams in every compression, whole, broken, and out of all proportion."""

import gzip
import io
import lzma
import os
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import TarballInvalid
from proxy.tarballs.streams import PeekableStream, Readable, compression, plain, skip_padding
from tests.tarballs import COMPRESSIONS

MIB = 1024 * 1024


class Drops:
    """A source that gives a few bytes at a time."""

    def __init__(self, content: bytes, most: int) -> None:
        self._file = io.BytesIO(content)
        self._most = most

    def read(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._most))


def everything(source: Readable, size: int = 64 * 1024) -> bytes:
    found = b""
    while part := source.read(size):
        assert len(part) <= size
        found += part
    return found


@given(st.binary(max_size=5000), st.sampled_from(sorted(COMPRESSIONS)), st.integers(1, 3), st.integers(1, 400))
def test_what_was_compressed_comes_back_however_it_is_cut(content: bytes, kind: str, times: int, most: int) -> None:
    if kind == "plain":
        content = b"no magic" + content
    compressed = COMPRESSIONS[kind](content) * times

    assert everything(plain(Drops(compressed, most)), 100) == content * times


BREAKING_OFF = {name: make for name, make in COMPRESSIONS.items() if name != "plain"} | {
    "zstd with a checksum": zstandard.ZstdCompressor(write_checksum=True).compress,
    "zstd to be skipped": lambda content: struct.pack("<II", 0x184D2A50, len(content)) + content,
}


@given(st.sampled_from(sorted(BREAKING_OFF)), st.binary(max_size=5000), st.integers(0, 2), st.data())
def test_a_stream_that_ends_too_early_is_told_wherever_it_ends(
    kind: str, content: bytes, whole: int, data: st.DataObject
) -> None:
    compressed = BREAKING_OFF[kind](content)
    cut = data.draw(st.integers(6, len(compressed) - 1))

    with pytest.raises(TarballInvalid, match=f"the {kind.partition(' ')[0]} stream ends too early"):
        everything(plain(Drops(compressed * whole + compressed[:cut], 500)), 100)


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("length", [1, 25, 26, 300])
def test_a_stream_that_breaks_off_in_what_is_not_compressed_is_told_wherever_it_ends(length: int, size: int) -> None:
    whole = zstandard.ZstdCompressor().compress(os.urandom(length))

    for cut in range(6, len(whole)):
        with pytest.raises(TarballInvalid, match="the zstd stream ends too early"):
            everything(plain(Drops(whole[:cut], 500)), size)
    assert len(everything(plain(Drops(whole, 500)), size)) == length


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_a_damaged_stream_is_told(kind: str) -> None:
    damaged = bytearray(COMPRESSIONS[kind](os.urandom(10_000) + bytes(10_000)))
    damaged[4 if kind == "zstd" else len(damaged) // 2] ^= 0xFF
    damaged[-6] ^= 0xFF

    with pytest.raises(TarballInvalid, match=f"the {kind} stream (cannot be read|ends too early)"):
        everything(plain(io.BytesIO(bytes(damaged))))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_what_follows_a_stream_is_no_part_of_it(kind: str) -> None:
    assert everything(plain(io.BytesIO(COMPRESSIONS[kind](b"content") + bytes(10_000)))) == b"content"


def test_frames_that_are_to_be_skipped_are() -> None:
    skipped = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"skip!"
    frame = COMPRESSIONS["zstd"](b"content")

    assert everything(plain(io.BytesIO(frame + skipped + frame + skipped))) == b"contentcontent"


@pytest.mark.parametrize(
    "bomb",
    [
        zstandard.compress(bytes(64 * MIB)) * 40,
        b"".join(COMPRESSIONS["bzip2"](bytes(32 * MIB)) for _ in range(1)) * 80,
    ],
    ids=["zstd", "bzip2"],
)
def test_a_bomb_is_given_up_after_a_gibibyte(bomb: bytes) -> None:
    given = 0

    def explode() -> None:
        nonlocal given
        source = plain(io.BytesIO(bomb))
        while part := source.read(MIB):
            given += len(part)

    with pytest.raises(TarballInvalid, match="expands more than 2000 times"):
        explode()

    assert 1024 * MIB <= given <= 1100 * MIB + 2000 * len(bomb)


def test_a_window_that_would_fill_the_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = compressor.compress(b"x" * 1000) + compressor.flush()

    with pytest.raises(TarballInvalid, match="the zstd stream cannot be read"):
        everything(plain(io.BytesIO(frame)))


def test_a_dictionary_of_xz_that_would_fill_the_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 * MIB}]
    with pytest.raises(TarballInvalid, match="the xz stream cannot be read: it needs more than 40 MiB of memory"):
        everything(plain(io.BytesIO(lzma.compress(b"x", filters=filters))))


def test_what_is_looked_at_stays() -> None:
    stream = PeekableStream(Drops(b"abcdefgh", 3))

    assert [stream.peek(6), stream.peek(2), stream.read(4), stream.peek(9), everything(stream)] == [
        *(b"abcdef", b"ab", b"abcd", b"efgh", b"efgh")
    ]
    assert (stream.peek(1), stream.read(1)) == (b"", b"")


def test_compressions_are_told_by_their_first_bytes() -> None:
    assert {kind: compression(pack(b"x" * 50)[:6]) for kind, pack in COMPRESSIONS.items()} == {
        kind: "" if kind == "plain" else kind for kind in COMPRESSIONS
    }
    assert gzip.compress(b"")[:3] == b"\x1f\x8b\x08"


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_thousands_of_streams_are_one(kind: str) -> None:
    assert everything(plain(io.BytesIO(COMPRESSIONS[kind](b"content") * 5000))) == b"content" * 5000


def test_padding_between_streams_of_xz_is_skipped() -> None:
    stream = COMPRESSIONS["xz"](b"content")

    assert everything(plain(io.BytesIO(stream + bytes(8) + stream + bytes(4)))) == b"contentcontent"


@given(st.integers(0, 3000), st.integers(1, 5000))
def test_as_much_padding_as_there_is_between_streams_of_xz_is_skipped(fours: int, most: int) -> None:
    stream = COMPRESSIONS["xz"](b"content")

    assert everything(plain(Drops(stream + bytes(4 * fours) + stream, most))) == b"contentcontent"


def test_much_padding_behind_a_stream_of_xz_is_read_in_large_blocks() -> None:
    reads = list[int]()

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.append(size or 0)
            return super().read(size)

    begun = PeekableStream(Counted(bytes(8 * MIB) + b"12" + bytes(7) + b"3"))
    skip_padding(begun)

    assert everything(begun) == b"12" + bytes(7) + b"3"
    assert len(reads) < 100
