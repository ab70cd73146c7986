"""Decompress streams of gzip, bzip2, xz and zstd, which are recognised by their first bytes.

Everything here blocks: call it in a thread that may wait for its source. However far a few bytes expand, no read
returns more than was asked for, and no decoder needs more than about 40 MiB.
"""

import bz2
import lzma
from collections.abc import Callable, Mapping
from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib

from proxy.errors import TarballInvalid

_CHUNK = 256 * 1024  # bytes that are read from the source at once
_LEAST_CHUNK = 1024  # bytes of each further stream that are read first: there may be thousands of small ones
_WINDOW = 32 * 1024 * 1024  # bytes; of zstd: up to level 20, or --long=25
_XZ_MEMORY = 40 * 1024 * 1024  # bytes; up to preset 8
_HARMLESS = 1024**3  # plain bytes that anything may expand to
_MOST_FOLD = 2000  # how far anything may expand beyond those; gzip compresses a layer of zeros 1,032 times
_MOST_STREAMS = 10_000  # one after the other, of any size; beginning one takes some 20 µs
_LEAST_STREAM = 4096  # plain bytes in each, on average, if there are more
_MAGIC = 6  # bytes; the longest of those below
_MARK = b"the end of zstd!"
_MARK_FRAME = zstandard.ZstdCompressor().compress(_MARK)


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end. Blocks."""


class PeekableStream:
    """A stream whose next bytes can be looked at; `first` are bytes that were already read from its source."""

    def __init__(self, source: Readable, first: bytes = b"") -> None:
        self.came = 0  # bytes that were read from the source
        self._source = source
        self._first = [memoryview(first)] if first else []  # the last one comes next

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end, and leave them there."""
        if self._first and len(self._first[-1]) >= size:
            return bytes(self._first[-1][:size])
        found = up_to(size, self)
        self.unread(found)
        return found

    def unread(self, content: bytes) -> None:
        """Put bytes back that were read: they come next."""
        if content:
            self._first.append(memoryview(content))

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end."""
        if self._first:
            first = self._first.pop()
            if len(first) > size:
                self._first.append(first[size:])
            return bytes(first[:size])
        found = self._source.read(size)
        self.came += len(found)
        return found


def up_to(size: int, source: Readable) -> bytes:
    """Return `size` bytes, fewer only at the end of the source."""
    first = source.read(size) if size > 0 else b""
    if not 0 < len(first) < size:
        return first
    found = bytearray(first)
    while len(found) < size and (more := source.read(size - len(found))):
        found += more
    return bytes(found)


def skip_padding(source: PeekableStream) -> None:
    """Read zeros in fours, which may stand between streams of xz and behind them."""
    size = _LEAST_CHUNK
    while block := up_to(size, source):
        size = min(2 * size, _CHUNK)
        zeros = (len(block) - len(block.lstrip(b"\0"))) // 4 * 4
        if zeros < len(block):
            source.unread(block[zeros:])
            return


def compression(first: bytes) -> str:
    """Return the name of the compression that begins with these bytes; empty if it is no known one."""
    if first[1:4] == _SKIPPABLE and first[0] >> 4 == 5:  # noqa: PLR2004 - RFC 8878, 3.1.2: 50 to 5F; pzstd begins so
        return "zstd"
    return next((name for name, magic in MAGICS.items() if first.startswith(magic)), "")


class Work:
    """What it has cost to read something, in bytes that were decompressed, however often one is in another.

    `came` returns how many bytes of it have come, which bounds that; `fold` is how far those may expand.
    """

    def __init__(self, came: Callable[[], int], fold: int = _MOST_FOLD) -> None:
        self.done = 0  # bytes
        self._came = came
        self._fold = fold
        self._is_over = False

    def add(self, size: int, what: str) -> None:
        """Count what a zip or a compression has given; raise TarballInvalid if it is out of all proportion."""
        self.done += size
        if self._is_over:
            raise TarballInvalid("nobody waits for it any more")
        if self.done > _HARMLESS + self._fold * self._came():
            raise TarballInvalid(f"the {what} expands more than {self._fold} times: it is no image")

    def stop(self) -> None:
        """Let whoever reads it fail: whoever wanted it has left."""
        self._is_over = True


def plain(source: Readable, work: Work | None = None) -> PeekableStream:
    """Return the decompressed stream of a source, or the source itself if it is not compressed.

    Reading raises TarballInvalid where the stream is damaged, ends too early or is a decompression bomb. `work` is what
    the stream is a part of. A source that is a PeekableStream keeps what follows the compressed stream.
    """
    stream = source if isinstance(source, PeekableStream) else PeekableStream(source)
    name = compression(stream.peek(_MAGIC))
    return PeekableStream(_Decompressed(name, stream, work or Work(lambda: stream.came))) if name else stream


class _Decompressed:
    """A stream of any compression, as long as it does not expand beyond all proportion."""

    def __init__(self, name: str, source: PeekableStream, work: Work) -> None:
        self._name = name
        self._plain: Readable = _Frames(source) if name == "zstd" else _Inflated(name, source)
        self._work = work

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` plain bytes, or none at the end."""
        found = self._plain.read(size)
        self._work.add(len(found), f"{self._name} stream")
        return found


