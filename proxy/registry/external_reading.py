"""Read the file of an artifact that no relay stored, in a thread: what is in it, and the content of its images."""

import hashlib

from proxy.artifacts.base import CorruptDownload
from proxy.registry.external_images import Known, Wanted
from proxy.runtime.thread_io import RangeFile
from proxy.spool.staging import StagingArea
from proxy.spool.unpack import Unpacked, gather, unpack
from proxy.tarballs.choice import Choice, FileKind, file_kind
from proxy.tarballs.streams import Work
from proxy.tarballs.zips import MAGICS, Zip

_LOOKED_AT = 32 * 1024 * 1024  # bytes of a zip that are read to find out which of its files is an image
_LAYOUT_FOLD = 200  # how far a layout in a zip may expand: its layers are compressed


def look(file: RangeFile, name: str) -> Choice:
    """Return what is in an artifact, by how its files begin. Raise TarballInvalid. Blocks."""
    if _is_zip(file):
        return Zip(file).choice(_LOOKED_AT)
    return Choice((name,), kinds={name: file_kind(file)})


def unpack_artifact(
    wanted: Wanted, digest: str, known: Known, parts: StagingArea, file: RangeFile
) -> tuple[Unpacked, str]:
    """Unpack the whole artifact, or the wanted file if it is a zip; return the name of what was unpacked.

    Raise TarballInvalid if it is no image, CorruptDownload if it has another digest than this one. Blocks.
    """
    if not _is_zip(file):
        whole = Hashed(file)
        unpacked = unpack(whole, parts, Work(lambda: file.size))
        whole.check(digest)
        known.choice = Choice((known.name,), kinds={known.name: FileKind.IMAGE})
        return unpacked, known.name
    container = Zip(file)
    known.choice = container.choice(_LOOKED_AT)
    name = known.chosen(wanted)
    if name in known.choice.layouts:
        work = Work(lambda: file.size, _LAYOUT_FOLD)
        return gather(container.members(name, work), parts, work), name
    return unpack(container.open(name), parts, Work(lambda: file.size)), name


def _is_zip(file: RangeFile) -> bool:
    beginning = file.read(4)
    file.seek(0)
    return beginning in MAGICS


class Hashed:
    """A file that is read once, from its start, to compute its digest."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end. Blocks."""
        found = self._file.read(size)
        self._hash.update(found)
        return found

    def check(self, digest: str) -> None:
        """Read the rest. Raise CorruptDownload if the whole has another digest than this one, which may be empty."""
        while digest and self.read(2**20):
            pass
        if digest and digest != f"sha256:{self._hash.hexdigest()}":
            raise CorruptDownload
