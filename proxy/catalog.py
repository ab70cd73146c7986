"""Which artifact answers for a tag or a digest.

The store is listed at most every two seconds, and what this relay stores or deletes itself is known at once. Indexes
are read once per artifact id. Of several artifacts of one tag the newest answers; one without a sound index is passed
over. An archive that was replaced still answers for its digests while somebody pulls from it.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from proxy.archive.index import TAIL, ArchiveInvalid, Index, decode, metadata_length
from proxy.artifacts.base import Artifact, ArtifactGone, ArtifactStore, Body
from proxy.artifacts.naming import Naming, numbered
from proxy.content import Blob, Findings
from proxy.files import Source
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, parse_label
from proxy.offload import offload
from proxy.printing import printable

_log = logging.getLogger(__name__)
_FRESH = 2.0  # seconds for which one listing is good
_LINGER = 60.0  # seconds without a request after which a replaced archive is let go


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """An artifact whose index was read."""

    artifact: Artifact
    source: Source
    index: Index
    name: Name
    reference: Tag | Digest
    findings: Findings = field(default_factory=Findings, repr=False)

    def has(self, digest: Digest) -> bool:
        """Tell whether it holds this content, undamaged as far as is known."""
        return digest in self.index.blobs and digest not in self.findings.damaged

    def blob(self, digest: Digest) -> Blob | None:
        """Give content of this archive, whether manifest or blob."""
        entry = self.index.blobs.get(digest)
        if entry is None or not self.has(digest):
            return None
        return Blob(digest, entry.size, entry.pieces, self.source, entry.offset, entry.media_type, self.findings)

    @property
    def order(self) -> tuple[object, ...]:
        """Of artifacts of one tag the one with the greatest order answers."""
        return self.artifact.created, numbered(self.artifact.name).number, len(self.artifact.id), self.artifact.id


@dataclass(slots=True)
class _Replaced:
    archive: Archive
    used: float


class Catalog:
    """Looks up archives in one artifact store."""

    def __init__(self, store: ArtifactStore, naming: Naming) -> None:
        self._store = store
        self._naming = naming
        self._listed: dict[str, Artifact] = {}
        self._listed_at = float("-inf")
        self._listing = asyncio.Lock()
        self._changes = 0  # made by this relay so far
        self._archives: dict[str, Archive | None] = {}  # by artifact id; None for what is no archive
        self._replaced: list[_Replaced] = []

    # Looking up

    async def tagged(self, name: Name, tag: Tag) -> Archive | None:
        """Give the archive that answers for a tag."""
        wanted = self._naming.encode(name, tag)
        await self._refresh()
        candidates = [each for each in self._listed.values() if numbered(each.name).plain == wanted]
        return max(await self._opened(candidates), key=lambda archive: archive.order, default=None)

    async def of(self, name: Name) -> list[Archive]:
        """Give the archives of a repository that answer for something, the newest first."""
        await self._refresh()
        current: dict[Tag | Digest, Archive] = {}
        for archive in await self._opened(await self._candidates(name)):
            rival = current.get(archive.reference)
            if archive.name == name and (rival is None or rival.order < archive.order):
                current[archive.reference] = archive
        return sorted(current.values(), key=lambda archive: archive.order, reverse=True)

    async def every(self) -> list[Archive]:
        """Give all archives that answer for something, by name."""
        return [archive for name in await self.repositories() for archive in await self.of(name)]

    async def holding(self, name: Name, digest: Digest) -> Archive | None:
        """Give an archive of the repository that has this content, preferably one that has it as a manifest."""
        holders = [each for each in await self.of(name) if each.has(digest)]
        return min(holders, key=lambda each: each.index.blobs[digest].media_type is None, default=None)

    async def lingering(self, name: Name, digest: Digest) -> Archive | None:
        """Give an archive that was replaced a moment ago, and has this content."""
        for replaced in self._lingering():
            if replaced.archive.name == name and replaced.archive.has(digest):
                replaced.used = time.monotonic()
                return replaced.archive
        return None

    async def tags(self, name: Name) -> list[Tag]:
        """Give the tags of a repository, in ASCII order."""
        return sorted(archive.reference for archive in await self.of(name) if isinstance(archive.reference, Tag))

    async def repositories(self) -> list[Name]:
        """Give the repositories that have an archive, in ASCII order."""
        await self._refresh()
        names: set[Name] = set()
        for artifact in self._listed.values():
            if decoded := self._naming.decode(artifact.name):
                names.add(decoded[0])
        names |= {archive.name for archive in await self._opened(self._shortened())}
        return sorted(names)

    # Storing and deleting

    async def put(self, name: Name, reference: Tag | Digest, body: Body) -> Archive:
        """Store an archive; from now on it answers for its reference."""
        same = await self._same(name, reference)
        artifact = await self._store.put(self._naming.encode(name, reference), body)
        archive = await self._open(artifact)
        if archive is None:
            raise ArtifactGone(artifact.name)
        if self._store.replaces:
            before = [each for each in same if each.artifact.name == artifact.name]
            self._forget(before)
            self._replaced += [_Replaced(each, time.monotonic()) for each in before]
        self._listed[artifact.id] = artifact
        self._changes += 1
        return archive

    async def delete(self, archive: Archive) -> None:
        """Delete all artifacts of the reference that an archive has, the oldest first."""
        same = sorted(await self._same(archive.name, archive.reference), key=lambda each: each.order)
        for each in same:
            await self._store.delete(each.artifact)
            self._forget([each])
            self._changes += 1
        self._replaced = [
            each
            for each in self._replaced
            if (each.archive.name, each.archive.reference) != (archive.name, archive.reference)
        ]

    def let_go(self, name: Name, root: Digest) -> bool:
        """Let go at once of replaced archives that have this root; gives whether there were any."""
        let_go = [each for each in self._lingering() if (each.archive.name, each.archive.index.root) == (name, root)]
        self._replaced = [each for each in self._replaced if each not in let_go]
        return bool(let_go)

    def _forget(self, archives: Iterable[Archive]) -> None:
        for archive in archives:
            self._listed.pop(archive.artifact.id, None)
            self._archives.pop(archive.artifact.id, None)

    async def _same(self, name: Name, reference: Tag | Digest) -> list[Archive]:
        wanted = self._naming.encode(name, reference)
        await self._refresh()
        return await self._opened(each for each in self._listed.values() if numbered(each.name).plain == wanted)

    # Reading the store

    async def _refresh(self) -> None:
        async with self._listing:
            if time.monotonic() - self._listed_at < _FRESH:
                return
            self._listed = await self._current()
            self._listed_at = time.monotonic()
            self._archives = {key: value for key, value in self._archives.items() if key in self._listed}
            self._replaced = self._lingering()

    async def _current(self) -> dict[str, Artifact]:
        """List the store; again if this relay stored or deleted something meanwhile, which the listing may lack."""
        while True:
            changes = self._changes
            listed = await self._store.listed()
            if changes == self._changes:
                return {artifact.id: artifact for artifact in listed}

    def _lingering(self) -> list[_Replaced]:
        oldest = time.monotonic() - _LINGER
        return [replaced for replaced in self._replaced if replaced.used >= oldest]

    async def _candidates(self, name: Name) -> list[Artifact]:
        decoded = {artifact.id: self._naming.decode(artifact.name) for artifact in self._listed.values()}
        plain = [artifact for artifact in self._listed.values() if (found := decoded[artifact.id]) and found[0] == name]
        return plain + self._shortened()

    def _shortened(self) -> list[Artifact]:
        return [artifact for artifact in self._listed.values() if self._naming.may_be_shortened(artifact.name)]

    async def _opened(self, artifacts: Iterable[Artifact]) -> list[Archive]:
        return [archive for artifact in list(artifacts) if (archive := await self._open(artifact))]

    async def _open(self, artifact: Artifact) -> Archive | None:
        if artifact.id not in self._archives:
            self._archives[artifact.id] = await self._read(artifact)
        return self._archives[artifact.id]

    async def _read(self, artifact: Artifact) -> Archive | None:
        try:
            source = await self._store.open(artifact)
            index = await _index(source, artifact.size)
        except ArtifactGone:
            return None
        except ArchiveInvalid as error:
            if self._naming.decode(artifact.name) or self._naming.may_be_shortened(artifact.name):
                text = "%s.tar.zst is passed over: %s; push the image again or remove the file"
                _log.warning(text, printable(artifact.name), error)
            return None
        reference = self._naming.decode(artifact.name) or self._inside(index, artifact)
        return Archive(artifact, source, index, *reference) if reference else None

    def _inside(self, index: Index, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
        """Read the reference of an artifact whose name was shortened; its name has to confirm it."""
        for text in index.references:
            reference = parse_label(text)
            if self._naming.encode(*reference) == numbered(artifact.name).plain:
                return reference
        return None


async def _index(source: Source, size: int) -> Index:
    """Read the end of an archive once, and a second time exactly where the metadata are larger than that."""
    tail = await source.read(max(0, size - TAIL), size, bytes)
    length = metadata_length(tail)
    if length > len(tail):
        tail = await source.read(max(0, size - length), size, bytes)
    return await offload(decode, tail, size)
