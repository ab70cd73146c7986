"""Compressed streams, read as plain ones: gzip, bzip2, xz and zstd, told apart by how they begin.

All of this blocks, and is for a thread that may wait for its source. However far a few bytes expand, no read gives more
than was asked for, and no decoder needs more than about 40 MiB.
"""

import bz2
import lzma
from collections.abc import Callable, Mapping
from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib

from proxy.errors import TarballInvalid

_CHUNK = 256 * 1024  # bytes that are read from the source at once
_WINDOW = 32 * 1024 * 1024  # bytes; of zstd: up to level 20, or --long=25
_XZ_MEMORY = 40 * 1024 * 1024  # bytes; up to preset 8
_HARMLESS = 1024**3  # plain bytes that anything may expand to
_MOST_FOLD = 2000  # what comes beyond those, in relation; a layer of zeros compresses 1,032 times with gzip
_MAGIC = 6  # bytes; the longest of those below


class Readable(Protocol):
    """Bytes that come one after the other."""

    def read(self, size: int, /) -> bytes:
        """Give 1 to `size` bytes, or none at the end. Blocks."""


class Begun:
    """A stream whose first bytes can be looked at; `first` are some that were read from it already."""

    def __init__(self, source: Readable, first: bytes = b"") -> None:
        self._source = source
        self._first = first

    def peek(self, size: int) -> bytes:
        """Give the next `size` bytes, fewer where it ends before, and leave them there."""
        self._first += up_to(size - len(self._first), self._source)
        return self._first[:size]

    def read(self, size: int, /) -> bytes:
        """Give 1 to `size` bytes, or none at the end."""
        if not self._first:
            return self._source.read(size)
        given, self._first = self._first[:size], self._first[size:]
        return given


def up_to(size: int, source: Readable) -> bytes:
    """Give `size` bytes, fewer only where the source ends before."""
    first = source.read(size) if size > 0 else b""
    if not 0 < len(first) < size:
        return first
    found = bytearray(first)
    while len(found) < size and (more := source.read(size - len(found))):
        found += more
    return bytes(found)


def compression(first: bytes) -> str:
    """Name the compression of something that begins like this; empty where it is none of those that are known."""
    return next((name for name, magic in _MAGICS.items() if first.startswith(magic)), "")


def plain(source: Readable, came: Callable[[], int] | None = None) -> Begun:
    """Read what is compressed, if it is. TARBALL_INVALID, while reading, where it is damaged or ends too early.

    `came` tells how many bytes of what it comes from were read, where that is compressed once more.
    """
    counted = _Counted(source)
    begun = Begun(counted)
    name = compression(begun.peek(_MAGIC))
    if not name:
        return begun
    expanded = _Zstd(begun) if name == "zstd" else _Inflated(name, begun)
    return Begun(_Bounded(name, expanded, came or (lambda: counted.came)))


class _Counted:
    """A source, and how many bytes came from it."""

    def __init__(self, source: Readable) -> None:
        self.came = 0
        self._source = source

    def read(self, size: int, /) -> bytes:
        found = self._source.read(size)
        self.came += len(found)
        return found


class _Bounded:
    """What a stream expands to, as long as it is not out of all proportion."""

    def __init__(self, name: str, plain: Readable, came: Callable[[], int]) -> None:
        self._name = name
        self._plain = plain
        self._came = came
        self._given = 0

    def read(self, size: int, /) -> bytes:
        found = self._plain.read(size)
        self._given += len(found)
        if self._given > _HARMLESS + _MOST_FOLD * self._came():
            raise TarballInvalid(f"the {self._name} stream expands more than {_MOST_FOLD} times: it is no image")
        return found


class _Decoder(Protocol):
    """What the decoders of bz2, lzma and isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Inflated:
    """A stream of gzip, bzip2 or xz, or several one after the other."""

    def __init__(self, name: str, source: Begun) -> None:
        self._name = name
        self._source = source
        self._decoder = _DECODERS[name]()

    def read(self, size: int, /) -> bytes:
        """Give 1 to `size` plain bytes, or none at the end."""
        while not self._decoder.eof or self._begins_again():
            given = b""
            if self._decoder.needs_input and not (given := self._source.read(_CHUNK)):
                raise TarballInvalid(f"the {self._name} stream ends too early")
            if found := self._decompress(given, size):
                return found
        return b""

    def _decompress(self, given: bytes, size: int) -> bytes:
        try:
            return self._decoder.decompress(given, size)
        except _DAMAGES as error:
            raise TarballInvalid(f"the {self._name} stream cannot be read: {error}") from error

    def _begins_again(self) -> bool:
        """Go on with the stream that follows, if one does; whatever else follows is no part of it."""
        rest = Begun(self._source, self._decoder.unused_data)
        if compression(rest.peek(_MAGIC)) != self._name:
            return False
        self._source, self._decoder = rest, _DECODERS[self._name]()
        return True


class _Zstd:
    """Frames of zstd; those that are to be skipped are."""

    def __init__(self, source: Readable) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._reader = decompressor.stream_reader(cast("IO[bytes]", source), read_size=_CHUNK, read_across_frames=True)

    def read(self, size: int, /) -> bytes:
        """Give 1 to `size` plain bytes, or none at the end."""
        try:
            return self._reader.read(size)
        except zstandard.ZstdError as error:
            raise TarballInvalid(f"the zstd stream cannot be read: {error}") from error


_IsalError = cast("type[Exception]", igzip_lib.IsalError)  # its stubs take the class for an instance
_DAMAGES = (OSError, EOFError, ValueError, lzma.LZMAError, _IsalError)
_MAGICS = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}
_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "gzip": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}
