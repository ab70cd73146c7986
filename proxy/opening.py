"""Artifacts whose index was read: what is in them, for which reference, and which of several comes first."""

import logging
from dataclasses import dataclass, field
from typing import Protocol

from proxy.archive.index import TAIL, ArchiveInvalid, Index, decode, metadata_length
from proxy.artifacts.base import Artifact, ArtifactStore, Body
from proxy.artifacts.naming import Naming, numbered
from proxy.content import Blob, Findings
from proxy.files import Source
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, parse_label
from proxy.offload import offload
from proxy.printing import printable

_log = logging.getLogger(__name__)


class Sealed(Body, Protocol):
    """An archive to be, of which all is known."""

    @property
    def index(self) -> Index:
        """What is in it, and where."""


def order(artifact: Artifact) -> tuple[object, ...]:
    """Of artifacts of one reference the one with the greatest order answers."""
    return artifact.created, numbered(artifact.name).number, len(artifact.id), artifact.id


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """An artifact whose index was read."""

    artifact: Artifact
    source: Source
    index: Index
    name: Name
    reference: Tag | Digest
    findings: Findings = field(default_factory=Findings, repr=False)

    @property
    def size(self) -> int:
        """Bytes of the archive itself: what a server lists may be something else, on act the size of a folder."""
        return self.source.size

    def has(self, digest: Digest) -> bool:
        """Tell whether a pull can try this content: what came damaged from far away may come whole next time."""
        return digest in self.index.blobs and not (self.source.local and digest in self.findings.damaged)

    def is_sound(self, digest: Digest) -> bool:
        """Tell whether it holds this content, undamaged as far as is known: else a push has to send it again."""
        return digest in self.index.blobs and digest not in self.findings.damaged

    def blob(self, digest: Digest) -> Blob | None:
        """Give content of this archive, whether manifest or blob."""
        entry = self.index.blobs.get(digest)
        if entry is None or not self.has(digest):
            return None
        return Blob(digest, entry.size, entry.pieces, self.source, entry.offset, entry.media_type, self.findings)


@dataclass(slots=True)
class Replaced:
    """An archive whose place another one took, and when somebody asked for it last (monotonic seconds)."""

    archive: Archive
    used: float


async def read(store: ArtifactStore, naming: Naming, artifact: Artifact) -> Archive | None:
    """Open an artifact and read its index; None for what is no archive of a reference. ArtifactGone."""
    problem = ArchiveInvalid()
    for _ in range(2 if store.far else 1):  # what came from far away may have been damaged on its way
        source = await store.open(artifact)
        try:
            index = await _index(source)
        except ArchiveInvalid as error:
            problem = error
            continue
        reference = naming.decode(artifact.name) or _inside(naming, index, artifact)
        return Archive(artifact, source, index, *reference) if reference else None
    if naming.decode(artifact.name) or naming.may_be_shortened(artifact.name):
        name = printable(artifact.name)
        _log.warning("%s is passed over: %s; push the image again or remove it", name, problem)
    return None


def _inside(naming: Naming, index: Index, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
    """Read the reference of an artifact whose name was shortened; its name has to confirm it."""
    for text in index.references:
        reference = parse_label(text)
        if naming.encode(*reference) == numbered(artifact.name).plain:
            return reference
    return None


async def _index(source: Source) -> Index:
    """Read the end of an archive once, and a second time exactly where the metadata are larger than that."""
    size = source.size
    tail = await source.read(max(0, size - TAIL), size, bytes)
    length = metadata_length(tail)
    if length > len(tail):
        tail = await source.read(max(0, size - length), size, bytes)
    return await offload(decode, tail, size)
