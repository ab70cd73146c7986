"""What is fuzzed: everything that reads what others wrote, each as a function of bytes.

A target returns how much it made of them; it may raise nothing but the errors of the project, which it catches itself.
"""

import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from proxy.archive import index
from proxy.artifacts.naming import Naming
from proxy.errors import RegistryError, TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, parse
from proxy.oci.names import Name, Tag, escape, parse_reference, unescape
from proxy.oci.references import Reference, repository_below
from proxy.spool.staging import StagingArea
from proxy.spool.unpack import Unpacked, gather, unpack
from proxy.tarballs.images import images
from proxy.tarballs.streams import Work
from proxy.tarballs.zips import Zip
from tests.unit.archive.forging import forge

SEEDS = Path(__file__).parent / "seeds"
_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, "application/json")
_FOLDS = 1024**3  # bytes that anything may expand to, plus 2000 times what was sent


class _Parts(StagingArea):
    """Parts in a folder of their own, which goes with them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._number = 0
        super().__init__(self._new, lambda: None, level=1, width=1)

    def _new(self) -> Path:
        self._number += 1
        return Path(self._folder.name, str(self._number))

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


def _taken_in(work: Work, read: Callable[[StagingArea], Unpacked]) -> int:
    """Unpack a tarball, and make images of it; the manifests have to be what their digests say."""
    parts, made = _Parts(), 0
    try:
        unpacked = read(parts)
        made = len(unpacked.parts)
        for image in images(unpacked.contents):
            made += 10 * len(image.manifests)
            for digest, manifest in image.manifests.items():
                assert Digest.of(manifest.content, digest.algorithm) == digest
            assert image.blobs <= unpacked.parts.keys()
    except TarballInvalid:
        pass
    finally:
        parts.close()
    return made


def summed(data: bytes) -> bytes:
    """Write the checksum into everything that looks like a header of a tar."""
    found = bytearray(data)
    for at in range(0, len(found) - 511, 512):
        if found[at + 257 : at + 262] == b"ustar":
            found[at + 148 : at + 156] = b" " * 8
            found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    return bytes(found)


def tar(data: bytes) -> int:
    """Take in a tarball, compressed or not; after a first byte of 0 the checksums of its headers are right."""
    data = summed(data[1:]) if data[:1] == b"\0" else data
    work = Work(lambda: len(data))
    made = _taken_in(work, lambda parts: unpack(io.BytesIO(data), parts, work))
    assert work.done <= _FOLDS + 2001 * len(data) + 2**20
    return made


class _File(io.BytesIO):
    taken = 0

    @property
    def size(self) -> int:
        return len(self.getbuffer())


def zipped(data: bytes) -> int:
    """Choose a file of a zip, and take it in."""
    work, made = Work(lambda: len(data), 200), 0
    with suppress(TarballInvalid):
        container = Zip(cast("Any", _File(data)))
        choice = container.choice(2**20)
        name = choice.chosen("app", "app.tar")
        made = 1
        if name in choice.layouts:
            made += _taken_in(work, lambda parts: gather(container.members(name, work), parts, work))
        else:
            made += _taken_in(work, lambda parts: unpack(container.open(name), parts, work))
    assert work.done <= _FOLDS + 201 * len(data) + 2**20
    return made


def references(data: bytes) -> int:
    """Parse a text as every kind of name; what was parsed is the same once it was written and parsed again."""
    text, made = data.decode("utf-8", "surrogateescape"), 0
    with suppress(RegistryError):
        reference = Reference.parse(text)
        assert Reference.parse(str(reference)).wanted == reference.wanted
        made += 1
    with suppress(RegistryError):
        name = Name.parse(text)
        assert unescape(escape(name.text)).replace("+", "/") == name.text
        assert Naming("image-").decode(Naming("image-").encode(name, Tag("v1"))) in {(name, Tag("v1")), None}
        made += 1
    for grammar in (Tag.parse, Digest.parse, parse_reference, repository_below):
        with suppress(RegistryError):
            assert str(cast("Callable[[str], Any]", grammar)(text))
            made += 1
    return made


def archive_index(data: bytes) -> int:
    """Decode the end of an archive; after a first byte of 0 only what is in the index is fuzzed, behind right sums."""
    tail = forge(data[1:]) if data[:1] == b"\0" else data
    with suppress(index.ArchiveInvalid):
        return len(index.decode(tail, len(tail)).blobs)
    return 0


def manifests(data: bytes) -> int:
    """Parse a manifest, whose type the first byte selects."""
    with suppress(RegistryError):
        found = parse(data[1:], _TYPES[data[0] % len(_TYPES)] if data else "")
        assert found.digest == Digest.of(data[1:])
        return 1 + len(found.children) + len(found.blobs)
    return 0


TARGETS: dict[str, Callable[[bytes], int]] = {
    "tar": tar,
    "zip": zipped,
    "references": references,
    "index": archive_index,
    "manifests": manifests,
}


def seeds(target: str) -> list[bytes]:
    """Return the inputs of a target that were kept, the smallest first."""
    return sorted((path.read_bytes() for path in (SEEDS / target).iterdir()), key=len)
