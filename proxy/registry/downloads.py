"""Remote blobs are downloaded once, whoever asks for them: through the spool, where they stay while there is room.

Readers follow the download piece by piece. The last piece is handed out when the digest of the whole is right. When the
download fails, so do they; nothing of it stays.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from proxy.archive.index import Entry
from proxy.blob import Blob, Verification, read_proven
from proxy.errors import Denied, RegistryError
from proxy.events import EventBus, Fetched
from proxy.oci.digest import Digest
from proxy.runtime.files import NewFile
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.spool.blob_file import footer
from proxy.spool.spool import Spool

T = TypeVar("T")

_log = logging.getLogger(__name__)
_AT_ONCE = 8  # downloads; each holds some pieces, whatever else memory is left


class _Download:
    """A blob on its way, read like a file: a reader waits for what is not there yet."""

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, blob: Blob, file: NewFile) -> None:
        self.size = blob.stored
        self.task: asyncio.Task[None] | None = None
        self._blob = blob
        self._file = file
        self._end = 0
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    async def arrived(self, stop: int) -> None:
        """Wait until so many bytes are there; raises what ended the download."""
        while self._end < stop:
            if self._failure:
                raise self._failure
            await self._news.wait()

    async def read(self, start: int, stop: int, then: Callable[[bytes], T]) -> T:
        """Read a range as soon as it is there; raises what ended the download."""
        await self.arrived(stop)
        return await run_in_thread(lambda: then(self._file.read(stop - start, start)))

    async def run(self, memory: MemoryBudget, turns: asyncio.Semaphore) -> Entry:
        """Download everything, in its turn, and give what a file needs to know of it."""
        try:
            async with turns:
                return await self._run(memory)
        except asyncio.CancelledError:
            self._fail(Denied("image-relay is stopping"))
            raise
        except Exception as error:
            self._fail(error)
            raise

    async def _run(self, memory: MemoryBudget) -> Entry:
        blob, written = self._blob, 0
        entry = Entry(size=blob.size, offset=0, pieces=blob.pieces, crc64=blob.crc64)
        async with aclosing(read_proven(blob, memory)) as pieces:
            async for stored in pieces:
                last = written + len(stored) == self.size
                await run_in_thread(
                    self._file.write, [stored, footer(blob.digest, entry)] if last else [stored], written
                )
                written += len(stored)
                self._advance(written)
        return entry

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._advance(self._end)

    def _advance(self, end: int) -> None:
        self._end = end
        self._news.set()
        self._news = asyncio.Event()


@dataclass(slots=True)
class Downloads:
    """Downloads under way, by digest."""

    spool: Spool
    memory: MemoryBudget
    tasks: TaskSet
    events: EventBus = field(default_factory=EventBus)
    _under_way: dict[Digest, _Download] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def cached(self, blob: Blob) -> Blob:
        """Give a blob such that reading all of it downloads it once, for all who read it.

        One for which the cache has no room is given as it is: each of its readers reads it from its artifact.
        """
        if blob.source.is_local or not blob.pieces:
            return self._told("hit", blob)
        async with self._turn:
            download = self._under_way.get(blob.digest)
            if download is None and (here := await self.spool.find(blob.digest)):
                return self._told("hit", here)  # it came while this waited
            result = "joined" if download else "miss"
            download = download or await self._start(blob)
        if download is None:
            return self._told("no room", blob)
        return self._told(result, replace(blob, source=download, offset=0, findings=Verification({blob.digest})))

    def _told(self, result: str, blob: Blob) -> Blob:
        if self.spool.caches:  # else nothing is remote
            self.events.emit(Fetched(result))
        return blob

    async def _start(self, blob: Blob) -> _Download | None:
        path = await self.spool.room(blob.stored + sum(each.size for each in self._under_way.values()))
        if path is None:
            return None
        download = self._under_way[blob.digest] = _Download(blob, await run_in_thread(NewFile, path))
        download.task = self.tasks.spawn(self._finish(blob.digest, download, path))
        return download

    async def _finish(self, digest: Digest, download: _Download, path: Path) -> None:
        try:
            entry = await download.run(self.memory, self._turns)
            await self.spool.keep_downloaded(path, digest, entry)
        except (RegistryError, OSError) as error:
            _log.warning("the download of %s broke off: %s", digest, type(error).__name__)
        finally:
            self._under_way.pop(digest, None)
            await run_in_thread(path.unlink, missing_ok=True)
