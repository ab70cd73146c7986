"""Turn a manifest and all it needs into the bytes of one archive.

Nothing is read twice and nothing is compressed again: pieces are copied as they are stored, each checked by its CRC.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from proxy.archive.layout import Content, Image, Literal, Plan, lay_out
from proxy.content import Blob, read_stored
from proxy.errors import ManifestBlobUnknown
from proxy.memory import Memory
from proxy.oci.digest import Digest
from proxy.oci.manifest import Descriptor, Manifest
from proxy.oci.names import Name, Tag
from proxy.offload import offload
from proxy.registry.lookup import Lookup
from proxy.store.spool import in_memory


@dataclass(slots=True)
class Tree:
    """A manifest and everything below it that the repository has, in the order in which it is named."""

    contents: dict[Digest, Content] = field(default_factory=dict)
    blobs: dict[Digest, Blob] = field(default_factory=dict)

    def add(self, blob: Blob, manifest: Manifest | None = None) -> None:
        """Take content in; `manifest` if it is one."""
        self.blobs[blob.digest] = blob
        self.contents[blob.digest] = Content(blob.digest, blob.size, blob.pieces, manifest)


@dataclass(frozen=True, slots=True)
class Body:
    """The archive as a file to be (`artifacts.base.Body`)."""

    plan: Plan
    blobs: dict[Digest, Blob]
    memory: Memory

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.plan.size

    async def parts(self) -> AsyncIterator[bytes]:
        """Give the bytes in order, a piece at a time."""
        for segment in self.plan.segments:
            if isinstance(segment, Literal):
                yield segment.content
                continue
            async with aclosing(read_stored(self.blobs[segment.digest], self.memory)) as pieces:
                async for piece in pieces:
                    yield piece

    def proven(self) -> set[Digest]:
        """Name the blobs whose digest this process has checked."""
        return {digest for digest, blob in self.blobs.items() if digest in blob.findings.proven}


async def gather(lookup: Lookup, name: Name, digest: Digest, manifest: Manifest) -> Tree:
    """Walk down from a manifest; what is missing and may not be is MANIFEST_BLOB_UNKNOWN."""
    tree = Tree()
    tree.add(in_memory(digest, manifest, lookup.level), manifest)
    waiting = [manifest]
    while waiting:
        parent = waiting.pop(0)
        for descriptor in parent.blobs:
            if descriptor.digest not in tree.blobs and (blob := await present(lookup, name, descriptor)):
                tree.add(blob)
        for descriptor in parent.children:
            if descriptor.digest in tree.blobs or not (blob := await lookup.find(name, descriptor.digest)):
                continue  # a sparse index: the child may be absent
            child = await lookup.parsed(blob) if blob.media_type else None
            tree.add(blob, child)
            waiting += [child] if child else []
    return tree


async def present(lookup: Lookup, name: Name, descriptor: Descriptor) -> Blob | None:
    """Give the blob that a manifest names; None only if it is one that may be absent."""
    blob = await lookup.find(name, descriptor.digest)
    if blob is None and not descriptor.may_be_absent:
        raise ManifestBlobUnknown(f"{name} has no blob {descriptor.digest}; push it before its manifest")
    return blob


async def body_of(
    tree: Tree, name: Name, reference: Tag | Digest, root: Digest, public_host: str, memory: Memory
) -> Body:
    """Lay an archive out."""
    tag = reference if isinstance(reference, Tag) else None
    image = Image(name, tag, root, tree.contents, {}, public_host)
    return Body(await offload(lay_out, image), tree.blobs, memory)
