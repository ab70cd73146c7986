"""The zip around an archive: what others read of it, and what is taken for one."""

import io
import subprocess
import zipfile
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.archive.container import OVERHEAD, ContainerInvalid, payload, wrap
from tests.machine import require

CONTENT = b"an archive" * 100
NAME = "image-app@v1~2.tar.zst"


def zipped(content: bytes = CONTENT, name: str = NAME) -> bytes:
    wrapping = wrap(name, len(content), crc32(content))
    return wrapping.head + content + wrapping.end


def test_python_reads_it() -> None:
    with zipfile.ZipFile(io.BytesIO(zipped())) as file:
        (entry,) = file.infolist()
        assert file.testzip() is None
        assert file.read(entry) == CONTENT
    assert (entry.filename, entry.file_size, entry.compress_type) == (NAME, len(CONTENT), zipfile.ZIP_STORED)


def test_unzip_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped())

    done = subprocess.run([require("unzip"), "-t", "a.zip"], cwd=tmp_path, capture_output=True, check=False)  # noqa: S603

    assert (done.returncode, b"No errors detected" in done.stdout) == (0, True)


@given(st.binary(max_size=3000), st.integers(0, 3000), st.text("abc@+~^.ü", min_size=1, max_size=200))
def test_the_entry_is_found_by_the_end_of_the_file(content: bytes, more: int, name: str) -> None:
    whole = zipped(content, name)
    tail = whole[-min(len(whole), OVERHEAD + more) :]

    start, stop = payload(tail, len(whole), name)

    assert whole[start:stop] == content


def test_a_file_of_many_gigabytes_is_found_without_reading_it() -> None:
    size = 2**33 + 17
    wrapping = wrap(NAME, size, 1)
    whole = len(wrapping.head) + size + len(wrapping.end)

    assert payload(b"\0" * 9000 + wrapping.end, whole, NAME) == (len(wrapping.head), len(wrapping.head) + size)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("entries", [0, 1, 2])
def test_the_zip_of_another_program_is_none_of_ours(method: int, entries: int) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as file:
        for number in range(entries):
            file.writestr(f"{number}.txt", CONTENT)

    with pytest.raises(ContainerInvalid):
        payload(held.getvalue(), len(held.getvalue()), NAME)


@given(st.binary(max_size=300))
def test_anything_else_is_none(content: bytes) -> None:
    with pytest.raises(ContainerInvalid):
        payload(content, len(content), NAME)


def test_a_directory_that_leads_elsewhere_is_none_of_ours() -> None:
    whole = bytearray(zipped())
    at = len(whole) - len(wrap(NAME, 0, 0).end)
    whole[at + 28 : at + 30] = (60_000).to_bytes(2, "little")  # the length of the name

    with pytest.raises(ContainerInvalid):
        payload(bytes(whole), len(whole), NAME)


@given(st.data())
def test_a_damaged_end_is_none_or_still_lies_within_the_file(data: st.DataObject) -> None:
    whole = bytearray(zipped())
    end = len(whole) - len(wrap(NAME, len(CONTENT), 0).end)
    at = data.draw(st.integers(end, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))

    try:
        start, stop = payload(bytes(whole), len(whole), NAME)
    except ContainerInvalid:
        return
    assert 0 <= start <= stop <= len(whole)


@given(st.integers(1, len(wrap(NAME, 0, 0).end) - 1))
def test_an_end_that_was_cut_is_none(length: int) -> None:
    whole = zipped()

    with pytest.raises(ContainerInvalid):
        payload(whole[-length:], len(whole), NAME)
