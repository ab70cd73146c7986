"""What a push tells of itself to the event bus: accepted, on its way, stored or not."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from proxy.artifacts.base import Stretch
from proxy.catalog.catalog import Archive
from proxy.events import Accepted, EventBus, NotStored, Stored, Storing, Unchanged
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label
from proxy.registry.sealing import Body
from proxy.runtime.tasks import TaskSet

_EVERY = 5.0  # seconds between two lines about an archive on its way


class ReceivedBlobs:
    """Blobs that clients sent, until a manifest names them: their sizes, and when they began to come."""

    def __init__(self, *, most: int = 20_000) -> None:
        """Remember at most so many blobs that no manifest has named."""
        self._most = most
        self._received: OrderedDict[tuple[Name, Digest], tuple[int, float]] = OrderedDict()

    def add(self, name: Name, digest: Digest, size: int, began: float) -> None:
        """Note a blob that has come; `began` is of the monotonic clock."""
        self._received[name, digest] = size, began
        while len(self._received) > self._most:
            self._received.popitem(last=False)

    def claim(self, name: Name, named: Collection[Digest]) -> tuple[int, float]:
        """Give the bytes that came for a manifest, and how many seconds ago the first ones began to."""
        came = [found for digest in named if (found := self._received.pop((name, digest), None))]
        now = time.monotonic()
        return sum(size for size, _ in came), now - min((began for _, began in came), default=now)


class Progress:
    """An archive on its way to the store (`catalog.ArchiveBody`), and how much of it was handed out so far."""

    def __init__(self, body: Body) -> None:
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
        """Give the bytes in order; from the first one on when the store has to begin again."""
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
    """Notes what becomes of pushes."""

    bus: EventBus = field(default_factory=EventBus)
    received_blobs: ReceivedBlobs = field(default_factory=ReceivedBlobs)
    every: float = _EVERY

    def accepted(self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest) -> None:
        """Note a manifest that was taken in, with what came for it."""
        received, seconds = self.received_blobs.claim(name, manifest.named)
        own = len(manifest.content)
        size = own + sum({each.digest: each.size for each in manifest.blobs}.values())
        self.bus.emit(Accepted(label(name, reference), str(digest), size, own + received, seconds))

    @asynccontextmanager
    async def storing(self, reference: str, body: Body) -> AsyncIterator[Progress]:
        """Give an archive as it has to go to the store within the block; it is told every few seconds how far it is."""
        progress, crew = Progress(body), TaskSet()
        telling = crew.spawn(self._tell(reference, progress))
        try:
            yield progress
        finally:
            telling.cancel()

    async def _tell(self, reference: str, progress: Progress) -> None:
        while True:
            await asyncio.sleep(self.every)
            took = time.monotonic() - progress.began
            self.bus.emit(Storing(reference, progress.done, progress.size, took))

    def stored(self, archive: Archive, known: Collection[Digest], size: int, seconds: float) -> None:
        """Note an archive that is an artifact now; `known` is which of its content other archives had before."""
        reused = sum(entry.stored for digest, entry in archive.index.blobs.items() if digest in known)
        where = label(archive.name, archive.reference), str(archive.index.root), archive.artifact.name
        self.bus.emit(Stored(*where, size, size - reused, reused, seconds))

    def unchanged(self, reference: str, digest: Digest) -> None:
        """Note a push of what is there already."""
        self.bus.emit(Unchanged(reference, str(digest)))

    def failed(self, reference: str, problem: str) -> None:
        """Note an archive that could not be stored."""
        self.bus.emit(NotStored(reference, problem))
