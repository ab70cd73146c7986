"""Serve external artifacts as images: `docker save` tarballs and OCI layouts that `upload-artifact` stored.

`myimage:latest` is the image in the newest artifact `myimage`. If it holds several images, `artifact/myimage:<tag>` is
the one with this tag, and `artifact/myimage/<file or image>:<tag>` the one with this name. Such an artifact has no
index: it is read once, into the spool, and served from there like pushed content, for as long as it is requested.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from proxy.artifacts.base import Artifact, StoreRefused, UnreadableArtifact, told_of
from proxy.artifacts.naming import Naming
from proxy.blob import Blob
from proxy.catalog.catalog import Catalog
from proxy.errors import ManifestUnknown, RegistryError, TagInvalid, TarballInvalid
from proxy.events import EventBus, ReadExternal
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.oci.references import LATEST
from proxy.registry.external_images import FOLDER, Known, ReadImage, Wanted, name_and_tag
from proxy.registry.external_reading import Hashed, look, unpack_artifact
from proxy.registry.singleflight import SingleFlight
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import Several, run_in_dedicated_thread, run_in_thread
from proxy.runtime.thread_io import RangeFile
from proxy.spool.spool import Spool
from proxy.tarballs.choice import matching, slug
from proxy.tarballs.images import images

T = TypeVar("T")

_AT_ONCE = 2  # artifacts that are read side by side
_AHEAD = 4  # blocks of 2 MiB
_FORGOTTEN = 100  # artifacts that are remembered after they are gone
_LOOKS = 32  # artifacts that one listing looks at; the next one goes on with others
_LOOK = 1024 * 1024  # bytes that are read of each of them, at most
_LOOK_BLOCK = 64 * 1024  # bytes that are read at once for that


@dataclass(frozen=True, slots=True)
class ExternalImage:
    """An image that was read into the spool: its manifest or index, and the digests of all its content."""

    root: Blob
    digests: tuple[Digest, ...]


class _Meant(NamedTuple):
    """The artifact that a reference means, and what it asks for in it."""

    artifact: Artifact
    known: Known
    wanted: Wanted


@dataclass(slots=True)
class ExternalArtifacts:
    """Finds images in artifacts that no relay stored, by the listing that whoever asks has made a moment ago."""

    catalog: Catalog
    spool: Spool
    flights: SingleFlight
    memory: MemoryBudget
    naming: Naming
    events: EventBus = field(default_factory=EventBus)
    _known: dict[str, Known] = field(default_factory=dict)  # by the id of the artifact
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _looking: Several[None] = field(default_factory=lambda: Several(_AT_ONCE))

    async def resolve(self, name: Name, reference: Tag | Digest) -> ExternalImage | None:
        """Return the image that a reference means, read once and then cached; None if no artifact has this name.

        Raise ManifestUnknown if the artifact holds no such image, UnreadableArtifact if it arrived damaged,
        StillUnderWay if reading it takes too long.
        """
        meant = self._meant(name, reference)
        if meant is None:
            return None
        with meant.known.named():
            if image := await self._cached(name, meant):
                return image
            key = (name, reference, meant.artifact.id)  # what is told of a wrong tag is for those who asked for it
            return await self.flights.run(key, partial(self._read, name, meant))

    def has(self, name: Name, reference: Tag | Digest) -> bool:
        """Return whether an artifact is meant, by its name, or by what was read of it before; none is read now."""
        meant = self._meant(name, reference)
        if meant is None or meant.wanted.reference == LATEST:
            return meant is not None
        with suppress(RegistryError):
            return meant.known.image(meant.wanted) is not None
        return False

    def referring(self, name: Name, subject: Digest) -> list[Digest]:
        """Return the manifests, in artifacts that were read, that have another one as their subject."""
        meant = self._meant(name, subject)
        return meant.known.referring(subject) if meant else []

    def forget(self) -> None:
        """Forget what was learned: the artifacts are those of another run."""
        self._known.clear()

    def _meant(self, name: Name, reference: Tag | Digest) -> _Meant | None:
        """Return the newest artifact of a name; one that has the tag in its own name, such as `app@v1`, comes first."""
        wanted = Wanted.of(name, reference)
        if wanted is None:
            return None
        others = self.catalog.others()
        if len(self._known) > len(others) + _FORGOTTEN:
            self._known = {each.id: self._known[each.id] for each in others if each.id in self._known}
        is_plain = name.text.startswith(f"{FOLDER}/") or reference == LATEST or isinstance(reference, Digest)
        tagged = [(each, name) for each in others for name, tag in [name_and_tag(each.name)] if tag == str(reference)]
        found = [each for each, name in tagged if name == wanted.artifact]
        if found := found or [each for each, name in tagged if slug(name) == wanted.artifact]:
            wanted = wanted._replace(reference=LATEST)
        elif is_plain:
            found = matching(others, wanted.artifact, lambda each: each.name)
        return _Meant(found[0], self._of(found[0]), wanted) if found else None

    def _of(self, artifact: Artifact) -> Known:
        return self._known.setdefault(artifact.id, Known(artifact.name, self.naming))

    async def tags(self, name: Name) -> set[Tag]:
        """Return the tags of a repository that is an artifact, which is read for that; raise as `resolve` does."""
        found, wanted = set[Tag](), Wanted.of(name, LATEST)
        for artifact in self.catalog.others() if wanted and not wanted.inside else []:
            plain, tag = name_and_tag(artifact.name)
            with suppress(TagInvalid):
                found |= {Tag.parse(tag)} if wanted and wanted.artifact in {plain, slug(plain)} else set()
        if meant := self._meant(name, LATEST):
            with suppress(ManifestUnknown):
                await self.resolve(name, LATEST)
            tags = meant.known.tags(meant.wanted)
            found |= tags if name.text.startswith(f"{FOLDER}/") else tags & {LATEST}
        return found

    async def repositories(self) -> set[Name]:
        """Return the repositories that artifacts can be pulled as, by how these begin: few bytes of each are read.

        Artifacts that no listing has looked at before are looked at, some at a time.
        """
        newest = dict[str, tuple[Artifact, Known]]()
        for each in self.catalog.others():
            newest.setdefault(self._of(each).path, (each, self._of(each)))
        new = [
            partial(self._look, artifact, known)
            for artifact, known in newest.values()
            if not (known.choice or known.is_looked_at)
        ]
        async for task in self._looking.ended(new[:_LOOKS]):
            task.result()
        return {name for _, known in newest.values() for name in known.repositories()}

    async def _look(self, artifact: Artifact, known: Known) -> None:
        known.is_looked_at = True
        with suppress(TarballInvalid, StoreRefused, ManifestUnknown):
            source = await self.catalog.open_source(artifact)
            file = RangeFile(source, 0, _LOOK_BLOCK, _LOOK)
            try:
                known.choice = await run_in_dedicated_thread(look, file, artifact.name)
            finally:
                file.close()

    def names(self) -> list[str]:
        """Return the repositories below `artifact/` for all artifacts, images or not, the newest first."""
        paths = dict.fromkeys(self._of(each).path for each in self.catalog.others())
        return [each for each in paths if not each.endswith("/")]

    def nameless(self) -> list[str]:
        """Return the names of artifacts that no repository can have, nor anything like them."""
        return [each.name for each in self.catalog.others() if self._of(each).path.endswith("/")]

    async def _cached(self, name: Name, meant: _Meant) -> ExternalImage | None:
        """Return an image that was read before, if the spool still has all of it; only its root is opened."""
        image, reference = meant.known.image(meant.wanted), meant.wanted.reference
        if image is None:
            return None
        digests = image.digests
        root = await self.spool.find(reference if isinstance(reference, Digest) else digests[0])
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

    async def _read(self, name: Name, meant: _Meant) -> ExternalImage:
        """Read an artifact into the spool, unless that was done meanwhile for another of its images."""
        artifact, known, wanted = meant
        began = time.monotonic()
        async with known.reading, self._turns, self.spool.parts() as parts:
            if image := await self._cached(name, meant):
                return image
            try:
                work = partial(unpack_artifact, wanted, artifact.digest, known, parts)
                unpacked, file = await self._in_thread(artifact, work)
                found = await run_in_thread(images, unpacked.contents)
            except TarballInvalid as error:
                await self._refuse(meant, error)
                raise
            parts_of_all = [part for each in found for part in each.parts]
            for digest in {digest for each in parts_of_all for digest in each.blobs}:
                await self.spool.commit([name], unpacked.parts[digest])
            manifests = {digest: manifest for each in parts_of_all for digest, manifest in each.manifests.items()}
            for digest, manifest in manifests.items():  # images may share them
                await self.spool.keep_manifest(name, digest, manifest)
            known.images[file] = ReadImage.all_of(found)
        self.events.emit(ReadExternal(artifact.name, str(name), artifact.size, time.monotonic() - began))
        if image := await self._cached(name, meant):
            return image
        raise TarballInvalid("what was read of it is gone from the disk; try again")

    async def _refuse(self, meant: _Meant, error: TarballInvalid) -> None:
        """Remember that an artifact is no image. Raise UnreadableArtifact if it has arrived damaged."""
        artifact, known, wanted = meant
        if artifact.digest:
            try:
                await self._in_thread(artifact, lambda file: Hashed(file).check(artifact.digest))
            except UnreadableArtifact:
                known.choice = None
                raise
        known.refuse(wanted, error)

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
