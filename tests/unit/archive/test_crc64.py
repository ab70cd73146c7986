"""CRC-64/NVME: the check value, and that of stretches that follow each other."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from proxy.archive.crc64 import crc64, joined, packed


def test_the_check_value_is_the_one_that_storage_computes() -> None:
    assert base64.b64encode(packed(crc64(b"123456789"))) == b"iJh5CoYUi64="
    assert crc64(memoryview(b"6789"), crc64(bytearray(b"12345"))) == crc64(b"123456789")


@given(st.lists(st.binary(max_size=300)))
def test_checksums_of_stretches_give_that_of_all_of_them(stretches: list[bytes]) -> None:
    checksums = b"".join(packed(crc64(each)) for each in stretches)

    assert joined(checksums, [len(each) for each in stretches]) == crc64(b"".join(stretches))


@given(st.integers(0, 2**64 - 1))
def test_a_checksum_comes_back_as_it_was_written(checksum: int) -> None:
    assert joined(packed(checksum), [1]) == checksum
