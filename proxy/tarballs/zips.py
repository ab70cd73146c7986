"""Zips that others made of tarballs or layouts (`actions/upload-artifact`), read in place.

Nothing is unpacked to disk, so names that lead out of the zip do no harm. `zipfile` checks sizes and CRCs while a file
is read.
"""

import posixpath
import re
import zipfile
import zlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import IO, cast

from proxy.errors import TarballInvalid
from proxy.runtime.thread_io import RangeFile
from proxy.tarballs.choice import Choice, FileKind, file_kind, is_litter
from proxy.tarballs.contents import relative
from proxy.tarballs.docker import BEGINNING, first_config
from proxy.tarballs.images import DOCKER, INDEX, LAYOUT
from proxy.tarballs.kinds import TARBALLS
from proxy.tarballs.members import Member
from proxy.tarballs.streams import Readable, Work, up_to
from proxy.text import counted

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # of a zip, and of one with nothing in it
_MOST_FILES = 10_000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_MOST_LOOKS = 1000  # at the beginning of a file, which takes a third of a millisecond
_BLOBS = "/blobs/sha256/"
_HEX = re.compile("[0-9a-f]{64}")
LOCAL = 30  # bytes of a local header (APPNOTE 6.3.10, 4.3.7); its last four tell how long name and extra field are
_TOLD = (zipfile.BadZipFile, NotImplementedError, RuntimeError)  # in words for people
_DAMAGES = (*_TOLD, zlib.error, EOFError, LookupError, ValueError, OSError)


class Zip:
    """The files of a zip. The constructor reads its directory, blocks, and raises TarballInvalid if that is damaged."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        with _damages():
            self._zip = zipfile.ZipFile(cast("IO[bytes]", file))
            entries = [each for each in self._zip.infolist() if not each.is_dir()]  # fails on an empty name
        if len(entries) > _MOST_FILES:
            raise TarballInvalid(f"the zip has more than {_MOST_FILES} files")
        for before, after in pairwise(sorted(entries, key=attrgetter("header_offset"))):
            if before.header_offset + LOCAL + before.compress_size > after.header_offset:
                raise TarballInvalid("the zip names the same bytes several times: it is no image")
        self._files = list[tuple[str, zipfile.ZipInfo]]()
        for each in entries:  # some programs of Windows write backslashes
            name = posixpath.normpath(each.filename.replace("\\", "/")).lstrip("/")
            if not (each.filename.endswith("\\") or is_litter(name)):
                self._files.append((name, each))

    @property
    def only(self) -> zipfile.ZipInfo:
        """The only file in it; raise TarballInvalid if there are others, or upload-artifact does not compress so."""
        if len(self._files) != 1:
            raise TarballInvalid(f"the zip has {counted(len(self._files), 'file')}, where an archive has one")
        return _checked(self._files[0][1])

    def choice(self, most: int) -> Choice:
        """Return which files and layouts there are, and what the files are, for which up to `most` bytes are read."""
        most += self._file.taken
        layouts = outermost(self.layouts(most))
        files = [(name, each) for name, each in self._files if not is_within(name, layouts)]
        files.sort(key=lambda file: (not file[0].lower().endswith(TARBALLS), -file[1].file_size))
        kinds = dict[str, FileKind]()
        for name, each in files[:_MOST_LOOKS]:
            if self._file.taken >= most:
                break
            with suppress(TarballInvalid):
                kinds[name] = file_kind(self._opened(each))
        names = sorted(name for name, _ in files)
        return Choice(tuple(names), tuple(each or "/" for each in layouts), kinds)

    def layouts(self, most: int) -> Iterator[str]:
        """Yield the folders of OCI layouts, with their mark or not, and of what `docker save` writes."""
        # in which folders there is a file, or the folder `blobs/sha256/`, of this name
        at = defaultdict[str, set[str]](set)
        for name, _ in self._files:
            folder, _, file = f"/{name}".rpartition("/")
            at[file].add(f"{folder}/"[1:])
            before, mark, blob = f"/{name}".rpartition(_BLOBS)
            at[mark if _HEX.fullmatch(blob) else ""].add(f"{before}/"[1:])
        yield from at[INDEX] & (at[LAYOUT] | at[_BLOBS])
        yield from at[DOCKER] & at["repositories"]
        entries = dict(self._files)
        for folder in sorted(at[DOCKER] - at["repositories"] - at[INDEX])[:_MOST_LOOKS]:
            with suppress(TarballInvalid):
                if self._file.taken < most and (head := up_to(BEGINNING, self._opened(entries[folder + DOCKER]))):
                    yield from [folder] if relative(f"{folder}{first_config(head)}") in entries else []

    def members(self, layout: str, work: Work) -> Iterator[Member]:
        """Yield every file of a layout as a member, as `members` does for a tar."""
        for name, each in self._files:
            if name.startswith(layout.lstrip("/")):
                inside = name.removeprefix(layout.lstrip("/"))
                yield Member(inside, each.file_size, "", self._opened(each, work), each.file_size)

    def open(self, name: str) -> Readable:
        """Return one file for reading."""
        return self._opened(next(each for other, each in self._files if other == name))

    def _opened(self, entry: zipfile.ZipInfo, work: Work | None = None) -> Readable:
        with _damages():
            return _Entry(self._zip.open(_checked(entry)), work)


def outermost(folders: Iterable[str]) -> list[str]:
    """Return those of some folders that are in no other one, in order; each has `/` behind it, or is empty."""
    found = list[str]()
    for each in sorted(folders):
        if not (found and each.startswith(found[-1])):
            found.append(each)
    return found


def is_within(path: str, folders: Sequence[str]) -> bool:
    """Return whether a file is in one of these folders, which are in order and none in another."""
    before = bisect_right(folders, path)
    return bool(before) and path.startswith(folders[before - 1])


def _checked(entry: zipfile.ZipInfo) -> zipfile.ZipInfo:
    if entry.compress_type not in _METHODS:  # of others zipfile does not bound what one read gives
        raise TarballInvalid(f"the zip has {entry.filename[:80]!r} in a compression that upload-artifact does not use")
    return entry


@dataclass(frozen=True, slots=True)
class _Entry:
    file: IO[bytes]
    work: Work | None

    def read(self, size: int, /) -> bytes:
        with _damages():
            found = self.file.read(size)
        if self.work:
            self.work.add(len(found), "zip")
        return found


@contextmanager
def _damages() -> Iterator[None]:
    try:
        yield
    except _DAMAGES as error:
        what = error if isinstance(error, _TOLD) else "it is damaged"
        raise TarballInvalid(f"the zip cannot be read: {what}") from error
