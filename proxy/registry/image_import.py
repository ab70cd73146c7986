"""Tarballs of images that are sent in one request: unpacked into the spool while they arrive, then pushed.

`docker push` from a graph store compresses on one core before it sends; a tarball is compressed here, on all of them.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from proxy.errors import StillUnderWay, TarballInvalid
from proxy.events import Received
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.push import Push
from proxy.runtime.tasks import run_in_dedicated_thread, run_in_thread
from proxy.runtime.thread_io import BlockingStream
from proxy.spool.spool import Spool
from proxy.spool.unpack import Unpacked, unpack
from proxy.tarballs.images import Image, images

_AT_ONCE = 2  # tarballs; each keeps all cores busy
Reference = tuple[Name, Tag]


@dataclass(slots=True)
class Progress:
    """How far a tarball is, for who watches."""

    storing: list[str] = field(default_factory=list)
    _stream: BlockingStream | None = None

    @property
    def received(self) -> int:
        """Bytes of the tarball that have come."""
        return self._stream.received if self._stream else 0

    def watch(self, stream: BlockingStream) -> None:
        """Count what comes in a stream."""
        self._stream = stream


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """An image that is durable now; `size` in plain bytes, `stored` those of its archive."""

    reference: str
    digest: Digest
    size: int
    stored: int


@dataclass(slots=True)
class ImageImport:
    """Takes tarballs in, a few at a time."""

    spool: Spool
    push: Push
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def take(
        self, chunks: AsyncIterator[bytes], wanted: Reference | None, progress: Progress
    ) -> list[ImportedImage]:
        """Push what is in a tarball, under one reference or under the names that it has; returns when it is durable.

        TARBALL_INVALID; DENIED when the store cannot keep it.
        """
        first = await anext(chunks, b"")  # an engine takes its time to begin, and keeps nobody else waiting
        async with self._turns, self.spool.parts() as parts:
            inflow = BlockingStream(chunks, first)
            progress.watch(inflow)
            began = time.monotonic()
            try:
                unpacked = await run_in_dedicated_thread(unpack, inflow, parts)
                await inflow.drain()
            finally:
                inflow.close()
            found = chosen(await run_in_thread(images, unpacked.contents), wanted, self.push.public_host())
            self.push.events.bus.emit(Received(inflow.received, time.monotonic() - began))
            await self._adopt(unpacked, found, began)
        return [each for image, references in found for each in await self._push(image, references, progress)]

    async def _adopt(self, unpacked: Unpacked, found: Iterable[tuple[Image, list[Reference]]], began: float) -> None:
        """Make what images need visible in the repositories that they go to."""
        wanted = defaultdict[Digest, set[Name]](set)
        for image, references in found:
            names = {name for name, _ in references}
            for name in names:
                self.push.touch(name)
            for digest in image.blobs:
                wanted[digest] |= names
        for digest, names in wanted.items():
            part = unpacked.parts[digest]
            for name in names:
                self.push.events.received_blobs.add(name, digest, part.entry.size, began)
            await self.spool.commit(names, part)

    async def _push(self, image: Image, references: list[Reference], progress: Progress) -> list[ImportedImage]:
        root, imported = image.manifests[image.root], list[ImportedImage]()
        for name in dict.fromkeys(name for name, _ in references):
            tags = [tag for each, tag in references if each == name]
            progress.storing.extend(label(name, tag) for tag in tags)
            for digest, manifest in reversed(image.manifests.items()):
                if digest != image.root:  # what an index names comes before it
                    await self.push.hold(name, digest, manifest)
            archives = None
            while archives is None:
                with suppress(StillUnderWay):  # nobody has to come again: this connection is held open
                    archives = await self.push.put_tagged(name, tags, image.root, root)
            for archive in archives.values():
                size = sum(entry.size for entry in archive.index.blobs.values())
                where = label(archive.name, archive.reference)
                imported.append(ImportedImage(where, archive.index.root, size, archive.size))
        return imported


def chosen(found: list[Image], wanted: Reference | None, relay: str) -> list[tuple[Image, list[Reference]]]:
    """Return which images go where: all under their own names, or one, under a reference that is `wanted`.

    Of several that is the one that has this name. `relay` is the host under which this relay is known.
    """
    called = [  # each name once, if it has a tag
        (image, list(dict.fromkeys((each.name(relay), each.tag) for each in image.references if each.tag)))
        for image in found
    ]
    if wanted is None:
        if named := [(image, names) for image, names in called if names]:
            return named
        raise TarballInvalid("no image in the tarball has a name: send it to /relay/images/<name>:<tag>")
    if len(found) == 1:
        return [(found[0], [wanted])]
    for image, names in called:
        if wanted in names:
            return [(image, [wanted])]
    shown = ", ".join(label(*reference) for _, names in called for reference in names)
    raise TarballInvalid(
        f"the tarball holds {len(found)} images ({shown or 'without names'}), none of them {label(*wanted)}: "
        "send it to /relay/images, or with one image in it"
    )
