"""An index from somebody else: sound, or refused, in bounded time and memory."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.archive import limits
from proxy.archive.index import ArchiveInvalid, decode, metadata_length
from proxy.archive.pieces import PIECE
from tests.unit.archive.forging import BEFORE, CHILD, LAYER, ROOT, forge, forged, some_file, some_index


def test_the_forger_of_these_tests_can_make_a_sound_file() -> None:
    file = forge(some_index().model_dump_json(exclude_none=True))

    assert decode(file, len(file)) == some_index()


_OVER_4_MIB = f'"size":{2 * PIECE + 1},"offset":910,"pieces":[[20,{PIECE},7],[20,{PIECE},7],[20,1,7]]'

LIES: dict[str, tuple[str, str]] = {
    "negative offset": ('"offset":910', '"offset":-1'),
    "offset behind the footer": ('"offset":910', '"offset":99999'),
    "blob that runs into the footer": ('"offset":910', '"offset":941'),
    "empty blob behind the footer": ('"offset":970', '"offset":1001'),
    "overlapping blobs": ('"offset":910', '"offset":719'),
    "same place twice": ('"offset":910', '"offset":0'),
    "huge offset": ('"offset":910', '"offset":9223372036854775807'),
    "offset beyond 64 bits": ('"offset":910', '"offset":92233720368547758080000'),
    "offset as text": ('"offset":910', '"offset":"910"'),
    "offset as float": ('"offset":910', '"offset":910.0'),
    "offset as boolean": ('"offset":910', '"offset":true'),
    "no offset": ('"offset":910,', ""),
    "negative size": ('"size":40', '"size":-40'),
    "pieces that do not add up": ('"size":40', '"size":41'),
    "bytes without pieces": ('"size":0', '"size":1'),
    "empty piece": ("[60,40,7]", "[60,40,7],[1,0,0]"),
    "piece without stored bytes": ("[60,40,7]", "[0,40,7]"),
    "negative piece": ("[60,40,7]", "[60,41,7],[60,-1,7]"),
    "negative stored length": ("[60,40,7]", "[-60,40,7]"),
    "piece over 2 MiB": (f"[700,{PIECE},1],[20,5,", f"[700,{PIECE + 1},1],[20,4,"),
    "stored bytes that no piece needs": (f"[700,{PIECE},1]", f"[{limits.STORED + 1},{PIECE},1]"),
    "negative CRC": ("[60,40,7]", "[60,40,-7]"),
    "CRC over 32 bits": ("4294967295", "4294967296"),
    "piece with four numbers": ("[60,40,7]", "[60,40,7,1]"),
    "piece with two numbers": ("[60,40,7]", "[60,40]"),
    "pieces that are none": ("[[60,40,7]]", '"60"'),
    "root that is not there": (str(ROOT), str(CHILD)),
    "root that is no digest": (f'"root":"{ROOT}"', '"root":"sha256:../../etc"'),
    "root that is a number": (f'"root":"{ROOT}"', '"root":1'),
    "blob that is no digest": (f'"{LAYER}":', '"md5:00":'),
    "fewer CRC-64 than pieces": ("AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgc="),
    "half a CRC-64": ("AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0O"),
    "CRC-64 that is no base64": ("AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0OD$$"),
    "CRC-64 that is no text": ('"AAECAwQFBgcICQoLDA0ODw=="', "[0,1]"),
    "subject that is no digest": (f'"subject":"{CHILD}"', '"subject":"x"'),
    "media type with a line break": ('"media_type":"application/json"', r'"media_type":"a\r\nSet-Cookie: b"'),
    "manifest over 4 MiB": ('"size":40,"offset":910,"pieces":[[60,40,7]]', _OVER_4_MIB),
    "empty media type": ('"media_type":"application/json"', '"media_type":""'),
    "media type with parameters": ('"media_type":"application/json"', '"media_type":"text/html; charset=utf-8"'),
    "long media type": ('"media_type":"application/json"', f'"media_type":"a/{"a" * 128}"'),
    "reference with no port": ("team/app:v1", "localhost:port/team/app:v1"),
    "reference without a tag": ("team/app:v1", "team/app"),
    "reference that climbs": ("team/app:v1", "../app:v1"),
    "reference with a line break": ("team/app:v1", r"team/app:v1\n"),
    "references that are none": ('["team/app:v1"]', "7"),
    "version in the JSON": ('"version":1', '"version":2'),
    "half of the JSON": ('"blobs":', ""),
    "NaN": ('"size":40', '"size":NaN'),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_an_index_that_lies_is_refused(lie: tuple[str, str]) -> None:
    file = forged(*lie)

    with pytest.raises(ArchiveInvalid):
        decode(file, len(file))


TEXTS: dict[str, bytes] = {
    "nothing": b" ",
    "no object": b"[]",
    "null": b"null",
    "not UTF-8": b'{"version":1,"references":["\xff"]}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "many values": b"[" + b"0," * 20_000_000 + b"0]",
    "many lists": b"[" * 3_000_000,
    "many objects": b'{"blobs":{' + b'"":{},' * 200_000 + b"}}",
    "long number": b'{"version":' + b"9" * 1_000_000 + b"}",
    "long text": b'{"references":["' + b"a" * 30_000_000 + b'"]}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_strange_text_is_refused_in_little_time_and_memory(text: bytes) -> None:
    file = forge(text)
    tracemalloc.start()

    with pytest.raises(ArchiveInvalid):
        decode(file, len(file))

    assert tracemalloc.get_traced_memory()[1] < limits.INDEX + 40_000_000
    tracemalloc.stop()


def bomb(size: int) -> bytes:
    header = struct.pack("<IBBQ", zstandard.MAGIC_NUMBER, 0xC0, 0x38, size)
    return header + (b"\x02\0\x10\0") * 10_000


FRAMES: dict[str, bytes] = {
    "1.2 GB of zeros": bomb(131_072 * 10_000),
    "1.2 GB of zeros that say they are few": bomb(100),
    "65 MiB of blanks": zstandard.compress(b" " * (limits.INDEX + 1)),
    "no content size": zstandard.ZstdCompressor(write_content_size=False).compress(b"{}"),
    "window log 31": struct.pack("<IBBQ", zstandard.MAGIC_NUMBER, 0xC0, 0xA8, 2) + b"\x11\0\0{}",
    "no frame": b"{}",
    "two frames": zstandard.compress(b"{}") * 2,
}


@pytest.mark.parametrize("compressed", FRAMES.values(), ids=FRAMES.keys())
def test_a_bomb_for_an_index_is_refused_in_little_memory(compressed: bytes) -> None:
    file = forge("", compressed=compressed)
    tracemalloc.start()

    with pytest.raises(ArchiveInvalid, match="not sound"):
        decode(file, len(file))

    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_newer_format_is_refused_by_name() -> None:
    file = forge("{}", version=2)

    with pytest.raises(ArchiveInvalid, match="format version 2, this image-relay reads version 1"):
        metadata_length(file)
    with pytest.raises(ArchiveInvalid, match="format version 2"):
        decode(file, len(file))


def trailer(metadata: int, index: int) -> bytes:
    lengths = struct.pack("<QII", metadata, index, 0)
    return lengths + struct.pack("<II", zlib.crc32(lengths), 1) + b"imgrelay"


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"imgrelay",
        bytes(31),
        bytes(64),
        zstandard.compress(b"an archive of somebody else"),
        trailer(0, 0),
        trailer(139, 100),
        trailer(2**63, 100),
        trailer(2**64 - 1, 2**32 - 1),
        trailer(limits.METADATA + 1, 100),
        trailer(140, 2**32 - 1),
        trailer(200, 100)[:3] + b"\x01" + trailer(200, 100)[4:],
    ],
)
def test_a_file_without_a_sound_trailer_is_refused(tail: bytes) -> None:
    with pytest.raises(ArchiveInvalid):
        metadata_length(tail)
    with pytest.raises(ArchiveInvalid):
        decode(tail, max(len(tail), 1000))


@pytest.mark.parametrize(
    ("tail", "size"),
    [
        pytest.param(lambda file: file[-100:], 0, id="tail that is too short"),
        pytest.param(lambda file: file, -1, id="file that is shorter than its tail"),
        pytest.param(lambda file: file, -BEFORE, id="file without room for its blobs"),
        pytest.param(lambda file: file[:BEFORE] + b"P" + file[BEFORE + 1 :], 0, id="other frame"),
        pytest.param(lambda file: file[: BEFORE + 4] + b"\0" + file[BEFORE + 5 :], 0, id="other length"),
    ],
)
def test_a_file_that_does_not_fit_its_trailer_is_refused(tail: Callable[[bytes], bytes], size: int) -> None:
    file = some_file()

    with pytest.raises(ArchiveInvalid):
        decode(tail(file), len(file) + size)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_is_changed_in_a_file_gives_the_index_or_a_refusal(data: st.DataObject) -> None:
    file = bytearray(some_file())
    footer = range(BEFORE, len(file))
    for position in data.draw(st.lists(st.sampled_from(footer), min_size=1, max_size=5)):
        file[position] = data.draw(st.integers(0, 255))

    try:
        found = decode(bytes(file), len(file))
    except ArchiveInvalid:
        return

    assert found == some_index()


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_whatever_is_changed_in_the_json_gives_sound_offsets_or_a_refusal(data: st.DataObject) -> None:
    text = bytearray(some_index().model_dump_json(exclude_none=True).encode())
    for position in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=3)):
        text[position] = data.draw(st.sampled_from(b'0123456789-.eE"[]{},:') | st.integers(0, 255))
    file = forge(bytes(text))

    try:
        found = decode(file, len(file))
    except ArchiveInvalid:
        return

    stretches = sorted((entry.offset, entry.offset + entry.stored) for entry in found.blobs.values())
    assert [end for pair in stretches for end in pair] == sorted(end for pair in stretches for end in pair)
    assert 0 <= stretches[0][0] <= stretches[-1][1] <= BEFORE


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(ArchiveInvalid):
        decode(tail, len(tail))
