"""Tar headers: Python's own tarfile is the judge."""

from tarfile import GNU_FORMAT, TarInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.archive import tar

GIB = 1024**3


@given(st.text("abcdef0123456789/", min_size=1, max_size=300), st.integers(0, 2**63))
def test_a_header_is_the_one_that_tarfile_writes(name: str, size: int) -> None:
    expected = TarInfo(name)
    expected.size = size

    assert tar.header(name, size) == expected.tobuf(GNU_FORMAT)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8 * GIB - 1, 8 * GIB, 100 * GIB])
@pytest.mark.parametrize("length", [1, 99, 100, 101, 141, 510, 511, 512, 513])
def test_long_names_and_sizes_over_8_gib_are_written_as_gnu_tar_does(length: int, size: int) -> None:
    expected = TarInfo("n" * length)
    expected.size = size

    assert tar.header("n" * length, size) == expected.tobuf(GNU_FORMAT)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100 * GIB + 7])
def test_padding_fills_the_last_block(size: int) -> None:
    assert 0 <= len(tar.padding(size)) < tar.BLOCK
    assert (size + len(tar.padding(size))) % tar.BLOCK == 0
