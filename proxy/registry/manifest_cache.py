"""Manifests that were served, at hand in memory for as long as nothing changes: engines ask for one again and again."""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from proxy.blob import Blob
from proxy.catalog.catalog import Catalog
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.files import InMemory

_MOST = 256  # manifests
_LARGEST = 16 * 1024  # bytes of one; a manifest of 80 layers


class _Cached(NamedTuple):
    """A manifest, and the version of the catalog in which it answers."""

    blob: Blob
    content: bytes
    version: int


@dataclass(frozen=True, slots=True)
class ManifestCache:
    """Holds the manifests that were served last."""

    catalog: Catalog
    _held: OrderedDict[tuple[Name, Tag | Digest], _Cached] = field(default_factory=OrderedDict, repr=False)

    def find(self, name: Name, reference: Tag | Digest) -> tuple[Blob, bytes] | None:
        """Return the manifest that answers for a reference; None if it has to be looked up."""
        answer = self._held.get((name, reference))
        if answer is None or answer.version != self.catalog.version(fresh=isinstance(reference, Tag)):
            return None
        if answer.blob.digest in answer.blob.findings.corrupt:
            return None
        self._held.move_to_end((name, reference))
        return answer.blob, answer.content

    def keep(self, name: Name, reference: Tag | Digest, blob: Blob, content: bytes, version: int | None) -> None:
        """Hold a manifest if it is in an archive; `version` is that of the catalog before it was looked up."""
        if version is None or len(content) > _LARGEST or not self.catalog.holds(name, blob):
            return
        here = replace(blob, source=InMemory(content), offset=0)  # not the file: it may be replaced
        self._held[name, reference] = _Cached(here, content, version)
        self._held.move_to_end((name, reference))
        if len(self._held) > _MOST:
            self._held.popitem(last=False)
