"""Turn a manifest and all that it needs into the bytes of one archive.

Nothing is read twice or compressed again: pieces are copied as they are stored, and each is checked by its CRC.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from isal.isal_zlib import crc32, crc32_combine

from proxy.archive.crc64 import joined
from proxy.archive.index import Index
from proxy.archive.layout import Content, Image, Literal, Plan, lay_out
from proxy.archive.loading import names
from proxy.artifacts.base import MayBeInside, StoreRefused, Stretch
from proxy.blob import Blob, cut, read_stored
from proxy.catalog.archive import LEAST_COPIED, Copies
from proxy.errors import ManifestBlobUnknown
from proxy.oci.digest import Digest
from proxy.oci.manifest import Descriptor, Manifest
from proxy.oci.names import Name, Tag
from proxy.registry.lookup import Lookup
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blob_file import in_memory

_MOST_COPIED = 100 * 1024 * 1024  # bytes that storage copies with one request (Put Block From URL)


@dataclass(slots=True)
class Tree:
    """A manifest and everything below it that the repository has, in the order in which manifests name it.

    `missing` are the children of an index that are not there: a registry accepts such a sparse index, but an engine
    cannot load it.
    """

    contents: dict[Digest, Content] = field(default_factory=dict)
    blobs: dict[Digest, Blob] = field(default_factory=dict)
    missing: dict[Digest, Descriptor] = field(default_factory=dict)

    def add(self, blob: Blob, manifest: Manifest | None = None) -> None:
        """Add content, with its parsed form if it is a manifest."""
        self.blobs[blob.digest] = blob
        self.contents[blob.digest] = Content(blob.digest, blob.size, blob.pieces, manifest, blob.crc64)


@dataclass(frozen=True, slots=True)
class SealedBody:
    """The bytes of an archive that is not stored yet (`catalog.ArchiveBody`).

    `find` returns where artifacts of the run already have the stored bytes of blobs.
    """

    plan: Plan
    blobs: dict[Digest, Blob]
    memory: MemoryBudget
    find: Callable[[Mapping[Digest, Blob]], Awaitable[Mapping[Digest, Copies]]]
    _copied: set[Digest] = field(
        default_factory=set
    )  # storage may have copied these: this process has not seen their bytes

    @property
    def index(self) -> Index:
        """The index of the archive."""
        return self.plan.index

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.plan.size

    @property
    def crc(self) -> int:
        """CRC-32 of the whole file, computed from those of its pieces without reading them."""
        total = 0
        for segment in self.plan.segments:
            if isinstance(segment, Literal):
                total = crc32(segment.content, total)
                continue
            for piece in self.blobs[segment.digest].pieces:
                total = crc32_combine(total, piece.crc, piece.stored)
        return total

    async def parts(self) -> AsyncGenerator[bytes]:
        """Yield the bytes in order, a piece at a time."""
        for segment in self.plan.segments:
            if isinstance(segment, Literal):
                yield segment.content
                continue
            async with aclosing(read_stored(self.blobs[segment.digest], self.memory)) as pieces:
                async for piece in pieces:
                    yield piece

    async def stretches(self) -> AsyncGenerator[bytes | Stretch]:
        """Yield the bytes in order; large parts that the run already has are stretches, which storage may copy."""
        copies = await self.find(self.blobs)
        self._copied.update(copies)
        for segment in self.plan.segments:
            if isinstance(segment, Literal):
                yield segment.content
                continue
            blob, same = self.blobs[segment.digest], copies.get(segment.digest)
            for part in cut(replace(blob, crc64=same.crc64), _MOST_COPIED) if same else [blob]:
                if same and part.stored >= LEAST_COPIED:
                    at = part.offset - blob.offset
                    yield Stretch(
                        length=part.stored,
                        crc64=joined(part.crc64 or b"", [piece.stored for piece in part.pieces]),
                        sources=tuple((source, offset + at) for source, offset in same.sources),
                        local=part.source.is_local,
                        parts=partial(read_stored, part, self.memory),
                    )
                    continue
                async with aclosing(read_stored(part, self.memory)) as pieces:
                    async for piece in pieces:
                        yield piece

    def proven(self) -> set[Digest]:
        """Return the blobs whose digest this process has verified over the bytes that it sent."""
        return {digest for digest, blob in self.blobs.items() if digest in blob.findings.verified} - self._copied


async def gather(
    lookup: Lookup, name: Name, digest: Digest, manifest: Manifest, found: MutableMapping[Digest, Blob] | None = None
) -> Tree:
    """Return a manifest with all that it names, at any depth. Raise ManifestBlobUnknown if a blob is missing.

    Blobs of `found`, which the caller has looked up already, are taken out of it.
    """
    tree, found = Tree(), {} if found is None else found
    tree.add(in_memory(digest, manifest, lookup.level), manifest)
    waiting = deque([manifest])
    while waiting:
        parent = waiting.popleft()
        for descriptor in parent.blobs:
            if descriptor.digest in tree.blobs:
                continue
            if blob := found.pop(descriptor.digest, None) or await present(lookup, name, descriptor):
                tree.add(blob)
        for descriptor in parent.children:
            if descriptor.digest in tree.blobs:
                continue
            # raises if in doubt: better no artifact than a hollow one
            blob = await find_child(lookup, name, descriptor.digest, anew=not tree.missing)
            if blob is None:
                tree.missing[descriptor.digest] = descriptor
                continue
            child = await lookup.parsed(blob) if blob.media_type else None
            tree.add(blob, child)
            waiting.extend([child] if child else [])
    return tree


async def find_child(lookup: Lookup, name: Name, digest: Digest, *, anew: bool) -> Blob | None:
    """Return what an index names, if it is there: also in a new listing, since another job may have just pushed it."""
    blob = await lookup.find(name, digest)
    if blob is None and anew:
        lookup.catalog.forget_listing()
        blob = await lookup.find(name, digest)
    return blob


async def present(lookup: Lookup, name: Name, descriptor: Descriptor) -> Blob | None:
    """Return the blob that a manifest names; None if it is missing and may be. Raise ManifestBlobUnknown."""
    try:
        blob = await lookup.find(name, descriptor.digest)
    except MayBeInside:
        if not descriptor.may_be_absent:
            raise
        blob = None
    if blob is None and not descriptor.may_be_absent:
        with suppress(StoreRefused):  # what was read there before may be forgotten by now
            blob = await lookup.elsewhere.find(name, descriptor.digest)
    if blob is None and not descriptor.may_be_absent:
        raise ManifestBlobUnknown(f"{name} has no blob {descriptor.digest}; push it before its manifest")
    return blob


async def body_of(
    tree: Tree, name: Name, reference: Tag | Digest, public_host: str, lookup: Lookup, memory: MemoryBudget
) -> SealedBody:
    """Return the bytes of the archive of a tree."""
    tag, root = reference if isinstance(reference, Tag) else None, next(iter(tree.contents))
    siblings = lookup.catalog.siblings(name)
    image = Image(name, tag, root, tree.contents, names(name, tag, public_host), siblings)
    return SealedBody(await run_in_thread(lay_out, image), tree.blobs, memory, lookup.copies)
