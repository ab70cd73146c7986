"""The members of a tar (POSIX.1-1988 to 2001, and GNU's long names), one after the other, none of them unpacked.

Nothing about a tarball is trusted: names that lead out of it, sizes that are no numbers, sparse files, and headers that
would take too much memory raise TarballInvalid.
"""

import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from proxy.errors import TarballInvalid
from proxy.tarballs.contents import relative
from proxy.tarballs.kinds import explain_beginning
from proxy.tarballs.streams import MAGICS, Readable, compression, up_to

_MOST = 100_000  # members; a layer has three at most
_EXTENSION = 1024 * 1024  # bytes of an extended header, which is kept in memory
_MOST_RECORDS = 500_000  # of all extended headers together: reading them takes a second
_NAME = 4096  # bytes; PATH_MAX
_SPARSE = "the tarball has a sparse file, which only tar itself can read: pack it without --sparse (-S)"
_AT_ONCE = 128  # blocks that are read behind the end
_SKIP = 1024 * 1024  # bytes that are read at once to skip them
_WANTED = {"path", "linkpath", "size"}  # of an extended header
_LINKS = {tarfile.SYMTYPE, tarfile.LNKTYPE}
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_HEADER_ONLY = {*_LINKS, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE}  # POSIX: of any size
_LONG = {tarfile.GNUTYPE_LONGNAME: "path", tarfile.GNUTYPE_LONGLINK: "linkpath"}
_PAX = {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE}
_EXTENSIONS = {*_LONG, *_PAX, tarfile.XGLTYPE}


@dataclass(slots=True)
class Member:
    """A file, whose bytes can be read until the next member is asked for; or a link, with the name that it leads to.

    A hard link is the file that has this name at that moment. Names are relative to the root of the tar, without `.`
    and `..`; `left` is how many bytes have not been read yet.
    """

    name: str
    size: int
    link: str
    source: Readable
    left: int
    is_hard: bool = False

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes of the file, or none at its end; raise TarballInvalid if the tar ends before."""
        if not self.left:
            return b""
        found = self.source.read(min(size, self.left))
        if not found:
            raise TarballInvalid(f"the tarball ends in the middle of {self.name}")
        self.left -= len(found)
        return found


def members(source: Readable) -> Iterator[Member]:
    """Yield files and links in the order in which they stand; everything else is skipped."""
    extended: dict[str, str] = {}
    records = count()  # of extended headers
    for number in range(_MOST):
        header = _header(source, is_first=not number)
        if header is None:
            return
        if header.type in _EXTENSIONS:
            extended.update(_extension(source, header, records))
            continue
        member = _member(source, header, extended)
        extended = {}
        if header.type in _FILES | _LINKS:
            yield member
        while member.read(_SKIP):  # what the caller has not read
            pass
        up_to(-member.size % tarfile.BLOCKSIZE, source)  # some tools write less behind the last one
    raise TarballInvalid(f"the tarball has more than {_MOST} members")


def _header(source: Readable, *, is_first: bool) -> tarfile.TarInfo | None:
    """Read the next header; return None at the end, which is two blocks of zeros; some tools write none."""
    block = up_to(tarfile.BLOCKSIZE, source)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if not (is_first or block.strip(b"\0")):
            return None
        what = explain_beginning(block, MAGICS.values()) if is_first else f"the tarball is damaged: {error}"
        raise TarballInvalid(what) from error
    time = block[345:357].strip(b" \0")  # GNU has times where others have the first part of a long name
    if block[257:265] == b"ustar  \0" and time and (time[0] >= 0x80 or time.isdigit()):  # noqa: PLR2004
        header.name = block[:100].partition(b"\0")[0].decode(errors="surrogateescape")
    return header


def _extension(source: Readable, header: tarfile.TarInfo, records: Iterator[int]) -> Iterator[tuple[str, str]]:
    """Yield what extends the next header; nothing that extends all further ones (`g`) is of use here.

    The records of a pax header are `<length> <key>=<value>` and a line feed.
    """
    if not 0 <= header.size <= _EXTENSION:
        raise TarballInvalid(f"the tarball has an extended header of {header.size} bytes")
    content = _exactly(source, header.size)
    _exactly(source, -header.size % tarfile.BLOCKSIZE)
    if header.type in _LONG:
        yield _LONG[header.type], content.partition(b"\0")[0].decode(errors="surrogateescape")
    at = 0
    while header.type in _PAX and at < len(content):
        length, _, _ = content[at : at + 20].partition(b" ")
        if not length.isdigit() or not len(length) < int(length) <= len(content) - at:
            raise TarballInvalid("the tarball has a damaged pax header")
        record = content[at + len(length) + 1 : at + int(length) - 1]
        if next(records) == _MOST_RECORDS:
            raise TarballInvalid(f"the extended headers of the tarball have more than {_MOST_RECORDS} records")
        key, _, value = record.decode(errors="surrogateescape").partition("=")
        if key.startswith("GNU.sparse."):
            raise TarballInvalid(_SPARSE)
        if key in _WANTED:  # an empty value takes back an earlier one
            yield key, value
        at += int(length)


def _member(source: Readable, header: tarfile.TarInfo, extended: Mapping[str, str]) -> Member:
    """Return the member of a header; a link that leads out of the tar leads to nothing."""
    if header.type in _HEADER_ONLY:
        header.size = 0
        extended = {key: value for key, value in extended.items() if key != "size"}
    if header.size < 0 or header.type == tarfile.GNUTYPE_SPARSE:
        raise TarballInvalid(_SPARSE if header.size >= 0 else "the tarball has a file of negative size")
    size = extended.get("size") or str(header.size)
    if not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004 - digits of 2 ** 63
        raise TarballInvalid(f"the tarball has a file whose size is {size[:40]!r}")
    name = relative(extended.get("path") or header.name)
    if len(name) > _NAME:
        raise TarballInvalid(f"the tarball has a member whose name has more than {_NAME} bytes: {name[:80]!r}")
    if name == ".." or name.startswith("../"):
        raise TarballInvalid(f"the tarball has a member that leads out of it: {name[:80]!r}")
    if header.type not in _LINKS:
        return Member(name, int(size), "", source, int(size))
    target = extended.get("linkpath") or header.linkname
    if header.type == tarfile.SYMTYPE:
        target = posixpath.join(posixpath.dirname(name), target)
    return Member(name, 0, relative(target), source, 0, is_hard=header.type == tarfile.LNKTYPE)


def check_end(source: Readable) -> bool:
    """Read what follows the end of a tar, as far as it is zeros, and return whether there was nothing else.

    Raise TarballInvalid if it is another tar, compressed or not: readers of a tar ignore that, and so would lose images
    without a word.
    """
    block = b""
    while not block and (more := up_to(tarfile.BLOCKSIZE * _AT_ONCE, source)):
        block = more.lstrip(b"\0")
    block += up_to(tarfile.BLOCKSIZE - len(block), source)
    is_another = bool(compression(block))
    with suppress(tarfile.HeaderError):
        tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        is_another = True
    if is_another:
        raise TarballInvalid(
            "another tarball follows the first: send each by itself, or save all images at once (docker save a:v1 b:v1)"
        )
    return not block


def _exactly(source: Readable, size: int) -> bytes:
    found = up_to(size, source)
    if len(found) < size:
        raise TarballInvalid("the tarball ends too early")
    return found
