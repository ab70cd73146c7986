"""Send images as tarballs for `docker load`: the content of archives, laid out again and checked while it is sent.

In zstd the content is sent as it is stored. It is decompressed for a plain tar, which engines before Docker 23 need,
and for gzip.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
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
from proxy.registry.platforms import PlatformChoice
from proxy.registry.sealing import Tree, gather
from proxy.runtime.tasks import run_in_thread

_AT_ONCE = 32  # tarballs that are sent side by side; each holds a piece, also while its client reads nothing
_GZIP_LEVEL = 1  # ISA-L's; there it takes a tenth of the time of the default
_GZIP = 31  # window bits of a stream with the header of gzip (zlib's manual, `deflateInit2`)


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """An image that is requested, and the names that it gets when it is loaded."""

    name: Name
    reference: Tag | Digest
    names: tuple[str, ...]


class Compression(Enum):
    """How a tarball is compressed, with the suffix of such a file."""

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
    origin: str = ""  # in words, if it is not from here


@dataclass(frozen=True, slots=True)
class Tarball:
    """A tarball to be sent: the name of its file, the images in it, and where their bytes come from.

    `obstacles` says why engines cannot load it, image by image.
    """

    file: str
    images: tuple[ExportedImage, ...]
    compression: Compression
    segments: tuple[Literal | Copy, ...]
    blobs: dict[Digest, Blob]
    downloads: Downloads
    obstacles: tuple[str, ...] = ()

    def check_loadable(self) -> None:
        """Raise Unsupported if no engine can load it."""
        if self.obstacles:
            raise Unsupported(self.obstacles[0])

    @property
    def size(self) -> int | None:
        """Bytes of the file; None for gzip, whose size is only known after compressing."""
        if self.compression is Compression.GZIP:
            return None
        if self.compression is Compression.ZSTD:
            return sum(len(each.content) if isinstance(each, Literal) else each.length for each in self.segments)
        return sum(
            len(_plain(each)) if isinstance(each, Literal) else self.blobs[each.digest].size for each in self.segments
        )

    async def parts(self) -> AsyncGenerator[bytes | memoryview]:
        """Yield the bytes in order. Raise ContentDamaged before the end if content is damaged."""
        if self.compression is Compression.GZIP:
            packer = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP)
            async with aclosing(replace(self, compression=Compression.NONE).parts()) as plain:
                async for part in plain:
                    if packed := await run_in_thread(packer.compress, part):
                        yield packed
            yield await run_in_thread(packer.flush)
            return
        as_stored, memory = self.compression is Compression.ZSTD, self.downloads.memory
        for segment in self.segments:
            if isinstance(segment, Literal):
                yield segment.content if as_stored else _plain(segment)
                continue
            blob = await self.downloads.cached(self.blobs[segment.digest])
            reading = read_proven(blob, memory) if as_stored else read_plain(blob, 0, blob.size, memory)
            async with aclosing(reading) as pieces:
                async for piece in pieces:
                    for part in piece if isinstance(piece, list) else [piece]:
                        yield part


def _plain(segment: Literal) -> bytes:
    return decompress(segment.content, PIECE)


@dataclass(frozen=True, slots=True)
class ImageExport:
    """Makes tarballs of images. Whoever sends one takes one of the `turns`, since some of its pieces are in memory."""

    lookup: Lookup
    downloads: Downloads
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def tarball(
        self,
        wanted: Sequence[ExportRequest],
        compression: Compression,
        choice: PlatformChoice | None = None,
        *,
        own: bool = False,
    ) -> Tarball:
        """Return one tarball of all the images; of an index either all children, or the one that is chosen.

        With `own` nothing is found elsewhere.
        Raise ManifestUnknown if an image, or a child of its index, is missing.
        """
        blobs: dict[Digest, Blob] = {}
        images, exported, obstacles = [], [], list[str]()
        for each in wanted:
            tree = await self._tree(each, choice, own=own)
            blobs |= tree.blobs
            root = next(iter(tree.contents))
            tag = each.reference if isinstance(each.reference, Tag) else None
            images.append(Image(each.name, tag, root, tree.contents, each.names))
            size = sum(content.size for content in tree.contents.values())
            where, origin = (
                label(each.name, each.reference),
                next((b.origin for b in tree.blobs.values() if b.origin), ""),
            )
            exported.append(ExportedImage(where, root, size, len(tree.contents), origin))
            if why := loading.obstacle(root, images[-1].manifests, tree.contents.keys()):
                obstacles.append(f"{exported[-1].reference} is not an image that an engine can load ({why})")
        if len(images) == 1 and compression is Compression.ZSTD:  # the same file as is stored
            segments = (await run_in_thread(lay_out, images[0])).segments
        else:
            segments = await run_in_thread(lay_out_tar, images)
        one = f"{escape(wanted[0].name.text)}@{str(wanted[0].reference).replace(':', '+')}"
        file = f"{'images' if len(images) > 1 else one}.tar{compression.value}"
        return Tarball(file, tuple(exported), compression, segments, blobs, self.downloads, tuple(obstacles))

    async def _tree(self, wanted: ExportRequest, choice: PlatformChoice | None, *, own: bool) -> Tree:
        """Return an image with all its content. Raise ManifestUnknown if some is missing."""
        name = wanted.name
        blob = await self.lookup.manifest(name, wanted.reference, own=own)
        manifest = await self.lookup.parsed(blob)
        if choice:
            digest = await choice.of(self.lookup, name, manifest, label(name, wanted.reference))
            if digest != manifest.digest:
                try:
                    blob = await self.lookup.manifest(name, digest, own=own)
                except ManifestUnknown as error:
                    raise ManifestUnknown(
                        f"{label(name, wanted.reference)} lacks {choice.platform[:60]!r}: it names {digest} for that, "
                        "which nobody has pushed; push it, or choose another ?platform="
                    ) from error
                manifest = await self.lookup.parsed(blob)
        tree = await gather(self.lookup, name, blob.digest, manifest)
        # an engine would silently load less than the image, or nothing
        if absent := [
            f"{child.platform or 'no platform'} ({digest})"
            for digest, child in tree.missing.items()
            if not child.is_attestation
        ]:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            raise ManifestUnknown(
                f"{label(name, wanted.reference)} is incomplete: {absent[0]}{more} is missing; "
                "push it, or choose ?platform="
            )
        return tree
