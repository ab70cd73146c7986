"""CRC-64/NVME, the checksum that Azure's storage computes of what it receives and copies.

The checksum of several pieces in a row follows from theirs, without their bytes.
"""

from collections.abc import Sequence

from anycrc import Model

_NVME = Model("CRC64-NVME")
WIDTH = 8  # bytes of one checksum


def crc64(content: bytes | bytearray | memoryview, before: int = 0) -> int:
    """Return the checksum of some bytes, or of those with the checksum `before` and these together."""
    return int(_NVME.calc(content, before))


def joined(checksums: bytes, lengths: Sequence[int]) -> int:
    """Return the checksum of stretches in a row, which have these lengths in bytes.

    `checksums` has the checksum of each, as `packed` writes it.
    """
    total = 0
    for at, length in enumerate(lengths):
        checksum = int.from_bytes(checksums[at * WIDTH : (at + 1) * WIDTH], "little")
        total = int(_NVME.combine(total, checksum, length))
    return total


def packed(checksum: int) -> bytes:
    """Return a checksum as Azure writes it: eight bytes, the lowest first."""
    return checksum.to_bytes(WIDTH, "little")
