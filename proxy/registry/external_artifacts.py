"""Serve external artifacts as images: `docker save` tarballs and OCI layouts that `upload-artifact` stored.

`myimage:latest` is the image in the newest artifact `myimage`; `artifact/myimage:<tag>` is that of several which has
this tag, `artifact/myimage/<file or image>:<tag>` the one of this name. Such an artifact has no index: it is read once,
into the spool, and served from there like pushed content, for as long as somebody asks for it.
"""

import asyncio
import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from proxy.artifacts.base import Artifact, CorruptDownload, told_of
from proxy.blob import Blob
from proxy.catalog.catalog import Catalog
from proxy.errors import ManifestUnknown, TarballInvalid
from proxy.events import EventBus, ReadExternal
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.singleflight import SingleFlight
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_dedicated_thread, run_in_thread
from proxy.runtime.thread_io import RangeFile
from proxy.spool.spool import Spool
from proxy.spool.staging import StagingArea
from proxy.spool.unpack import Unpacked, gather, unpack
from proxy.tarballs.images import images
from proxy.tarballs.zips import MAGICS, Zip, is_called, tarball_among
from proxy.text import safe_text

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


@dataclass(frozen=True, slots=True)
class _ReadImage:
    """An image whose manifests and blobs are in the spool, the root first, and what it is called."""

    digests: tuple[Digest, ...]
    names: tuple[str, ...]
    references: tuple[tuple[Name, Tag], ...]


@dataclass(frozen=True, slots=True)
class ExternalImage:
    """An image of an external artifact in the spool: its manifest or index, and the digests of all its content."""

    root: Blob
    digests: tuple[Digest, ...]


