"""The files of a tarball, each made a part of the spool as it comes by; nothing is unpacked to a tree."""

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from proxy.errors import TarballInvalid
from proxy.oci.digest import Digest
from proxy.spool.staging import Part, Reread, StagingArea
from proxy.tarballs.contents import Contents, File
from proxy.tarballs.images import INDEX
from proxy.tarballs.members import Member, check_end, members
from proxy.tarballs.streams import PeekableStream, Readable, Work, compression, plain

_MOST_FILES = 5000
_UNWANTED = {"VERSION", "json", "repositories"}  # what Docker before 25 writes for Docker before 1.10
_BLOBS = "blobs/"
_NO_LAYER_TYPE = {"bzip2", "xz"}  # such a layer is stored plain


@dataclass(slots=True)
class Unpacked:
    """What was in a tarball: its files and links by their names, and the parts, by digest."""

    parts: dict[Digest, Part] = field(default_factory=dict)
    _files: dict[str, File] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)

    @property
    def contents(self) -> Contents:
        """What `images` reads."""
        return Contents(self._files, self._links, lambda digest: self.parts[digest].read())

    def keep(self, name: str, part: Part) -> None:
        """Add a file. A later member replaces an earlier one, as in every reader."""
        self._links.pop(name, None)
        self._files[name] = File(part.digest, part.entry.size, part.head)
        self.parts.setdefault(part.digest, part)

    def link(self, member: Member) -> None:
        """Add a link. A hard one to what is not there yet waits for it as a symbolic one does."""
        if member.is_hard and member.link == member.name:  # as in every reader: it is there already
            return
        file = self.contents.file(member.link) if member.is_hard else None
        for table in (self._files, self._links):
            table.pop(member.name, None)
        if file:
            self._files[member.name] = file
        else:
            self._links[member.name] = member.link

    def packed(self) -> Iterator[tuple[str, Part]]:
        """Yield what is below `blobs/` in a compression that no registry knows."""
        packed = {
            file.digest
            for name, file in self._files.items()
            if name.startswith(_BLOBS) and compression(file.head) in _NO_LAYER_TYPE
        }
        for name, file in [*self._files.items()]:  # also of hard links to those
            if file.digest in packed:
                yield name, self.parts[file.digest]


def unpack(source: Readable, parts: StagingArea, work: Work | None = None) -> Unpacked:
    """Read a tarball to its end, compressed or not; raise TarballInvalid. Blocks."""
    begun = PeekableStream(source)
    work = work or Work(lambda: begun.came)
    stream = plain(begun, work)
    unpacked = gather(members(stream), parts, work)
    if check_end(stream) and stream is not begun:  # also the checksum of a compression, which stands there
        check_end(begun)
    return unpacked


def gather(found: Iterable[Member], parts: StagingArea, work: Work) -> Unpacked:
    """Make parts of files, wherever they come from; raise TarballInvalid. Blocks."""
    unpacked = Unpacked()
    wanted = (each for each in found if posixpath.basename(each.name) not in _UNWANTED)
    for number, member in enumerate(wanted):
        if number == _MOST_FILES:  # also those that replace another one, as each takes time
            raise TarballInvalid(f"the tarball has more than {_MOST_FILES} files")
        if member.link:
            unpacked.link(member)
        else:  # a blob of a layout as it is, anything else without a compression that no registry knows
            begun = PeekableStream(member)
            if not member.name.startswith(_BLOBS) and compression(begun.peek(6)) in _NO_LAYER_TYPE:
                begun = plain(begun, work)
            algorithm = "sha512" if member.name.startswith("blobs/sha512/") else "sha256"
            unpacked.keep(member.name, parts.write(begun, algorithm))
    if unpacked.contents.file(INDEX) is None:  # then Docker's list names blobs too, as it does any other file
        for name, part in unpacked.packed():
            with suppress(TarballInvalid):  # it is damaged, or no layer: an image that names it is refused
                unpacked.keep(name, parts.write(plain(Reread(part), work)))
    return unpacked
