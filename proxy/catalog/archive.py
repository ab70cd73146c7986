"""Artifacts whose index was read: what is in them, for which reference, and which of several comes first."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from proxy.archive.index import TAIL, ArchiveInvalid, Index, decode, metadata_length
from proxy.artifacts.actions.zipped_file import is_zip, unzipped
from proxy.artifacts.base import Artifact, ArtifactStore, Body, CopySource
from proxy.artifacts.naming import Naming, meanings
from proxy.artifacts.ranking import order
from proxy.blob import Blob, Verification
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, parse_label
from proxy.runtime.files import Source
from proxy.runtime.tasks import run_in_thread

LEAST_COPIED = 1024 * 1024  # bytes; what is smaller is sent as fast as storage is asked to copy it


class ArchiveBody(Body, Protocol):
    """An archive to be, of which all is known."""

    @property
    def index(self) -> Index:
        """What is in it, and where."""


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """An artifact whose index was read."""

    artifact: Artifact
    source: Source
    index: Index
    name: Name
    reference: Tag | Digest
    findings: Verification = field(default_factory=Verification, repr=False)

    @property
    def size(self) -> int:
        """Bytes of the archive itself: what a server lists may be something else, on act the size of a folder."""
        return self.source.size

    def has(self, digest: Digest) -> bool:
        """Tell whether a pull can try this content: what came damaged from far away may come whole next time."""
        return digest in self.index.blobs and not (self.source.is_local and digest in self.findings.corrupt)

    def is_sound(self, digest: Digest) -> bool:
        """Tell whether it holds this content, undamaged as far as is known: else a push has to send it again."""
        return digest in self.index.blobs and digest not in self.findings.corrupt

    @property
    def manifests(self) -> list[Digest]:
        """Return the digests of the root and of the other manifests in it."""
        return [self.index.root, *(each for each, entry in self.index.blobs.items() if entry.media_type)]

    def interim(self, now: datetime, most: float) -> float:
        """Return for how many seconds, `most` at most, an index may still take its place; 0 if it is meant to stay."""
        age = (now - self.artifact.created).total_seconds()
        return min(most, max(0.0, most - age)) if self.index.interim else 0.0

    def continues(self, before: "Archive") -> bool:
        """Return whether another archive was a step on the way to this one: older, under its tag, and all in it."""
        same = (before.name, before.reference) == (self.name, self.reference)
        step = before.index.interim or before.index.root == self.index.root
        whole = before.index.blobs.keys() <= self.index.blobs.keys()
        return bool(same and step and whole and order(before.artifact) < order(self.artifact))

    def blob(self, digest: Digest) -> Blob | None:
        """Give content of this archive, whether manifest or blob."""
        entry = self.index.blobs.get(digest)
        if entry is None or not self.has(digest):
            return None
        place = (self.source, entry.offset)
        return Blob(digest, entry.size, entry.pieces, *place, entry.media_type, self.findings, entry.crc64)


@dataclass(frozen=True, slots=True)
class Copies:
    """Where in storage the stored bytes of a blob are: archives and offsets; the CRC-64/NVME of its pieces."""

    crc64: bytes
    sources: tuple[tuple[CopySource, int], ...]


def copies(blob: Blob, archives: Iterable[Archive]) -> Copies | None:
    """Return in which archives the very pieces of a blob are, with its checksums or else theirs; None if in none."""
    crc64, sources = blob.crc64, list[tuple[CopySource, int]]()
    for archive in archives:
        entry = archive.index.blobs.get(blob.digest)
        if not (entry and entry.crc64 and entry.pieces == blob.pieces and archive.is_sound(blob.digest)):
            continue
        if isinstance(archive.source, CopySource) and crc64 in {None, entry.crc64}:
            crc64 = entry.crc64
            sources.append((archive.source, entry.offset))
    return Copies(crc64, tuple(sources)) if crc64 and sources else None


@dataclass(slots=True)
class Replaced:
    """An archive whose place another one took, and when somebody asked for it last (monotonic seconds)."""

    archive: Archive
    used: float


async def read(store: ArtifactStore, naming: Naming, artifact: Artifact, folder: Path | None) -> Archive | None:
    """Open an artifact and read its index; None for what is no archive of a reference.

    What somebody else has zipped is unpacked to `folder`. Raise ArtifactGone, ArchiveInvalid for what is no archive or
    a damaged one, StoreRefused or OSError if it cannot be read.
    """
    source: Source = await store.open(artifact)
    try:
        index = await _index(source)
    except ArchiveInvalid:
        if not await is_zip(source):
            raise
        source = await unzipped(source, artifact, folder)
        index = await _index(source)
    reference = _reference(naming, index, artifact)
    return Archive(artifact, source, index, *reference) if reference else None


def _reference(naming: Naming, index: Index, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
    """Read a reference off the name of an artifact; the index confirms it, and decides where the name has two meanings.

    A name that was shortened has to be that of a reference inside.
    """
    plain = meanings(artifact.name)
    inside = [parse_label(text) for text in index.references]
    named = [found for each in plain if (found := naming.decode(each))]
    confirmed = [each for each in named if each in inside] or named
    return next(iter(confirmed or [each for each in inside if naming.encode(*each) in plain]), None)


async def _index(source: Source) -> Index:
    """Read the end of an archive once, and a second time exactly where the metadata are larger than that."""
    size = source.size
    tail = await source.read(max(0, size - TAIL), size, bytes)
    length = metadata_length(tail)
    if length > len(tail):
        tail = await source.read(max(0, size - length), size, bytes)
    return await run_in_thread(decode, tail, size)