@dataclass(slots=True)
class _Known:
    """What is known of an artifact: the files in it if it is a zip, and the images of each that was read.

    `refused` says of what was asked for in it why it is none, and until when it is not read again.
    """

    name: str
    files: Sequence[str] = ()
    images: dict[str, list[_ReadImage]] = field(default_factory=dict)
    refused: dict[str, tuple[str, float]] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def file(self, wanted: str) -> str:
        """Say which file is wanted, the artifact itself if it is no zip; TARBALL_INVALID where that is not clear."""
        return tarball_among(self.files, wanted) if self.files else self.name

    def check(self, wanted: str) -> None:
        """Raise MANIFEST_UNKNOWN for what was refused a moment ago."""
        reason, until = self.refused.get(wanted, ("", 0.0))
        if time.monotonic() < until:
            raise ManifestUnknown(reason)

    def refuse(self, wanted: str, error: TarballInvalid) -> None:
        """Remember a refusal, and none that is over."""
        now = time.monotonic()
        self.refused = {each: told for each, told in self.refused.items() if told[1] > now}
        self.refused[wanted] = self._cannot(error), now + _REFUSED

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say of which artifact something cannot be read."""
        try:
            yield
        except TarballInvalid as error:
            raise ManifestUnknown(self._cannot(error)) from error

    def _cannot(self, error: TarballInvalid) -> str:
        return f"the artifact {safe_text(self.name)} cannot be pulled: {error.message}"


@dataclass(slots=True)
class ExternalArtifacts:
    """Finds images in artifacts that no relay stored."""

    catalog: Catalog
    spool: Spool
    flights: SingleFlight
    memory: MemoryBudget
    events: EventBus = field(default_factory=EventBus)
    _known: dict[str, _Known] = field(default_factory=dict)  # by the id of the artifact
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def resolve(self, name: Name, tag: Tag) -> ExternalImage | None:
        """Return the image that a reference means, read once and then cached; None where no artifact has this name.

        Raise ManifestUnknown if the artifact is no such image, UnreadableArtifact if it did not come as it was stored,
        StillUnderWay if it takes too long to read it.
        """
        wanted = _wanted(name, tag)
        artifact = await self.catalog.foreign(wanted.artifact) if wanted else None
        if wanted is None or artifact is None:
            return None
        known = self._known.setdefault(artifact.id, _Known(artifact.name))
        with known.named():
            known.check(wanted.inside)
            if image := await self._cached(name, wanted, known):
                return image
            key = (name, tag, artifact.id)  # of a wrong tag nobody else shall hear
            return await self.flights.run(key, partial(self._read, name, wanted, artifact, known))

    async def _cached(self, name: Name, wanted: _Wanted, known: _Known) -> ExternalImage | None:
        """Return an image that was read before, if the spool still has all of it; only its root is opened."""
        file = known.file(wanted.inside)
        if file not in known.images:
            return None
        digests = _chosen(known.images[file], wanted, file).digests
        root = await self.spool.find(digests[0])
        if root is None or not all(self.spool.stored(each) for each in digests):
            return None
        if not root.findings.corrupt.isdisjoint(digests):  # the spool has one verification for all its blobs
            return None
        for digest in digests:
            if self.spool.linked(name, digest):
                self.spool.refresh_link(name, digest)
            else:
                await self.spool.link(name, digest)
        return ExternalImage(root, digests)

    async def _read(self, name: Name, wanted: _Wanted, artifact: Artifact, known: _Known) -> ExternalImage:
        """Read an artifact into the spool, unless that was done for another image of it meanwhile."""
        began = time.monotonic()
        async with known.reading, self._turns, self.spool.parts() as parts:
            known.check(wanted.inside)
            if image := await self._cached(name, wanted, known):
                return image
            try:
                with told_of(artifact):
                    unpacked, file = await self._unpacked(wanted, artifact, known, parts)
                found = await run_in_thread(images, unpacked.contents)
            except TarballInvalid as error:
                with told_of(artifact):
                    await self._compare(artifact)
                known.refuse(wanted.inside, error)
                raise
            for digest in {digest for each in found for digest in each.blobs}:
                await self.spool.commit([name], unpacked.parts[digest])
            for each in found:
                for digest, manifest in each.manifests.items():
                    await self.spool.keep_manifest(name, digest, manifest)
            known.images[file] = [
                _ReadImage(
                    (*each.manifests, *each.blobs),
                    tuple(each.names),
                    tuple((reference.name(""), reference.tag) for reference in each.references if reference.tag),
                )
                for each in found
            ]
        self.events.emit(ReadExternal(artifact.name, str(name), artifact.size, time.monotonic() - began))
        if image := await self._cached(name, wanted, known):
            return image
        raise TarballInvalid("what was read of it is gone from the disk; try again")

    async def _compare(self, artifact: Artifact) -> None:
        """Read all of what seems to be no image; raise CorruptDownload if its digest is not the listed one."""
        if artifact.digest:
            file = RangeFile(await self.catalog.open_source(artifact), 1)
            try:
                await run_in_dedicated_thread(_Hashed(file).check, artifact.digest)
            finally:
                file.close()

    async def _unpacked(
        self, wanted: _Wanted, artifact: Artifact, known: _Known, parts: StagingArea
    ) -> tuple[Unpacked, str]:
        source = await self.catalog.open_source(artifact)
        with self.memory.try_reserve(_AHEAD * 2 * 2**20) as enough:
            file = RangeFile(source, min(source.read_ahead, _AHEAD) if enough else 0)
            try:
                return await run_in_dedicated_thread(_unpacked, file, wanted.inside, artifact.digest, known, parts)
            finally:
                file.close()


def _wanted(name: Name, tag: Tag) -> _Wanted | None:
    """Say which artifact a reference may mean, if any."""
    first, _, rest = name.text.partition("/")
    if first == _FOLDER and rest:
        artifact, _, inside = rest.partition("/")
        return _Wanted(artifact, inside, tag)
    return _Wanted(first, "", tag) if tag == _LATEST and not rest else None


def _unpacked(file: RangeFile, wanted: str, digest: str, known: _Known, parts: StagingArea) -> tuple[Unpacked, str]:
    """Read what is wanted of an artifact to its end, a file of a zip or all of it; gives which file it was. Blocks."""
    is_zip = file.read(4) in MAGICS
    file.seek(0)
    if not is_zip:
        whole = _Hashed(file)
        unpacked = unpack(whole, parts)
        whole.check(digest)
        return unpacked, known.name
    container = Zip(file)
    if container.is_layout:
        return gather(container.members(), parts), known.name
    name = tarball_among(container.names, wanted)
    known.files = container.names
    return unpack(container.open(name), parts, lambda: file.size), name


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
        """Compare all of it, where the store has told a digest; CorruptDownload if it is something else."""
        while digest and self.read(2**20):
            pass
        if digest and digest != f"sha256:{self._hash.hexdigest()}":
            raise CorruptDownload


def _chosen(found: list[_ReadImage], wanted: _Wanted, file: str) -> _ReadImage:
    """Pick the image of that name, if it was not the file that was named, and with that tag."""
    named = found
    if wanted.inside and not is_called(file, wanted.inside):
        exact = [image for image in found if any(name.text == wanted.inside for name, _ in image.references)]
        named = exact or [
            image for image in found if any(f"/{name}".endswith(f"/{wanted.inside}") for name, _ in image.references)
        ]
    tagged = [
        image
        for image in named
        if wanted.tag.text in image.names or any(tag == wanted.tag for _, tag in image.references)
    ]
    if len(tagged) == 1 or (len(named) == 1 and wanted.tag == _LATEST):
        return (tagged or named)[0]
    names = [label(*reference) for image in found for reference in image.references]
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    raise TarballInvalid(
        f"it holds {shown or f'{len(found)} images without a name'}; "
        f"pull {_FOLDER}/{wanted.artifact}:<tag>, or {_FOLDER}/{wanted.artifact}/<name>:<tag>"
    )
