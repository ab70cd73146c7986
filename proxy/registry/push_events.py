"""Emit the events of a push: accepted, being stored, stored."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from proxy.artifacts.base import Stretch
from proxy.catalog.archive import Archive
from proxy.events import Accepted, EventBus, SentGzip, Stored, Storing
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label
from proxy.registry.sealing import SealedBody
from proxy.runtime.tasks import TaskSet

_EVERY = 5.0  # seconds between two events of an archive that is being stored
_GZIP = (".tar+gzip", ".tar.gzip")  # how the media types of layers end, in OCI's and in Docker's words
_ZSTD = (".tar+zstd", ".tar.zstd")


class ReceivedBlobs:
    """Blobs that clients sent and no manifest has named yet: their sizes, and when they began to arrive."""

    def __init__(self, *, most: int = 20_000) -> None:
        """Remember no more than so many blobs."""
        self._most = most
        self._received: OrderedDict[tuple[Name, Digest], tuple[int, float]] = OrderedDict()

    def add(self, name: Name, digest: Digest, size: int, began: float) -> None:
        """Note a blob that has arrived; `began` is the time of the monotonic clock."""
        self._received[name, digest] = size, began
        self._received.move_to_end((name, digest))
        while len(self._received) > self._most:
            self._received.popitem(last=False)

    def clear(self) -> None:
        """Forget all: what comes from now on is for another run."""
        self._received.clear()

    def size(self, name: Name, named: Collection[Digest]) -> int:
        """Return how many bytes were sent for a manifest that has not claimed them yet."""
        return sum(self._received[name, digest][0] for digest in named if (name, digest) in self._received)

    def claim(self, name: Name, named: Collection[Digest]) -> tuple[int, float]:
        """Return how many bytes were sent for a manifest, and how many seconds ago the first of them arrived."""
        came = [found for digest in named if (found := self._received.pop((name, digest), None))]
        now = time.monotonic()
        return sum(size for size, _ in came), now - min((began for _, began in came), default=now)


class CountedBody:
    """An archive that is being stored (`catalog.ArchiveBody`), and how many of its bytes were sent so far."""

    def __init__(self, body: SealedBody) -> None:
        self.index = body.index
        self.size = body.size
        self.began = time.monotonic()
        self.done = 0
        self._body = body

    @property
    def crc(self) -> int:
        """CRC-32 of the whole file."""
        return self._body.crc

    async def parts(self) -> AsyncGenerator[bytes]:
        """Yield the bytes in order; from the first one on when the store begins again."""
        self.done = 0
        async with aclosing(self._body.parts()) as parts:
            async for part in parts:
                self.done += len(part)
                yield part

    async def stretches(self) -> AsyncGenerator[bytes | Stretch]:
        """Yield the bytes in order, or where storage has them; from the first one on when the store begins again."""
        self.done = 0
        async with aclosing(self._body.stretches()) as stretches:
            async for stretch in stretches:
                self.done += stretch.length if isinstance(stretch, Stretch) else len(stretch)
                yield stretch


@dataclass(slots=True)
class PushEvents:
    """Emits the events of pushes."""

    bus: EventBus = field(default_factory=EventBus)
    received_blobs: ReceivedBlobs = field(default_factory=ReceivedBlobs)
    every: float = _EVERY

    def accepted(self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest) -> None:
        """Emit that a manifest was accepted, with the bytes that were sent for it."""
        received, seconds = self.received_blobs.claim(name, manifest.named)
        own = len(manifest.content)
        size = own + sum({each.digest: each.size for each in manifest.blobs}.values())
        self.bus.emit(Accepted(label(name, reference), str(digest), size, own + received, seconds))

    def exported(self, name: Name, reference: Tag | Digest, manifest: Manifest) -> None:
        """Emit how much gzip was sent for an image, by a client whose layers a build has compressed."""
        if not manifest.is_image or any(each.media_type.endswith(_ZSTD) for each in manifest.layers):
            return
        layers = {each.digest for each in manifest.layers if each.media_type.endswith(_GZIP)}
        if size := self.received_blobs.size(name, layers):
            self.bus.emit(SentGzip(label(name, reference), size))

    @asynccontextmanager
    async def storing(self, reference: str, body: SealedBody) -> AsyncIterator[CountedBody]:
        """Yield an archive as it is to be stored within the block; every few seconds, emit how much of it was sent."""
        counted, tasks = CountedBody(body), TaskSet()

        async def report() -> None:
            while True:
                await asyncio.sleep(self.every)
                took = time.monotonic() - counted.began
                self.bus.emit(Storing(reference, counted.done, counted.size, took))

        reporting = tasks.spawn(report())
        try:
            yield counted
        finally:
            reporting.cancel()

    def stored(
        self, archive: Archive, known: Collection[Digest], size: int, seconds: float, *, missing: int = 0
    ) -> None:
        """Emit that an archive is an artifact now, without the `missing` children of its index.

        `known` is the content that other archives had before.
        """
        reused = sum(entry.stored for digest, entry in archive.index.blobs.items() if digest in known)
        where = label(archive.name, archive.reference), str(archive.index.root), archive.artifact.name
        self.bus.emit(Stored(*where, size, size - reused, reused, seconds, missing))
