"""Serve external artifacts as images: `docker save` tarballs and OCI layouts that `upload-artifact` stored.

`myimage:latest` is the image in the newest artifact `myimage`. If it holds several images, `artifact/myimage:<tag>` is
the one with this tag, and `artifact/myimage/<file or image>:<tag>` the one with this name. Such an artifact has no
index: it is read once, into the spool, and served from there like pushed content, for as long as it is requested.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

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
from proxy.tarballs.streams import Work
from proxy.tarballs.zips import MAGICS, Zip, is_called, tarball_among
from proxy.text import safe_text

T = TypeVar("T")

_FOLDER = "artifact"
_LATEST = Tag("latest")
_AT_ONCE = 2  # artifacts that are read side by side
_AHEAD = 4  # blocks of 2 MiB
_REFUSED = 60.0  # seconds before an artifact that was no image is read again
_SHOWN = 8  # names in a message


class _Wanted(NamedTuple):
    """What a reference asks for: an artifact, a file or an image in it (empty for the only one), and a tag."""

    artifact: str
    inside: str
    tag: Tag


@dataclass(frozen=True, slots=True)
class _ReadImage:
    """The names of an image that was read into the spool, and the digests of its content, the root first."""

    digests: tuple[Digest, ...]
    names: tuple[str, ...]
    references: tuple[tuple[Name, Tag], ...]


@dataclass(frozen=True, slots=True)
class ExternalImage:
    """An image that was read into the spool: its manifest or index, and the digests of all its content."""

    root: Blob
    digests: tuple[Digest, ...]


@dataclass(slots=True)
class _Known:
    """What was learned about an artifact: the files in it if it is a zip, and the images of each file that was read.

    `refused` says why what was asked for in it is no image, and until when it is not read again.
    """

    name: str
    files: Sequence[str] = ()
    images: dict[str, list[_ReadImage]] = field(default_factory=dict)
    refused: dict[str, tuple[str, float]] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def image(self, wanted: _Wanted) -> _ReadImage | None:
        """Return the image that is wanted, by its name unless that is the name of its file, and by its tag.

        Return None if its file was not read yet. Raise TarballInvalid if no image, or more than one, fits.
        """
        file = tarball_among(self.files, wanted.inside) if self.files else self.name
        if file not in self.images:
            return None
        found = named = self.images[file]
        if wanted.inside and not is_called(file, wanted.inside):
            named = [each for each in found if any(name.text == wanted.inside for name, _ in each.references)] or [
                each for each in found if any(f"/{name}".endswith(f"/{wanted.inside}") for name, _ in each.references)
            ]
        tag = wanted.tag
        tagged = [each for each in named if tag.text in each.names or any(own == tag for _, own in each.references)]
        if len(tagged) == 1 or (len(named) == 1 and tag == _LATEST):
            return (tagged or named)[0]
        names = [label(*reference) for image in found for reference in image.references]
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise TarballInvalid(
            f"it holds {shown or f'{len(found)} images without a name'}; "
            f"pull {_FOLDER}/{wanted.artifact}:<tag>, or {_FOLDER}/{wanted.artifact}/<name>:<tag>"
        )

    def check(self, wanted: str) -> None:
        """Raise ManifestUnknown for what was refused a moment ago."""
        reason, until = self.refused.get(wanted, ("", 0.0))
        if time.monotonic() < until:
            raise ManifestUnknown(reason)

    def refuse(self, wanted: str, error: TarballInvalid) -> None:
        """Remember a refusal, and forget those that are over."""
        now = time.monotonic()
        self.refused = {each: (reason, until) for each, (reason, until) in self.refused.items() if until > now}
        self.refused[wanted] = self._cannot(error), now + _REFUSED

    @contextmanager
    def named(self) -> Iterator[None]:
        """Raise ManifestUnknown, with the name of the artifact, for TarballInvalid within the block."""
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
        """Return the image that a reference means, read once and then cached; None if no artifact has this name.

        Raise ManifestUnknown if the artifact holds no such image, UnreadableArtifact if it arrived damaged,
        StillUnderWay if reading it takes too long.
        """
        first, _, rest = name.text.partition("/")
        if first == _FOLDER and rest:
            artifact_name, _, inside = rest.partition("/")
            wanted = _Wanted(artifact_name, inside, tag)
        elif tag == _LATEST and not rest:
            wanted = _Wanted(first, "", tag)
        else:
            return None
        artifact = await self.catalog.foreign(wanted.artifact)
        if artifact is None:
            return None
        known = self._known.setdefault(artifact.id, _Known(artifact.name))
        with known.named():
            known.check(wanted.inside)
            if image := await self._cached(name, wanted, known):
                return image
            key = (name, tag, artifact.id)  # the message about a wrong tag is only for those who asked for it
            return await self.flights.run(key, partial(self._read, name, wanted, artifact, known))

    async def _cached(self, name: Name, wanted: _Wanted, known: _Known) -> ExternalImage | None:
        """Return an image that was read before, if the spool still has all of it; only its root is opened."""
        image = known.image(wanted)
        if image is None:
            return None
        digests = image.digests
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
        """Read an artifact into the spool, unless that was done meanwhile for another of its images."""
        began = time.monotonic()
        async with known.reading, self._turns, self.spool.parts() as parts:
            known.check(wanted.inside)
            if image := await self._cached(name, wanted, known):
                return image
            try:
                work = partial(_unpacked, wanted.inside, artifact.digest, known, parts)
                unpacked, file = await self._in_thread(artifact, work)
                found = await run_in_thread(images, unpacked.contents)
            except TarballInvalid as error:
                if artifact.digest:  # it is refused only if it arrived undamaged
                    await self._in_thread(artifact, lambda file: _Hashed(file).check(artifact.digest))
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

    async def _in_thread(self, artifact: Artifact, work: Callable[[RangeFile], T]) -> T:
        """Run blocking work on the file of an artifact, in a thread of its own; read ahead if memory allows."""
        with told_of(artifact):
            source = await self.catalog.open_source(artifact)
            with self.memory.try_reserve(_AHEAD * 2 * 2**20) as enough:
                file = RangeFile(source, min(source.read_ahead, _AHEAD) if enough else 0)
                try:
                    return await run_in_dedicated_thread(work, file)
                finally:
                    file.close()


def _unpacked(wanted: str, digest: str, known: _Known, parts: StagingArea, file: RangeFile) -> tuple[Unpacked, str]:
    """Unpack the whole artifact, or the wanted file if it is a zip; return the name of what was unpacked. Blocks."""
    is_zip = file.read(4) in MAGICS
    file.seek(0)
    if not is_zip:
        whole = _Hashed(file)
        unpacked = unpack(whole, parts)
        whole.check(digest)
        return unpacked, known.name
    container = Zip(file)
    if container.is_layout:
        return gather(container.members(), parts, Work(lambda: file.size)), known.name
    name = tarball_among(container.names, wanted)
    known.files = container.names
    return unpack(container.open(name), parts, Work(lambda: file.size)), name


class _Hashed:
    """A file that is read once, from its start, to compute its digest."""

    def __init__(self, file: RangeFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        found = self._file.read(size)
        self._hash.update(found)
        return found

    def check(self, digest: str) -> None:
        """Read the rest. Raise CorruptDownload if the whole has another digest than this one, which may be empty."""
        while digest and self.read(2**20):
            pass
        if digest and digest != f"sha256:{self._hash.hexdigest()}":
            raise CorruptDownload
