"""Archives in a zip that somebody else made of them, as `actions/upload-artifact` does: unpacked once, to disk.

A zip of our own is never unpacked: its only entry is stored as it is, so it is read by range.
"""

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipInfo

from isal.isal_zlib import crc32

from proxy.archive.index import ArchiveInvalid
from proxy.artifacts.base import Artifact, CorruptDownload
from proxy.errors import TarballInvalid
from proxy.oci.digest import Digest, Hash, hashing
from proxy.runtime.files import LocalFile, Source
from proxy.runtime.tasks import run_in_dedicated_thread
from proxy.runtime.thread_io import RangeFile
from proxy.tarballs.zips import LOCAL, Zip
from proxy.text import counted

_END = b"PK\x05\x06"  # of the end of a zip (APPNOTE 6.3.10, 4.3.16)
_END_SIZE = 22 + 65_535  # bytes it has at most, with its comment
_BATCH = 1024 * 1024  # bytes
_AHEAD = 2  # blocks of 2 MiB
_RATIO = 4  # an archive is compressed already: a zip of one does not make it much smaller
_SMALL = 1024 * 1024  # bytes that are unpacked whatever the ratio


async def is_zip(source: Source) -> bool:
    """Tell by its end, which was read a moment ago, whether a file is a zip."""
    return _END in await source.read(max(0, source.size - _END_SIZE), source.size, bytes)


async def unzipped(source: Source, artifact: Artifact, folder: Path | None) -> LocalFile:
    """Unpack the only file of a zip to a file without a name, which is gone when nobody holds it.

    Raise ArchiveInvalid if the zip is damaged or holds something else, OSError if the disk is full.
    """
    file = RangeFile(source, min(source.read_ahead, _AHEAD))
    try:
        return await run_in_dedicated_thread(_unzip, file, artifact.digest, folder)
    except TarballInvalid as error:
        raise ArchiveInvalid(error.message) from error
    finally:
        file.close()


def _unzip(file: RangeFile, digest: str, folder: Path | None) -> LocalFile:
    """Read a zip once, from its start to its end; its bytes have to be those of the digest, where that is known."""
    entry = Zip(file).only
    if entry.file_size > _SMALL + _RATIO * entry.compress_size:
        raise ArchiveInvalid(f"the zip says that of {counted(entry.compress_size, 'byte')} come {entry.file_size}")
    found = hashing("sha256")
    with tempfile.NamedTemporaryFile(dir=folder) as copy:
        file.seek(0)
        start = entry.header_offset + LOCAL
        header = b"".join(_parts(file, start, found))[-4:]
        skipped = int.from_bytes(header[:2], "little") + int.from_bytes(header[2:], "little")
        for _ in _parts(file, skipped, found):
            pass
        crc = _unpack(_parts(file, entry.compress_size, found), entry, copy)
        for _ in _parts(file, file.size - file.tell(), found):
            pass
        copy.flush()
        if digest not in {"", str(Digest.finished("sha256", found))}:
            raise CorruptDownload
        if (copy.tell(), crc) != (entry.file_size, entry.CRC):
            raise ArchiveInvalid("the zip is damaged")
        return LocalFile.open(Path(copy.name))


def _parts(file: RangeFile, size: int, found: Hash) -> Iterator[bytes]:
    """Read so many bytes, or to the end, in parts, each hashed."""
    while size > 0 and (part := file.read(min(size, _BATCH))):
        found.update(part)
        size -= len(part)
        yield part


def _unpack(parts: Iterator[bytes], entry: ZipInfo, copy: IO[bytes]) -> int:
    """Write what an entry holds, and return its CRC-32; never more than the entry says it has."""
    crc, left = 0, entry.file_size
    for plain in _inflated(parts) if entry.compress_type == ZIP_DEFLATED else parts:
        if len(plain) > left:
            raise ArchiveInvalid("the zip is damaged")
        crc, left = crc32(plain, crc), left - len(plain)
        copy.write(plain)
    return crc


def _inflated(parts: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for part in parts:
            rest = part
            while rest:
                yield unpacker.decompress(rest, _BATCH)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error:
        raise ArchiveInvalid("the zip is damaged") from None
