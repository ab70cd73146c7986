"""Manifests that are in no artifact yet, without their bytes: those lie in files of the spool."""

from dataclasses import dataclass
from typing import Self

from proxy.archive.index import Entry
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Pending:
    """What has to be known of a pending manifest all the time: what it needs, and to what it refers."""

    entry: Entry
    named: frozenset[Digest]
    children: frozenset[Digest]
    subject: Digest | None

    @classmethod
    def of(cls, manifest: Manifest, entry: Entry) -> Self:
        """Keep of a manifest what is needed; `entry` tells how its bytes are stored."""
        children = frozenset(child.digest for child in manifest.children)
        subject = manifest.subject.digest if manifest.subject else None
        return cls(entry, manifest.named if manifest.blobs else children, children, subject)
