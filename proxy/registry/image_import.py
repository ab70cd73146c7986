"""Take in tarballs of images that are sent in one request: unpack them into the spool as they arrive, then push.

`docker push` from a classic store compresses on one core before it sends; a tarball is compressed here, on all cores.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from threading import Semaphore

from proxy.catalog.archive import Archive
from proxy.errors import TarballInvalid
from proxy.events import Received
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.push import Push
from proxy.runtime.tasks import run_in_dedicated_thread, run_in_thread
from proxy.runtime.thread_io import BlockingStream
from proxy.spool.spool import Spool
from proxy.spool.staging import StagingArea
from proxy.spool.unpack import Unpacked, unpack
from proxy.tarballs.image import Image
from proxy.tarballs.images import images
from proxy.tarballs.streams import Work
from proxy.text import counted

_AT_ONCE = 2  # tarballs that are unpacked side by side; each one keeps all cores busy
_SHOWN = 300  # characters of the names of images in a message
_OPEN = 16  # tarballs that are being sent; each holds some pieces while its client pauses
Reference = tuple[Name, Tag]


@dataclass(slots=True)
class Progress:
    """How much of a tarball has come, and which references are being stored, for whoever watches."""

    storing: list[str] = field(default_factory=list)
    _stream: BlockingStream | None = None

    @property
    def received(self) -> int:
        """Bytes of the tarball that have arrived."""
        return self._stream.received if self._stream else 0

    def watch(self, stream: BlockingStream) -> None:
        """Count what arrives in a stream."""
        self._stream = stream


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """An image that is durable now; `size` in plain bytes, `stored` in those of its archive."""

    reference: str
    digest: Digest
    size: int
    stored: int


@dataclass(slots=True)
class ImageImport:
    """Takes in tarballs; a few at a time are worked on, and no work waits for a client that sends slowly."""

    spool: Spool
    push: Push
    under_way: set[Work] = field(default_factory=set)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_OPEN))
    _turns: Semaphore = field(default_factory=lambda: Semaphore(_AT_ONCE))

    async def take(
        self, chunks: AsyncIterator[bytes], wanted: Reference | None, progress: Progress
    ) -> list[ImportedImage]:
        """Push the images of a tarball, under one reference or under their own names; return when they are durable.

        Nothing goes on that was not pushed yet if this is cancelled. Raise TarballInvalid, Denied if the store cannot
        keep an image.
        """
        first = await anext(chunks, b"")  # before it takes a place: engines are slow to begin
        async with AsyncExitStack() as stack:
            ahead = None
            if wanted:
                ahead = self.push.catalog.begin(*wanted, partial(self.push.lookup.elsewhere.archives, wanted[0]))
            if ahead:
                stack.push_async_callback(ahead.close)
            async with self._places, self.spool.parts(ahead) as parts:
                inflow = BlockingStream(chunks, self._turns, first)
                found = await self._received(inflow, parts, wanted, progress)
            return [each for image, references in found for each in await self._push(image, references, progress)]

    async def _received(
        self, inflow: BlockingStream, parts: StagingArea, wanted: Reference | None, progress: Progress
    ) -> list[tuple[Image, list[Reference]]]:
        """Return the images of a tarball, whose blobs are in the spool, and which references each is to get."""
        progress.watch(inflow)
        work, began = Work(lambda: inflow.received), time.monotonic()
        self.under_way.add(work)
        try:
            unpacked = await run_in_dedicated_thread(self._unpack, inflow, parts, work)
            await inflow.drain()
        finally:
            work.stop()  # a thread cannot be cancelled
            inflow.close()
            self.under_way.discard(work)
        found = chosen(await run_in_thread(images, unpacked.contents), wanted, self.push.public_host())
        self.push.events.bus.emit(Received(inflow.received, time.monotonic() - began))
        needed_by = defaultdict[Digest, set[Name]](set)
        for image, references in found:
            for name, _ in references:
                self.push.touch(name)
                for digest in (digest for part in image.parts for digest in part.blobs):
                    needed_by[digest].add(name)
        for digest, names in needed_by.items():
            part = unpacked.parts[digest]
            for name in names:
                self.push.events.received_blobs.add(name, digest, part.entry.size, began)
            await self.spool.commit(names, part)
        return found

    def _unpack(self, inflow: BlockingStream, parts: StagingArea, work: Work) -> Unpacked:
        with self._turns:
            return unpack(inflow, parts, work)

    async def _push(self, image: Image, references: list[Reference], progress: Progress) -> list[ImportedImage]:
        """Push an image whose blobs are in the spool, repository by repository."""
        imported = list[ImportedImage]()
        for name in dict.fromkeys(name for name, _ in references):
            tags = [tag for each, tag in references if each == name]
            progress.storing.extend(label(name, tag) for tag in tags)
            archives = await self._put(name, tags, image)
            for attached in image.attached:
                progress.storing.append(label(name, attached.root))
                await self._put(name, attached.tags_to_keep, attached)
            for archive in archives.values():
                size = sum(entry.size for entry in archive.index.blobs.values())
                where = label(archive.name, archive.reference)
                imported.append(ImportedImage(where, archive.index.root, size, archive.size))
        return imported

    async def _put(self, name: Name, tags: list[Tag], image: Image) -> dict[Tag, Archive]:
        """Push an image, the children of an index before it, under all tags, or without any by its digest."""
        digest, root = image.root, image.manifests[image.root]
        for each, manifest in reversed(image.manifests.items()):
            if each != digest:
                await self.push.hold(name, each, manifest)
        if not tags:
            await self.push.put(name, digest, root)
            return {}
        return await self.push.flights.to_end(partial(self.push.put_tagged, name, tags, digest, root, required=tags))


def chosen(found: list[Image], wanted: Reference | None, relay: str) -> list[tuple[Image, list[Reference]]]:
    """Return which images get which references: all of them their own names, or one of them the `wanted` reference.

    Of several images that is the one with this name, or in a layout with this tag. `relay` is the host under which
    clients know this relay.
    """
    called = [  # each name once, if it has a tag
        (image, list(dict.fromkeys((each.name(relay), each.tag) for each in image.references if each.tag)))
        for image in found
    ]
    numbers = Counter(reference for _, names in called for reference in names)
    for reference, number in numbers.items():
        if number > 1:
            raise TarballInvalid(f"the tarball gives the name {label(*reference)} to {number} images")
    if wanted is None:
        _check_all_named(called)
        return called
    every = {part.root: part for image in found for part in image.parts}.values()
    fitting = [image for image, names in called if wanted in names]
    fitting = fitting or [each for each in every if wanted[1] in each.tags] or (found if len(found) == 1 else [])
    if len(fitting) == 1:
        return [(fitting[0], [wanted])]
    shown = [label(*reference) for _, names in called for reference in names]
    shown += [str(tag) for image, names in called if not names for tag in image.tags]
    there = ", ".join(shown)[:_SHOWN] or "without names"
    other = "to /relay/images, or " if all(names for _, names in called) else ""
    raise TarballInvalid(
        f"the tarball holds {counted(len(found), 'image')} ({there}), none of them {label(*wanted)}: "
        f"send it {other}under one of these names, or with one image in it"
    )


def _check_all_named(called: list[tuple[Image, list[Reference]]]) -> None:
    """Raise TarballInvalid unless all images have names: one without any could be stored nowhere."""
    unnamed = [image for image, names in called if not names]
    if not unnamed:
        return
    if tags := [str(tag) for image in unnamed for tag in image.tags]:
        raise TarballInvalid(
            f"the tarball has tags without the name of a repository ({', '.join(tags)[:_SHOWN]}): send it for one of "
            f"them (save --file FILE app:{tags[0]}, or PUT /relay/images/app:{tags[0]})"
        )
    if len(called) == 1:
        raise TarballInvalid(
            "no image in the tarball has a name: give it one (save --file FILE app:v1, or PUT /relay/images/app:v1)"
        )
    raise TarballInvalid(
        f"{len(unnamed)} of the {len(called)} images in the tarball have no name ({str(unnamed[0].root)[:19]}…): give "
        "each one a name (docker tag) and save it by that, or leave it out"
    )
