"""Artifacts that others made, served as images: `docker save` tarballs and OCI layouts that `upload-artifact` stored.

`myimage:latest` is the image in the newest artifact `myimage`; `artifact/myimage:<tag>` is that of several which has
this tag, `artifact/myimage/<file or image>:<tag>` the one of this name. Such an artifact has no index: it is read once,
into the spool, and served from there like what was pushed, for as long as somebody asks for it.
"""

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from proxy.artifacts.base import Artifact
from proxy.bridge import RangeFile
from proxy.catalog import Catalog
from proxy.content import Blob
from proxy.errors import ManifestUnknown, TarballInvalid
from proxy.memory import Memory
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.offload import in_own_thread, offload
from proxy.printing import printable
from proxy.registry.flights import Flights
from proxy.store.parts import Parts
from proxy.store.spool import Spool
from proxy.store.unpacking import Unpacked, gather, unpack
from proxy.tarballs.images import Image, images
from proxy.tarballs.zips import MAGICS, Zip, is_called, tarball_among

_log = logging.getLogger(__name__)
_FOLDER = "artifact"
_LATEST = Tag("latest")
_AT_ONCE = 2  # artifacts that are read
_AHEAD = 4  # blocks of 2 MiB
_REFUSED = 60.0  # seconds for which an artifact is not read again that was no image
_SHOWN = 8  # names in a message


class _Wanted(NamedTuple):
    """An artifact, a file or an image in it (empty for the only one), and a tag."""

    artifact: str
    inside: str
    tag: Tag


class _Found(NamedTuple):
    """What was read, and the file in the artifact that it was in."""

    unpacked: Unpacked
    file: str


_Key = tuple[Name, Tag, str]  # with the id of the artifact


@dataclass(slots=True)
class Foreign:
    """Finds images in artifacts that no relay stored."""

    catalog: Catalog
    spool: Spool
    flights: Flights
    memory: Memory
    _read: dict[_Key, list[Digest]] = field(default_factory=dict)  # what is in the spool, the root first
    _refused: dict[_Key, tuple[str, float]] = field(default_factory=dict)  # why, and until when
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def find(self, name: Name, tag: Tag) -> Blob | None:
        """Give the root of an image; None where no artifact has this name.

        MANIFEST_UNKNOWN if the artifact is no such image, StillUnderWay if it takes too long to read it.
        """
        wanted = _wanted(name, tag)
        artifact = await self.catalog.foreign(wanted.artifact) if wanted else None
        if wanted is None or artifact is None:
            return None
        key = (name, tag, artifact.id)
        reason, until = self._refused.get(key, ("", 0.0))
        if time.monotonic() < until:
            raise ManifestUnknown(reason)
        if blob := await self._held(key):
            return blob
        await self.flights.join(key, partial(self._fetch, key, wanted, artifact))
        return await self._held(key)

    async def _held(self, key: _Key) -> Blob | None:
        """Give the root of an image that was read before, if all of it is still there."""
        name, *_ = key
        found = [await self.spool.find(each) for each in self._read.get(key, []) if self.spool.linked(name, each)]
        if not found or None in found or len(found) < len(self._read[key]):
            return None
        for digest in self._read[key]:
            self.spool.renew(name, digest)
        return found[0]

    async def _fetch(self, key: _Key, wanted: _Wanted, artifact: Artifact) -> None:
        """Read an artifact into the spool."""
        name, *_ = key
        began = time.monotonic()
        async with self._turns, self.spool.parts() as parts:
            try:
                found = await self._unpacked(wanted, artifact, parts)
                image = _chosen(await offload(images, found.unpacked.contents), wanted, found.file)
            except TarballInvalid as error:
                reason = f"the artifact {printable(artifact.name)} cannot be pulled: {error.message}"
                self._refused[key] = reason, time.monotonic() + _REFUSED
                raise ManifestUnknown(reason) from error
            for digest in image.blobs:
                await self.spool.adopt([name], found.unpacked.parts[digest])
            for digest, manifest in image.manifests.items():
                await self.spool.keep_manifest(name, digest, manifest)
        self._read[key] = [*image.manifests, *image.blobs]
        size, took = artifact.size / 2**20, time.monotonic() - began
        _log.info("read the artifact %s as %s: %.1f MiB in %.2f s", printable(artifact.name), name, size, took)

    async def _unpacked(self, wanted: _Wanted, artifact: Artifact, parts: Parts) -> _Found:
        source = await self.catalog.bytes_of(artifact)
        with self.memory.beyond(_AHEAD * 2 * 2**20) as enough:
            file = RangeFile(source, min(source.ahead, _AHEAD) if enough else 0)
            try:
                return await in_own_thread(_unpacked, file, wanted.inside, artifact, parts)
            finally:
                file.close()


def _wanted(name: Name, tag: Tag) -> _Wanted | None:
    """Say which artifact a reference may mean, if any."""
    first, _, rest = name.text.partition("/")
    if first == _FOLDER and rest:
        artifact, _, inside = rest.partition("/")
        return _Wanted(artifact, inside, tag)
    return _Wanted(first, "", tag) if tag == _LATEST and not rest else None


def _unpacked(file: RangeFile, wanted: str, artifact: Artifact, parts: Parts) -> _Found:
    """Read an artifact to its end: a zip, or a bare tarball. Blocks."""
    is_zip = file.read(4) in MAGICS
    file.seek(0)
    if not is_zip:
        whole = _Hashed(file)
        unpacked = unpack(whole, parts)
        whole.check(artifact.digest)
        return _Found(unpacked, artifact.name)
    container = Zip(file)
    if container.is_layout:
        return _Found(gather(container.members(), parts), "")
    name = tarball_among(container.names, wanted)
    return _Found(unpack(container.open(name), parts, lambda: file.size), name)


class _Hashed:
    """A file that is read once from its start, and then compared with its digest."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        found = self._file.read(size)
        self._hash.update(found)
        return found

    def check(self, digest: str) -> None:
        """Compare all of it, where the store has told a digest."""
        while digest and self.read(2**20):
            pass
        if digest and digest != f"sha256:{self._hash.hexdigest()}":
            raise TarballInvalid("its bytes are not those that were stored; try again later")


def _chosen(found: list[Image], wanted: _Wanted, file: str) -> Image:
    """Pick the image of that name, if it was not the file that was named, and with that tag."""
    named = found
    if wanted.inside and not is_called(file, wanted.inside):
        named = [image for image in found if any(_ends(name, wanted.inside) for name, _ in image.references)]
    tagged = [image for image in named if _is_tagged(image, wanted.tag)]
    if len(tagged) == 1 or (len(named) == 1 and wanted.tag == _LATEST):
        return (tagged or named)[0]
    names = [label(*reference) for image in found for reference in image.references]
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    raise TarballInvalid(
        f"it holds {shown or f'{len(found)} images without a name'}; "
        f"pull {_FOLDER}/{wanted.artifact}:<tag>, or {_FOLDER}/{wanted.artifact}/<name>:<tag>"
    )


def _ends(name: Name, wanted: str) -> bool:
    return f"/{name}".endswith(f"/{wanted}")


def _is_tagged(image: Image, tag: Tag) -> bool:
    return tag.text in image.names or any(each == tag for _, each in image.references)
