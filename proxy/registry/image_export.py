"""Images as tarballs for `docker load`: what an archive holds, put together anew while it is sent, and checked.

As it is stored, in zstd, nothing is decompressed; as a plain tar, for engines older than Docker 23, or in gzip, it is.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import Enum

from isal import isal_zlib

from proxy.archive import loading
from proxy.archive.frames import decompress
from proxy.archive.layout import Copy, Image, Literal, lay_out, lay_out_tar
from proxy.archive.limits import PIECE
from proxy.blob import Blob, read_plain, read_proven
from proxy.errors import ManifestUnknown, Unsupported
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, escape, label
from proxy.registry.downloads import Downloads
from proxy.registry.lookup import Lookup
from proxy.registry.platforms import Choice
from proxy.registry.sealing import Tree, gather
from proxy.runtime.tasks import run_in_thread

_AT_ONCE = 8  # tarballs on their way out
_GZIP_LEVEL = 1  # ISA-L's; there it takes a tenth of the time of the default
_GZIP = 31  # window bits of a stream with the header of gzip (zlib's manual, `deflateInit2`)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that is asked for, and what it is to be called after loading."""

    name: Name
    reference: Tag | Digest
    names: tuple[str, ...]


class Compression(Enum):
    """How a tarball is compressed, and how a file of that kind ends."""

    NONE = ""
    GZIP = ".gz"
    ZSTD = ".zst"


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image in a tarball; `size` in plain bytes."""

    reference: str
    digest: Digest
    size: int
    blobs: int


@dataclass(frozen=True, slots=True)
class Tarball:
    """A file on its way out: its name, its size in bytes if that is known beforehand, and which images are in it."""

    file: str
    size: int | None
    images: tuple[ExportedImage, ...]
    compression: Compression
    segments: tuple[Literal | Copy, ...]
    blobs: dict[Digest, Blob]
    downloads: Downloads
    obstacles: tuple[str, ...] = ()

    def check_loadable(self) -> None:
        """Raise Unsupported for what no engine can load."""
        if self.obstacles:
            raise Unsupported(self.obstacles[0])

    def parts(self) -> AsyncGenerator[bytes | memoryview]:
        """Yield the bytes in order. Raise ContentDamaged before the end if content is damaged."""
        if self.compression is Compression.ZSTD:
            return self._stored()
        return self._plain() if self.compression is Compression.NONE else self._gzipped()

    async def _stored(self) -> AsyncGenerator[bytes | memoryview]:
        for segment in self.segments:
            if isinstance(segment, Literal):
                yield segment.content
                continue
            blob = await self.downloads.cached(self.blobs[segment.digest])
            async with aclosing(read_proven(blob, self.downloads.memory)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _plain(self) -> AsyncGenerator[bytes | memoryview]:
        for segment in self.segments:
            if isinstance(segment, Literal):
                yield _unpacked(segment)
                continue
            blob = await self.downloads.cached(self.blobs[segment.digest])
            async with aclosing(read_plain(blob, 0, blob.size, self.downloads.memory)) as pieces:
                async for views in pieces:
                    for view in views:
                        yield view

    async def _gzipped(self) -> AsyncGenerator[bytes | memoryview]:
        packer = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
        async for part in self._plain():
            if packed := await run_in_thread(packer.compress, part):
                yield packed
        yield await run_in_thread(packer.flush)


def _unpacked(segment: Literal) -> bytes:
    return decompress(segment.content, PIECE)


@dataclass(frozen=True, slots=True)
class ImageExport:
    """Makes tarballs of what there is; whoever sends one takes one of the `turns`, since it holds some pieces."""

    lookup: Lookup
    downloads: Downloads
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def tarball(
        self, wanted: Sequence[Wanted], compression: Compression, choice: Choice | None = None
    ) -> Tarball:
        """Return one tarball of one or several images, of an index all of it or what is chosen.

        Raise ManifestUnknown if an image, or a child of its index, is not there.
        """
        blobs: dict[Digest, Blob] = {}
        images, exported, obstacles = [], [], list[str]()
        for each in wanted:
            tree = await self._tree(each, choice)
            blobs |= tree.blobs
            root = next(iter(tree.contents))
            tag = each.reference if isinstance(each.reference, Tag) else None
            images.append(Image(each.name, tag, root, tree.contents, each.names))
            size = sum(content.size for content in tree.contents.values())
            exported.append(ExportedImage(label(each.name, each.reference), root, size, len(tree.contents)))
            if why := loading.obstacle(root, images[-1].manifests, tree.contents.keys()):
                obstacles.append(f"{exported[-1].reference} is not an image that an engine can load ({why})")
        if len(images) == 1 and compression is Compression.ZSTD:  # the very file that is stored, under equal settings
            segments = (await run_in_thread(lay_out, images[0])).segments
        else:
            segments = await run_in_thread(lay_out_tar, images)
        one = f"{escape(wanted[0].name.text)}@{str(wanted[0].reference).replace(':', '+')}"
        file = f"{'images' if len(images) > 1 else one}.tar{compression.value}"
        total = _size(segments, blobs, compression)
        return Tarball(file, total, tuple(exported), compression, segments, blobs, self.downloads, tuple(obstacles))

    async def _tree(self, wanted: Wanted, choice: Choice | None) -> Tree:
        name = wanted.name
        blob = await self.lookup.manifest(name, wanted.reference)
        manifest = await self.lookup.parsed(blob)
        if choice:
            digest = await choice.of(self.lookup, name, manifest, label(name, wanted.reference))
            if digest != manifest.digest:
                blob = await self.lookup.manifest(name, digest)
                manifest = await self.lookup.parsed(blob)
        tree = await gather(self.lookup, name, blob.digest, manifest)
        if tree.missing:
            # an engine would load less than the image, or nothing, without a word
            absent = [f"{child.platform or 'no platform'} ({digest})" for digest, child in tree.missing.items()]
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            raise ManifestUnknown(
                f"{label(name, wanted.reference)} is incomplete: {absent[0]}{more} is missing; "
                "push it, or choose ?platform="
            )
        return tree


def _size(segments: Sequence[Literal | Copy], blobs: Mapping[Digest, Blob], compression: Compression) -> int | None:
    """Return the bytes of a tarball; None for gzip, where only compressing it tells."""
    match compression:
        case Compression.ZSTD:
            return sum(len(each.content) if isinstance(each, Literal) else each.length for each in segments)
        case Compression.NONE:
            return sum(
                len(_unpacked(each)) if isinstance(each, Literal) else blobs[each.digest].size for each in segments
            )
        case Compression.GZIP:
            return None
