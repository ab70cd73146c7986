"""CRC-64/NVME, the checksum that Azure's storage computes of what it is sent and of what it copies.

Checksums of pieces that follow each other give that of all of them, without their bytes.
"""

from collections.abc import Sequence

from anycrc import Model

_NVME = Model("CRC64-NVME")
WIDTH = 8  # bytes of one checksum


def crc64(content: bytes | bytearray | memoryview, before: int = 0) -> int:
    """Return the checksum of some bytes, or of bytes with the checksum `before` that these follow."""
    return int(_NVME.calc(content, before))


def joined(checksums: bytes, lengths: Sequence[int]) -> int:
    """Return the checksum of stretches of these lengths in bytes, which follow each other.

    `checksums` has one of each, as `packed` writes it.
    """
    total = 0
    for at, length in enumerate(lengths):
        total = int(_NVME.combine(total, unpacked(checksums[at * WIDTH : (at + 1) * WIDTH]), length))
    return total


def packed(checksum: int) -> bytes:
    """Write a checksum as Azure does: eight bytes, the lowest first."""
    return checksum.to_bytes(WIDTH, "little")


def unpacked(checksum: bytes) -> int:
    """Read what `packed` wrote."""
    return int.from_bytes(checksum, "little")
