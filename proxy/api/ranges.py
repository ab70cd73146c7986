"""The grammars of `Range` and of the `Content-Range` of a chunk; stops are exclusive.

RFC 9110, 14.1.2, and distribution-spec, "Pushing a blob in chunks".
"""

import re

from proxy.errors import BlobUploadInvalid, RangeInvalid

_RANGE = re.compile(r"\s*([0-9]{0,4000})\s*-\s*([0-9]{0,4000})\s*")  # Python refuses numbers of thousands of digits
_CHUNK = re.compile(r"(?:bytes[ =])?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?")


def requested(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the [start, stop) that a `Range` selects from content of `size` bytes; None for all of it.

    Other units and several ranges are ignored, as RFC 9110, 14.2 allows. Raise RangeInvalid for what is not inside.
    """
    unit, equals, spans = (header or "").partition("=")
    if not equals or unit.strip().lower() != "bytes" or "," in spans:
        return None
    match = _RANGE.fullmatch(spans)
    first, last = match.groups() if match else ("", "")
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    else:
        start, stop = max(size - int(last or "0"), 0), size
    if start >= stop:
        raise RangeInvalid(f"no range within {size} bytes", {"Content-Range": f"bytes */{size}"})
    return start, stop


def chunk(header: str) -> tuple[int, int]:
    """Return the [start, stop) that the `Content-Range` of a chunk announces: `0-1023`, or `bytes 0-1023/4096`.

    The first is what the specification of registries wants, the second what that of HTTP has, which registries accept.
    """
    match = _CHUNK.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]):
        raise BlobUploadInvalid("Content-Range has to be <first byte>-<last byte>")
    return int(match[1]), int(match[2]) + 1
