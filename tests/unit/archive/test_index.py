"""The index: what was encoded is decoded, from the last bytes alone."""

import json

import pytest
import zstandard
from pydantic import ValidationError

from proxy.archive import limits
from proxy.archive.index import ArchiveInvalid, Entry, Index, decode, encode, metadata_length
from proxy.archive.pieces import PIECE, Piece
from tests.unit.archive.forging import LAYER, ROOT, SMALL_AT, forged, some_file, some_index


def test_an_index_comes_back_from_the_metadata_alone() -> None:
    file = some_file()

    metadata = metadata_length(file[-32:])

    assert metadata == len(file) - SMALL_AT
    assert decode(file[-metadata:], len(file)) == some_index()
    assert decode(file, len(file)) == some_index()


def test_equal_indexes_give_equal_bytes() -> None:
    assert some_file() == some_file()


def test_a_decoder_passes_over_the_footer() -> None:
    frame = zstandard.compress(b"content")

    plain = zstandard.ZstdDecompressor().stream_reader(
        frame + encode(some_index(), 0, len(frame)), read_across_frames=True
    )

    assert plain.read() == b"content"


def test_the_footer_of_a_blob_in_the_spool_needs_no_reference() -> None:
    spooled = Index(references=(), root=LAYER, blobs={LAYER: some_index().blobs[LAYER]})

    file = bytes(720) + encode(spooled, 720, 720)

    assert decode(file, len(file)) == spooled


def test_an_entry_knows_how_many_bytes_are_stored() -> None:
    assert [entry.stored for entry in some_index().blobs.values()] == [720, 60, 0]


def test_fields_of_a_later_writer_are_passed_over() -> None:
    file = forged('"version":1', '"version":1,"mood":"fine"')

    assert decode(file, len(file)) == some_index()


def test_a_mark_comes_back_and_costs_nothing_where_there_is_none() -> None:
    marked = some_index().model_copy(update={"interim": True})

    file = bytes(SMALL_AT) + encode(marked, SMALL_AT, SMALL_AT)

    assert _parsed(file) == {**_parsed(some_file()), "interim": True}
    assert not some_index().interim


def _parsed(file: bytes) -> dict[str, object]:
    """Return the index as a reader sees it that knows JSON alone."""
    length = int.from_bytes(file[-24:-20], "little")
    parsed: dict[str, object] = json.loads(zstandard.decompress(file[-32 - length : -32]))
    return parsed


def test_a_mark_that_is_none_is_refused() -> None:
    file = forged('"version":1', '"version":1,"interim":"soon"')

    with pytest.raises(ArchiveInvalid, match="not sound"):
        decode(file, len(file))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('{"image-app@v1":["0123456789abcdef"]}', {"image-app@v1": ("0123456789abcdef",)}),
        ('{"a":["0123456789abcdef","0123","0123456789ABCDEF",7,null]}', {"a": ("0123456789abcdef",)}),
        ('{"a":["0123456789abcdef"],"b":"0123456789abcdef","c":7,"d":null}', {"a": ("0123456789abcdef",)}),
        ('{"":["0123456789abcdef"],"line\\n":["0123456789abcdef"]}', None),
        ('["image-app@v1"]', None),
        ("7", None),
        ("null", None),
    ],
)
def test_malformed_hints_are_ignored_and_their_archive_is_read(written: str, read: dict[str, object] | None) -> None:
    file = forged('"version":1', f'"version":1,"siblings":{written}')

    assert decode(file, len(file)) == some_index().model_copy(update={"siblings": read})


def test_of_too_many_hints_the_first_are_read() -> None:
    digests = [f"{number:016x}" for number in range(20)]
    written = json.dumps({f"image-app@v{number}": digests for number in range(300)})
    file = forged('"version":1', f'"version":1,"siblings":{written}')

    siblings = decode(file, len(file)).siblings

    assert siblings == {f"image-app@v{number}": tuple(digests[:16]) for number in range(200)}


@pytest.mark.parametrize("fault", [{"size": 41}, {"offset": -1}, {"pieces": (Piece(60, 40, -1),)}])
def test_an_entry_that_contradicts_itself_can_not_be_made(fault: dict[str, object]) -> None:
    sound: dict[str, object] = {"size": 40, "offset": 0, "pieces": (Piece(60, 40, 7),)}

    with pytest.raises(ValidationError):
        Entry.model_validate(sound | fault)


def test_an_index_that_no_reader_would_take_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArchiveInvalid, match="metadata would have"):
        encode(some_index(), 0, limits.METADATA)

    monkeypatch.setattr(limits, "VALUES", 10)
    with pytest.raises(ArchiveInvalid, match="more than a reader takes"):
        encode(some_index(), 0, 0)


def test_an_image_of_1_tib_has_an_index_that_readers_take() -> None:
    stored = PIECE + 110
    pieces = tuple(Piece(stored, PIECE, number * 16_383) for number in range(262_144))
    size = len(pieces) * stored
    index = Index(references=(), root=ROOT, blobs={ROOT: Entry(size=len(pieces) * PIECE, offset=0, pieces=pieces)})

    footer = encode(index, size, size)

    assert decode(footer, size + len(footer)) == index
