"""Which indexes are held, and which are given up."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from proxy.archive.index import HINT, Entry, Index
from proxy.archive.pieces import Piece
from proxy.artifacts.base import Artifact
from proxy.catalog.archive import Archive
from proxy.catalog.cache import ArchiveCache
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.files import InMemory

ROOT = Digest.of(b"root")


def archive(pieces: int) -> Archive:
    """An archive of one blob, which weighs eight pieces more."""
    entry = Entry(size=pieces, offset=0, pieces=(Piece(1, 1, 0),) * pieces)
    index = Index(references=("app:v1",), root=ROOT, blobs={ROOT: entry})
    artifact = Artifact("image-app@v1", "1", datetime.now(UTC), pieces)
    return Archive(artifact, InMemory(b""), index, Name.parse("app"), Tag.parse("v1"))


def test_what_is_put_is_there_until_it_is_removed() -> None:
    shelf, one = ArchiveCache(math.inf), archive(2)
    shelf.put("1", one)
    shelf.put("2", None)

    assert "1" in shelf
    assert "2" in shelf
    assert shelf.get("1") is one
    assert shelf.get("2") is shelf.get("3") is None
    assert shelf.archives() == [one]

    shelf.remove("1")
    shelf.remove("1")

    assert "1" not in shelf
    assert shelf.archives() == []


def test_beyond_the_limit_what_was_used_least_recently_goes() -> None:
    shelf = ArchiveCache(30)
    for key in ("1", "2", "3"):
        shelf.put(key, archive(2))
    shelf.get("1")

    shelf.put("4", archive(2))

    assert [key for key in "1234" if key in shelf] == ["1", "3", "4"]


@pytest.mark.parametrize("again", [False, True])
def test_the_last_one_stays_whatever_it_weighs(again: bool) -> None:
    shelf = ArchiveCache(30)
    shelf.put("1", archive(2))
    if again:
        shelf.put("2", archive(2))

    shelf.put("2", archive(100))

    assert "1" not in shelf
    assert "2" in shelf
    shelf.put("3", archive(2))
    assert [key for key in "123" if key in shelf] == ["3"]


def test_what_goes_makes_room() -> None:
    shelf = ArchiveCache(30)
    for key in ("1", "2", "3"):
        shelf.put(key, archive(2))

    shelf.keep(lambda key, _: key == "3")
    shelf.put("4", archive(2))
    shelf.put("5", archive(2))

    assert [key for key in "12345" if key in shelf] == ["3", "4", "5"]


def test_every_hint_of_an_index_weighs_however_few_artifacts_they_are_about() -> None:
    one, plain = archive(2), archive(2)
    hints = {"image-app@v2": ("0" * HINT,) * 20}
    hinting = replace(plain, index=plain.index.model_copy(update={"siblings": hints}))
    shelf = ArchiveCache(30)

    shelf.put("1", one)
    shelf.put("2", hinting)

    assert shelf.archives() == [hinting]