def _reason(error: Exception) -> str:
    """Return a sentence: what a decoder found, and for its limits what to do."""
    text = str(error)
    if "requires too much memory" in text:
        return "it needs more than 32 MiB of memory; compress it with zstd --long=25 at most"
    if "Memory usage limit" in text:
        return "it needs more than 40 MiB of memory; compress it with xz -8 at most"
    return text


class _Marked:
    """A source and, after its end, one more frame of zstd."""

    def __init__(self, source: Readable) -> None:
        self.is_over = False
        self._source = source

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end."""
        if self.is_over:
            return b""
        found = self._source.read(size)
        self.is_over = not found
        return found or _MARK_FRAME


class _Frames:
    """Frames of zstd, one after the other.

    The library takes a frame that breaks off for one that has ended. What is in the frame that is added comes out only
    if the one before it has ended. One that breaks off in what is not compressed gives out that frame as its content.
    """

    def __init__(self, source: Readable) -> None:
        self._source = _Marked(source)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
        self._plain = decompressor.stream_reader(cast("IO[bytes]", self._source), _CHUNK, read_across_frames=True)
        self._last = b""  # plain bytes that may be the mark, or its frame

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` plain bytes, or none at the end."""
        found = self._last
        try:
            while len(found) <= len(_MARK_FRAME) and (more := self._plain.read(size)):
                if not self._source.is_over:  # then the mark is still to come: nothing is copied
                    return more
                found += more
        except zstandard.ZstdError as error:
            how = "ends too early" if self._source.is_over else f"cannot be read: {_reason(error)}"
            raise TarballInvalid(f"the zstd stream {how}") from error
        is_end = len(found) <= len(_MARK_FRAME)
        if is_end and (not found.endswith(_MARK) or found == _MARK_FRAME):
            raise TarballInvalid("the zstd stream ends too early")
        given = min(size, len(found) - len(_MARK if is_end else _MARK_FRAME))
        self._last = found[given:]
        return found[:given]


class _Inflated:
    """A stream of gzip, bzip2 or xz, or several one after the other."""

    def __init__(self, name: str, source: PeekableStream) -> None:
        self._name = name
        self._source = source
        self._decoder = _DECODERS[name]()
        self._chunk = _LEAST_CHUNK
        self._streams, self._given, self._is_over = 1, 0, False

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` plain bytes, or none at the end."""
        while True:
            if self._is_over or (self._decoder.eof and not self._goes_on()):
                self._is_over = True
                return b""
            given = b""
            if self._decoder.needs_input:
                if not (given := self._source.read(self._chunk)):
                    raise TarballInvalid(f"the {self._name} stream ends too early")
                self._chunk = min(2 * self._chunk, _CHUNK)
            try:
                found = self._decoder.decompress(given, size)
            except _DAMAGES as error:
                raise TarballInvalid(f"the {self._name} stream cannot be read: {_reason(error)}") from error
            if found:
                self._given += len(found)
                return found

    def _goes_on(self) -> bool:
        """Begin another stream of the kind; return False if something else follows, which is no part of it."""
        self._source.unread(self._decoder.unused_data)
        if self._name == "xz":
            skip_padding(self._source)
        if compression(self._source.peek(_MAGIC)) != self._name:
            return False
        self._streams += 1
        if self._streams > _MOST_STREAMS and self._given < self._streams * _LEAST_STREAM:
            raise TarballInvalid(
                f"it consists of more than {_MOST_STREAMS} {self._name} streams with next to nothing in them"
            )
        self._decoder, self._chunk = _DECODERS[self._name](), _LEAST_CHUNK
        return True


_IsalError = cast("type[Exception]", igzip_lib.IsalError)  # its stubs take the class for an instance
_DAMAGES = (OSError, EOFError, ValueError, lzma.LZMAError, _IsalError)
MAGICS = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}
_SKIPPABLE = b"\x2a\x4d\x18"  # the end of the magic numbers of frames that a reader of zstd skips
_Decoder = bz2.BZ2Decompressor | lzma.LZMADecompressor | igzip_lib.IgzipDecompressor
_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "gzip": lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
}
