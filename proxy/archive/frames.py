"""Single zstd frames (RFC 8878): compression that is reproducible, decompression in bounded memory."""

import threading

import zstandard

from proxy.archive.limits import WINDOW

Bytes = bytes | bytearray | memoryview


class _Kept(threading.local):
    """What each thread has for itself: making it takes longer than a small frame does."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_KEPT = _Kept()


class FrameInvalid(Exception):
    """The bytes are not exactly one zstd frame within the limits."""


def compressor(level: int) -> zstandard.ZstdCompressor:
    """Return a one-shot compressor for the calling thread, with the content size in the header and no checksum."""
    if level not in _KEPT.compressors:
        made = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False, threads=0)
        _KEPT.compressors[level] = made
    return _KEPT.compressors[level]


def decompress(frame: Bytes, limit: int) -> bytes:
    """Return the plain bytes, at most `limit`; nothing is allocated before the header is checked.

    Raise FrameInvalid unless the frame announces its content size and keeps to it, names no dictionary, and ends where
    the bytes end.
    """
    try:
        header = zstandard.get_frame_parameters(frame)
        if not 0 < header.content_size <= limit or header.dict_id:
            raise FrameInvalid(f"a zstd frame must announce 1 to {limit} bytes of content and no dictionary")
        if header.window_size > max(WINDOW, header.content_size):
            raise FrameInvalid(f"a zstd frame asks for a window of {header.window_size} bytes")
        return _KEPT.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameInvalid(f"not a sound zstd frame: {error}") from error
