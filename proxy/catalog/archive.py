"""Artifacts whose index was read: what they contain, for which reference, and where else the same bytes are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from proxy.archive.index import TAIL, ArchiveInvalid, Index, decode, metadata_length
from proxy.artifacts.base import Artifact, ArtifactStore, Body, CopySource, Indexed
from proxy.artifacts.naming import Naming, meanings
from proxy.artifacts.ranking import order
from proxy.artifacts.zipped_file import is_zip, unzipped
from proxy.blob import Blob, Verification
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, parse_label
from proxy.runtime.files import Source
from proxy.runtime.tasks import run_in_thread

LEAST_COPIED = 1024 * 1024  # bytes; sending less is as fast as asking the storage to copy it


class ArchiveBody(Body, Indexed, Protocol):
    """An archive that can be stored."""


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
        """Bytes of the archive itself; what a server lists may be another size, on act that of a folder."""
        return self.source.size

    def has(self, digest: Digest) -> bool:
        """Return whether a pull can try this content: what a remote store sent damaged may come whole next time."""
        return digest in self.index.blobs and not (self.source.is_local and digest in self.findings.corrupt)

    def is_sound(self, digest: Digest) -> bool:
        """Return whether it has this content, undamaged as far as is known; if not, a push has to send it again."""
        return digest in self.index.blobs and digest not in self.findings.corrupt

    @property
    def manifests(self) -> list[Digest]:
        """The digests of its manifests, that of the root first."""
        return [self.index.root, *(each for each, entry in self.index.blobs.items() if entry.media_type)]

    def interim(self, now: datetime, most: float) -> float:
        """Return for how many seconds, at most `most`, an index may still replace it; 0 if it is meant to stay."""
        age = (now - self.artifact.created).total_seconds()
        return min(most, max(0.0, most - age)) if self.index.interim else 0.0

    def awaits_index(self, newest: "Archive", now: datetime, most: float) -> bool:
        """Return whether it may be a step of a push whose index, which needs it, is still to come.

        That is not the case once something else than a step is the newest of the tag, or the last step is older.
        """
        return bool(self.index.interim) and newest.interim(now, most) > 0

    def continues(self, before: "Archive") -> bool:
        """Return whether an older archive of the same tag was a step of the push of this one, which has all of it."""
        same = (before.name, before.reference) == (self.name, self.reference)
        step = before.index.interim or before.index.root == self.index.root
        whole = before.index.blobs.keys() <= self.index.blobs.keys()
        return bool(same and step and whole and order(before.artifact) < order(self.artifact))

    def blob(self, digest: Digest) -> Blob | None:
        """Return content of this archive, be it a manifest or a blob; None if it has none, or damaged."""
        entry = self.index.blobs.get(digest)
        if entry is None or not self.has(digest):
            return None
        place = (self.source, entry.offset)
        return Blob(digest, entry.size, entry.pieces, *place, entry.media_type, self.findings, entry.crc64)


@dataclass(frozen=True, slots=True)
class Copies:
    """Where the storage has the stored bytes of a blob, as archives and offsets, and the CRC-64/NVME of its pieces."""

    crc64: bytes
    sources: tuple[tuple[CopySource, int], ...]


def copies(blobs: Mapping[Digest, Blob], archives: Sequence[Archive]) -> dict[Digest, Copies]:
    """Return for large blobs which archives have exactly their pieces, with their checksums or else with its own."""
    large = {digest: blob for digest, blob in blobs.items() if blob.stored >= LEAST_COPIED}
    found = {digest: _copies(blob, archives) for digest, blob in large.items()}
    return {digest: where for digest, where in found.items() if where}


def _copies(blob: Blob, archives: Sequence[Archive]) -> Copies | None:
    crc64, sources = blob.crc64, list[tuple[CopySource, int]]()
    for archive in archives:
        entry = archive.index.blobs.get(blob.digest)
        if not (entry and entry.crc64 and entry.pieces == blob.pieces and archive.is_sound(blob.digest)):
            continue
        if isinstance(archive.source, CopySource) and crc64 in {None, entry.crc64}:
            crc64 = entry.crc64
            sources.append((archive.source, entry.offset))
    return Copies(crc64, tuple(sources)) if crc64 and sources else None


async def read(store: ArtifactStore, naming: Naming, artifact: Artifact, folder: Path | None) -> Archive | None:
    """Open an artifact and read its index; return None if it is no archive of a reference.

    An archive in a zip that somebody else made is unpacked to `folder`. Raise ArtifactGone, ArchiveInvalid if it is no
    archive or a damaged one, StoreRefused or OSError if it cannot be read.
    """
    source: Source = await store.open(artifact)
    try:
        index = await _index(source)
    except ArchiveInvalid:
        if not await is_zip(source):
            raise
        source = await unzipped(source, artifact, folder)
        index = await _index(source)
    plain, inside = meanings(artifact.name), [parse_label(text) for text in index.references]
    named = [found for each in plain if (found := naming.decode(each))]
    # The index decides where the name has two meanings; a shortened name has to be that of a reference in the index.
    confirmed = [each for each in named if each in inside] or named
    reference = next(iter(confirmed or [each for each in inside if naming.encode(*each) in plain]), None)
    return Archive(artifact, source, index, *reference) if reference else None


async def _index(source: Source) -> Index:
    """Read the index at the end of an archive: in one read, or in a second one if the metadata are larger."""
    size = source.size
    tail = await source.read(max(0, size - TAIL), size, bytes)
    length = metadata_length(tail)
    if length > len(tail):
        tail = await source.read(max(0, size - length), size, bytes)
    return await run_in_thread(decode, tail, size)
