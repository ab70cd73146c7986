"""The zip around an archive in an artifact: one stored entry, always with zip64 fields (APPNOTE 6.3.10).

Sizes and CRC-32 are in the local header and no data descriptor follows, so readers that only go forward can read it
too. What `download-artifact`, a browser or `unzip` extract is the archive itself.
"""

import struct
from typing import NamedTuple

_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_CENTRAL = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_EXTRA = struct.Struct("<2H2Q")  # 4.5.3: id, length, plain size, stored size
_VERSION = 45  # needed to extract: zip64
_UTF8 = 0x800  # 4.4.4, bit 11
_DATE = 0x21  # 1 January 1980, the earliest there is: equal pushes are equal bytes
_MADE_BY = 3 << 8 | _VERSION  # Unix
_MODE = 0o100644 << 16
_MANY, _MANY16 = 0xFFFFFFFF, 0xFFFF  # "look into the zip64 fields"

OVERHEAD = 1024  # bytes; more than there are behind the entry


class ContainerInvalid(Exception):
    """The artifact is no zip with one stored entry."""


class Wrapping(NamedTuple):
    """The bytes before and behind the entry."""

    head: bytes
    end: bytes


def wrap(entry: str, size: int, crc: int) -> Wrapping:
    """Return the bytes around an entry of `size` bytes with this CRC-32."""
    name = entry.encode()
    extra = _EXTRA.pack(1, 16, size, size)
    head = (
        _LOCAL.pack(b"PK\x03\x04", _VERSION, _UTF8, 0, 0, _DATE, crc, _MANY, _MANY, len(name), len(extra))
        + name
        + extra
    )
    central = _CENTRAL.pack(
        b"PK\x01\x02", _MADE_BY, _VERSION, _UTF8, 0, 0, _DATE, crc, _MANY, _MANY,
        len(name), len(extra), 0, 0, 0, _MODE, 0,
    ) + name + extra  # fmt: skip
    at = len(head) + size
    end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, _MADE_BY, _VERSION, 0, 0, 1, 1, len(central), at)
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, at + len(central), 1)
    end = _END.pack(b"PK\x05\x06", 0, 0, _MANY16, _MANY16, _MANY, _MANY, 0)
    return Wrapping(head, central + end64 + locator + end)


def payload(tail: bytes, size: int, entry: str) -> tuple[int, int]:
    """Return where the entry of this name is, as [start, stop) in a file of `size` bytes that ends in `tail`.

    Raise ContainerInvalid if it is no zip that `wrap` made, or one that was made for another artifact.
    """
    end = len(tail) - _END.size
    locator = end - _LOCATOR.size
    end64 = locator - _END64.size
    if end64 < 0 or tail[end : end + 4] != b"PK\x05\x06" or tail[locator : locator + 4] != b"PK\x06\x07":
        raise ContainerInvalid("not a zip of image-relay")
    magic, *_, entries, length, at = _END64.unpack_from(tail, end64)
    if magic != b"PK\x06\x06" or at > size - (len(tail) - end64):
        raise ContainerInvalid("not a zip of image-relay")
    start = len(tail) - (size - at)
    try:
        central = _CENTRAL.unpack_from(tail, start)
        named, extra_length = central[10], central[11]
        extra = _EXTRA.unpack_from(tail, start + _CENTRAL.size + named)
    except struct.error as error:
        raise ContainerInvalid("not a zip of image-relay") from error
    if tail[start + _CENTRAL.size :][:named] != entry.encode():
        raise ContainerInvalid("a zip with another entry")
    head = _LOCAL.size + named + extra_length
    stored = central[4] == 0 and central[0] == b"PK\x01\x02" and extra[2] == extra[3]
    if start < 0 or not stored or entries != 1 or at - head != extra[3] or at + length > size or head > at:
        raise ContainerInvalid("not a zip with one stored entry")
    return head, at
