"""Download each remote blob once for all its readers, into the spool, where it stays while there is room.

Readers follow the download piece by piece, and get the last piece only if the digest of the whole blob is right. If the
download fails, so do its readers, and nothing of it is kept.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from proxy.archive.index import Entry
from proxy.blob import Blob, GrowingSource, Verification, read_proven
from proxy.errors import RegistryError, reason_of
from proxy.events import EventBus, Fetched
from proxy.oci.digest import Digest
from proxy.registry.reached import Reached
from proxy.runtime.files import Bytes, NewFile
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.spool.blob_file import BlobCopy
from proxy.spool.spool import Spool
from proxy.text import safe_text

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AT_ONCE = 8  # downloads; each holds some pieces, however little memory is left


class _Download(GrowingSource):
    """A blob that is being downloaded, as a source: a reader waits for bytes that have not arrived yet."""

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, blob: Blob, file: NewFile) -> None:
        self.size = blob.stored
        self._blob = blob
        self._file = file
        self._reached = Reached()  # bytes that readers may have

    async def arrived(self, stop: int) -> None:
        """Wait until the bytes before `stop` are there. Raise what ended the download."""
        await self._reached.until(stop)

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read a range as soon as it is there. Raise what ended the download."""
        await self.arrived(stop)
        return await run_in_thread(lambda: then(self._file.read(stop - start, start)))

    async def run(self, memory: MemoryBudget, turns: asyncio.Semaphore) -> Entry:
        """Download the whole blob when it is its turn, and return the entry that its file ends with."""
        copy, written = BlobCopy(self._blob, self._file), 0
        with self._reached.told():
            async with turns, aclosing(read_proven(self._blob, memory, copy.append)) as pieces:
                async for stored in pieces:
                    written += len(stored)
                    if written == self.size:
                        await run_in_thread(copy.complete)
                    self._reached.advance(written)
        return copy.entry


@dataclass(slots=True)
class Downloads:
    """The downloads in progress, by digest."""

    spool: Spool
    memory: MemoryBudget
    tasks: TaskSet
    events: EventBus = field(default_factory=EventBus)
    _under_way: dict[Digest, _Download] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def cached(self, blob: Blob) -> Blob:
        """Return the blob with a source from which any number of readers cause one download.

        If the cache has no room for it, return it unchanged: each reader then reads its artifact.
        """
        if blob.source.is_local or not blob.pieces:
            return self._counted("hit", blob)
        async with self._turn:
            result, download = "joined", self._under_way.get(blob.digest)
            if download is None:
                if here := await self.spool.find(blob.digest):
                    return self._counted("hit", here)  # its download ended while this request waited
                path = await self.spool.room(blob.stored + sum(each.size for each in self._under_way.values()))
                if path is None:
                    return self._counted("no room", blob)
                result, download = "miss", _Download(blob, await run_in_thread(NewFile, path))
                self._under_way[blob.digest] = download
                _ = self.tasks.spawn(self._finish(blob.digest, download, path))
        return self._counted(result, replace(blob, source=download, offset=0, findings=Verification({blob.digest})))

    def _counted(self, result: str, blob: Blob) -> Blob:
        if self.spool.caches:  # without a cache no store is remote
            self.events.emit(Fetched(result))
        return blob

    async def _finish(self, digest: Digest, download: _Download, path: Path) -> None:
        """Run a download, and move its file into the cache."""
        try:
            entry = await download.run(self.memory, self._turns)
            await self.spool.keep_downloaded(path, digest, entry)
        except (RegistryError, OSError) as error:
            _log.warning("the download of %s broke off: %s", digest, safe_text(reason_of(error)))
        finally:
            self._under_way.pop(digest, None)
            await run_in_thread(path.unlink, missing_ok=True)
