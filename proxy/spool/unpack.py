"""The files of a tarball, each made a part of the spool as it comes by; nothing is unpacked to a tree."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.errors import TarballInvalid
from proxy.oci.digest import Digest
from proxy.spool.staging import Part, StagingArea
from proxy.tarballs.contents import Contents, File
from proxy.tarballs.members import Member, check_end, members
from proxy.tarballs.streams import PeekableStream, Readable, Work, compression, plain

_MOST_FILES = 5000
_UNWANTED = {"VERSION", "json", "repositories"}  # what Docker before 25 writes for Docker before 1.10
_NO_LAYER_TYPE = {"bzip2", "xz"}  # such a layer is stored plain


@dataclass(slots=True)
class Unpacked:
    """What was in a tarball: its contents for `images`, and the parts, by digest."""

    contents: Contents
    parts: dict[Digest, Part] = field(default_factory=dict)


def unpack(source: Readable, parts: StagingArea, work: Work | None = None) -> Unpacked:
    """Read a tarball to its end, compressed or not; raise TarballInvalid. Blocks."""
    begun = PeekableStream(source)
    work = work or Work(lambda: begun.came)
    stream = plain(begun, work)
    unpacked = gather(members(stream), parts, work)
    check_end(stream)  # also the checksum of a compression, which stands there
    return unpacked


def gather(found: Iterable[Member], parts: StagingArea, work: Work) -> Unpacked:
    """Make parts of files, wherever they come from; raise TarballInvalid. Blocks."""
    files: dict[str, File] = {}
    links: dict[str, str] = {}
    unpacked = Unpacked(Contents(files, links, lambda digest: unpacked.parts[digest].read()))
    wanted = (each for each in found if posixpath.basename(each.name) not in _UNWANTED)
    for number, member in enumerate(wanted):
        if number == _MOST_FILES:  # also those that replace another one, as each takes time
            raise TarballInvalid(f"the tarball has more than {_MOST_FILES} files")
        if member.link:  # a later member replaces an earlier one, as in every reader
            files.pop(member.name, None)
            links[member.name] = member.link
        else:  # a blob of a layout as it is, anything else without a compression that no registry knows
            folder, _, rest = member.name.partition("/")
            begun = PeekableStream(member)
            if folder != "blobs" and compression(begun.peek(6)) in _NO_LAYER_TYPE:
                begun = plain(begun, work)
            part = parts.write(begun, "sha512" if (folder, rest[:7]) == ("blobs", "sha512/") else "sha256")
            links.pop(member.name, None)
            files[member.name] = File(part.digest, part.entry.size, part.head)
            unpacked.parts.setdefault(part.digest, part)
    return unpacked
