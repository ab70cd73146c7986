"""Zips that others made of tarballs or layouts (`actions/upload-artifact`), read in place.

Nothing is unpacked to disk, so names that lead out of the zip do no harm. `zipfile` checks sizes and CRCs while a file
is read.
"""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from proxy.errors import TarballInvalid
from proxy.runtime.thread_io import RangeFile
from proxy.tarballs.images import INDEX, LAYOUT
from proxy.tarballs.members import Member
from proxy.tarballs.streams import Readable

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip, and of one with nothing in it
_MOST_FILES = 10_000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_SHOWN = 5  # names in a message
_ENDS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


class Zip:
    """The files of a zip. The constructor reads its directory, blocks, and raises TarballInvalid if that is damaged."""

    def __init__(self, file: RangeFile) -> None:
        with _damages():
            self._zip = zipfile.ZipFile(cast("IO[bytes]", file))
            self._files = [each for each in self._zip.infolist() if not each.is_dir()]  # fails on an empty name
        if len(self._files) > _MOST_FILES:
            raise TarballInvalid(f"the zip has more than {_MOST_FILES} files")
        if len({each.header_offset for each in self._files}) < len(self._files):
            raise TarballInvalid("the zip names the same bytes several times: it is no image")
        self.names = [each.filename for each in self._files]

    @property
    def only(self) -> zipfile.ZipInfo:
        """The only file in it; raise TarballInvalid if there are others, or upload-artifact does not compress so."""
        if len(self._files) != 1:
            raise TarballInvalid(f"the zip has {len(self._files)} files, where an archive has one")
        return _checked(self._files[0])

    @property
    def is_layout(self) -> bool:
        """Whether the zip itself is an OCI layout."""
        return {INDEX, LAYOUT} <= set(self.names)

    def members(self) -> Iterator[Member]:
        """Yield every file as a member, as `members` does for a tar."""
        for each in self._files:
            yield Member(each.filename, each.file_size, "", self._opened(each), each.file_size)

    def open(self, name: str) -> Readable:
        """Return one file for reading."""
        return self._opened(next(each for each in self._files if each.filename == name))

    def _opened(self, entry: zipfile.ZipInfo) -> Readable:
        with _damages():
            return _Entry(self._zip.open(_checked(entry)))


def _checked(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if entry.compress_type not in _METHODS:  # of others zipfile does not bound what one read gives
        raise TarballInvalid(f"the zip has {entry.filename[:80]!r} in a compression that upload-artifact does not use")
    return entry


@dataclass(frozen=True, slots=True)
class _Entry:
    file: IO[bytes]

    def read(self, size: int, /) -> bytes:
        with _damages():
            return self.file.read(size)


@contextmanager
def _damages() -> Iterator[None]:
    try:
        yield
    except _DAMAGES as error:
        raise TarballInvalid(f"the zip cannot be read: {error}") from error


def tarball_among(names: Sequence[str], wanted: str = "") -> str:
    """Return the name of the tarball: the file that is called `wanted`, or the only one that looks like a tarball.

    Raise TarballInvalid, with the names, if there is none or more than one.
    """
    found = [name for name in names if name.lower().endswith(_ENDS)] or (list(names) if len(names) == 1 else [])
    found = [name for name in found if is_called(name, wanted)] or found
    if len(found) == 1:
        return found[0]
    shown = ", ".join((found or list(names))[:_SHOWN]) + (", …" if len(found or names) > _SHOWN else "")
    raise TarballInvalid(f"{'several tarballs are' if found else 'no tarball is'} in it ({shown or 'nothing'})")


def is_called(file: str, wanted: str) -> bool:
    """Return whether this is the name of a file, without its folder, with or without its ending."""
    name = file.lower().rpartition("/")[2]
    return wanted in {name, *(name.removesuffix(end) for end in _ENDS if name.endswith(end))}
