"""The members of a tar (POSIX.1-1988 to 2001, and GNU's long names), one after the other, none of them unpacked.

Everything about a tarball may be a lie. A name that leads out of it, a size that is none, sparse files, or more
than a reader needs to hold is TARBALL_INVALID.
"""

import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proxy.errors import TarballInvalid
from proxy.tarballs.streams import Readable, up_to

_MOST = 100_000  # members; a layer has three at most
_EXTENSION = 1024 * 1024  # bytes of an extended header, which is held in memory
_NAME = 4096  # bytes; PATH_MAX
_SKIP = 1024 * 1024  # bytes that are read at once to get past them
_WANTED = {"path", "linkpath", "size"}  # of an extended header
_LINKS = {tarfile.SYMTYPE, tarfile.LNKTYPE}
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_EXTENSIONS = {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}


@dataclass(slots=True)
class Member:
    """A file, whose bytes have to be read before the next member is asked for; or a link, by the name it leads to.

    Names are relative to the root of the tar, without `.` and `..`; `left` is how many bytes are not read yet.
    """

    name: str
    size: int
    link: str
    source: Readable
    left: int

    def read(self, size: int, /) -> bytes:
        """Give 1 to `size` bytes of the file, or none at its end; TARBALL_INVALID if the tar ends before."""
        if not self.left:
            return b""
        found = self.source.read(min(size, self.left))
        if not found:
            raise TarballInvalid(f"the tarball ends in the middle of {self.name}")
        self.left -= len(found)
        return found


def members(source: Readable) -> Iterator[Member]:
    """Give files and links in the order in which they stand; everything else is passed over."""
    extended: Mapping[str, str] = {}
    for number in range(_MOST):
        header = _header(source, first=not number)
        if header is None:
            return
        if header.type in _EXTENSIONS | _LONG.keys():
            extended = {**extended, **_extension(source, header)}
            continue
        member = _member(source, header, extended)
        extended = {}
        if header.type in _FILES | _LINKS:
            yield member
        while member.read(_SKIP):  # what nobody wanted
            pass
        _exactly(source, -member.size % tarfile.BLOCKSIZE)
    raise TarballInvalid(f"the tarball has more than {_MOST} members")


def _header(source: Readable, *, first: bool) -> tarfile.TarInfo | None:
    """Read a header; None at the end."""
    block = up_to(tarfile.BLOCKSIZE, source)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:  # the end is two blocks of zeros; some tools write none
        if not block.strip(b"\0") and not first:
            return None
        if first and not block:
            raise TarballInvalid("this is not a tarball: it is empty") from error
        raise TarballInvalid("this is not a tarball" if first else f"the tarball is damaged: {error}") from error
    if header.size < 0 or header.type == tarfile.GNUTYPE_SPARSE:
        raise TarballInvalid(f"the tarball has a {'sparse file' if header.size >= 0 else 'file of negative size'}")
    return header


def _extension(source: Readable, header: tarfile.TarInfo) -> dict[str, str]:
    """Read what extends the next header; what extends all that follow (`g`) has nothing that is wanted here."""
    if header.size > _EXTENSION:
        raise TarballInvalid(f"the tarball has an extended header of {header.size} bytes")
    content = _exactly(source, header.size)
    _exactly(source, -header.size % tarfile.BLOCKSIZE)
    if header.type in _LONG:
        return {_LONG[header.type]: content.rstrip(b"\0").decode(errors="surrogateescape")}
    return {} if header.type == tarfile.XGLTYPE else {key: value for key, value in _records(content) if key in _WANTED}


def _records(content: bytes) -> Iterator[tuple[str, str]]:
    """Read the records of a pax header: `<length> <key>=<value>` and a line feed."""
    at = 0
    while at < len(content):
        length, _, _ = content[at : at + 20].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content) - at:
            raise TarballInvalid("the tarball has a damaged pax header")
        record = content[at + len(length) + 1 : at + int(length) - 1]
        key, _, value = record.decode(errors="surrogateescape").partition("=")
        if key.startswith("GNU.sparse."):
            raise TarballInvalid("the tarball has a sparse file")
        yield key, value
        at += int(length)


def _member(source: Readable, header: tarfile.TarInfo, extended: Mapping[str, str]) -> Member:
    size = extended.get("size", str(header.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004 - digits of 2 ** 63
        raise TarballInvalid(f"the tarball has a file whose size is {size[:40]!r}")
    name = posixpath.normpath(extended.get("path", header.name))
    if name.startswith(("/", "../")) or len(name) > _NAME:
        raise TarballInvalid(f"the tarball has a member that leads out of it: {name[:80]!r}")
    holds = int(size) if header.type not in _LINKS else 0
    return Member(name, holds, _target(name, header, extended), source, holds)


def _target(name: str, header: tarfile.TarInfo, extended: Mapping[str, str]) -> str:
    """Name the member that a link leads to, if it is one; one that leads out of the tar leads to nothing."""
    target = extended.get("linkpath", header.linkname)
    if header.type == tarfile.SYMTYPE:
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    return posixpath.normpath(target) if header.type == tarfile.LNKTYPE else ""


def _exactly(source: Readable, size: int) -> bytes:
    found = up_to(size, source)
    if len(found) < size:
        raise TarballInvalid("the tarball ends too early")
    return found
