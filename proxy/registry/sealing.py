"""Turn a manifest and all it needs into the bytes of one archive.

Nothing is read twice and nothing is compressed again: pieces are copied as they are stored, each checked by its CRC.
"""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from isal.isal_zlib import crc32, crc32_combine

from proxy.archive.index import Index
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
    """A manifest and everything below it that the repository has, in the order in which it is named.

    `missing` are children of an index that nobody has: a registry takes such a sparse index, an engine cannot load it.
    """

    contents: dict[Digest, Content] = field(default_factory=dict)
    blobs: dict[Digest, Blob] = field(default_factory=dict)
    missing: dict[Digest, Descriptor] = field(default_factory=dict)

    def add(self, blob: Blob, manifest: Manifest | None = None) -> None:
        """Take content in; `manifest` if it is one."""
        self.blobs[blob.digest] = blob
        self.contents[blob.digest] = Content(blob.digest, blob.size, blob.pieces, manifest)


@dataclass(frozen=True, slots=True)
class Body:
    """The archive as a file to be (`catalog.Sealed`)."""

    plan: Plan
    blobs: dict[Digest, Blob]
    memory: Memory

    @property
    def index(self) -> Index:
        """What is in it, and where."""
        return self.plan.index

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.plan.size

    @property
    def crc(self) -> int:
        """CRC-32 of the whole file, from those of its pieces: nothing is read for it."""
        total = 0
        for segment in self.plan.segments:
            if isinstance(segment, Literal):
                total = crc32(segment.content, total)
                continue
            for piece in self.blobs[segment.digest].pieces:
                total = crc32_combine(total, piece.crc, piece.stored)
        return total

    async def parts(self) -> AsyncGenerator[bytes]:
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
    """Walk down from a manifest and take in all that it names; a blob that is missing is MANIFEST_BLOB_UNKNOWN."""
    tree = Tree()
    tree.add(in_memory(digest, manifest, lookup.level), manifest)
    waiting = deque([manifest])
    while waiting:
        parent = waiting.popleft()
        for descriptor in parent.blobs:
            if descriptor.digest not in tree.blobs and (blob := await present(lookup, name, descriptor)):
                tree.add(blob)
        for descriptor in parent.children:
            if descriptor.digest not in tree.blobs:
                waiting += await _child(lookup, name, descriptor, tree)
    return tree


async def _child(lookup: Lookup, name: Name, descriptor: Descriptor, tree: Tree) -> list[Manifest]:
    """Take a child of an index in; return it if it is a manifest, which has to be walked down from."""
    blob = await lookup.find(name, descriptor.digest)
    if blob is None:
        tree.missing[descriptor.digest] = descriptor
        return []
    child = await lookup.parsed(blob) if blob.media_type else None
    tree.add(blob, child)
    return [child] if child else []


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
    image = Image(name, tag, root, tree.contents, public_host)
    return Body(await offload(lay_out, image), tree.blobs, memory)
