"""What a zip holds: which of its folders are layouts, and which of its files are left."""

import json
from io import BytesIO
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tarballs.choice import Choice
from proxy.tarballs.zips import Zip, is_within, outermost
from tests.api.test_images import files_of
from tests.tarballs import Files, blob, entry, legacy_save, oci_save, sample, zipped

IMAGE = sample(b"zipped")
LAYOUT, SAVED = files_of(oci_save(IMAGE, "app:v1")), files_of(legacy_save(IMAGE))
BELOW = {
    "manifest.json": json.dumps(
        [entry(next(iter(blob(IMAGE.config))), [next(iter(blob(each))) for each in IMAGE.layers], [])]
    ).encode()
} | {name: each for content in (IMAGE.config, *IMAGE.layers) for name, each in blob(content).items()}


class _File(BytesIO):
    taken = 0


def choice(files: Files, most: int = 2**20) -> Choice:
    return Zip(cast("Any", _File(zipped(files)))).choice(most)


def without(files: Files, *names: str) -> Files:
    return {name: content for name, content in files.items() if name not in names}


@pytest.mark.parametrize("folder", ["", "out/", "a/b/", "blobs/"])
@pytest.mark.parametrize(
    "files",
    [
        LAYOUT,
        without(LAYOUT, "oci-layout"),
        without(LAYOUT, "oci-layout", "manifest.json"),
        SAVED,
        without(SAVED, "repositories"),
        BELOW,
        without(LAYOUT, "index.json", "oci-layout"),
        without(SAVED, "repositories") | {"manifest.json": b" \n" + SAVED["manifest.json"]},
    ],
)
def test_what_tools_write_is_a_layout_wherever_it_is(folder: str, files: Files) -> None:
    found = choice({folder + name: content for name, content in files.items()} | {"z/read.me": b"text"})

    assert found.layouts == (folder or "/",)
    assert found.files == (("z/read.me",) if folder else ())


@pytest.mark.parametrize(
    "files",
    [
        {"manifest.json": b"{}", "blobs/sha256/x": b"x"},
        {"manifest.json": b'[{"src": "a.png"}]', "a.png": b""},
        {"manifest.json": b'[{"Config": "absent.json"}]', "app.tar": b""},
        {"manifest.json": b'[{"Config": ""}]'},
        {"manifest.json": b'[{"Config": "conf.yaml"}]', "conf.yaml": b""},
        {"index.json": b"{}", "blobs/sha256/readme.txt": b""},
        {"manifest.json": b""},
        {"index.json": b"{}", "app.tar": b""},
        {"index.json": b"{}", "blobs/x": b""},
        {"out/index.json": b"{}", "blobs/sha256/x": b""},
        {"oci-layout": b"{}", "blobs/sha256/x": b""},
    ],
)
def test_what_only_has_the_name_of_a_list_is_no_layout(files: Files) -> None:
    found = choice(files)

    assert found.layouts == ()
    assert found.files == tuple(sorted(files))


def test_no_list_is_read_when_enough_was_read() -> None:
    assert choice(without(SAVED, "repositories"), 0).layouts == ()


FOLDERS = st.lists(
    st.lists(st.sampled_from(["a", "a.b", "b", "-"]), max_size=3).map(lambda each: "/".join([*each, ""]))
)


@given(FOLDERS, st.lists(st.sampled_from(["a", "a.b", "b", "-", "x"]), min_size=1, max_size=4).map("/".join))
def test_folders_in_others_count_with_them(folders: list[str], path: str) -> None:
    folders = [each.lstrip("/") for each in folders]
    outer = outermost(folders)

    assert outer == sorted({each for each in folders if not any(each != o and each.startswith(o) for o in folders)})
    assert is_within(path, outer) == path.startswith(tuple(outer))


def test_thousands_of_folders_are_compared_with_one_another_once() -> None:
    compared = 0

    class Counted(str):
        __slots__ = ()

        def startswith(self, *wanted: Any) -> bool:
            nonlocal compared
            compared += 1
            return super().startswith(*wanted)

    folders = [Counted(f"{number:05}/") for number in range(4900)]

    assert outermost(folders) == folders
    assert compared <= 4900
