"""An archive in an artifact that is far away, read like a file.

Its end, which has the index and the small blobs, is kept in memory for a while. A server that gives no ranges is read
once, to disk. What `then` finds damaged is read again, alone.
"""

import asyncio
import logging
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar

from yarl import URL

from proxy.archive.container import OVERHEAD, ContainerInvalid, payload
from proxy.archive.index import TAIL
from proxy.archive.limits import NEAR
from proxy.archive.pieces import PieceDamaged
from proxy.artifacts.actions.azure import BlobStorage, UrlRefused
from proxy.artifacts.actions.range_download import Changed, RangesIgnored, Reading, whole
from proxy.artifacts.actions.twirp import NoSuchArtifact
from proxy.artifacts.base import Artifact, ArtifactGone, CorruptDownload, StoreRefused
from proxy.artifacts.naming import SUFFIX
from proxy.artifacts.outages import CURRENT_READER
from proxy.artifacts.retry import RetryableError
from proxy.runtime.files import Bytes, LocalFile, trouble, write_all
from proxy.runtime.patience import Patience
from proxy.runtime.tasks import run_in_thread
from proxy.text import counted

T = TypeVar("T")

_log = logging.getLogger(__name__)
_WAITS = 4  # between new URLs, when the first one was refused as well; seven seconds in all
_READINGS = 3  # of one piece that comes damaged
_ALL_REFUSED = (
    "blob storage refuses every URL that the artifact service signs; "
    "try again later, and see whether a firewall or proxy refuses them"
)
_BATCH = 1024 * 1024  # bytes that are written at once


class Tails:
    """The ends of archives in memory, the least recently read out first."""

    def __init__(self, limit: int = 8 * 1024 * 1024) -> None:
        self._limit = limit  # bytes
        self._held: OrderedDict[RemoteFile, bytes] = OrderedDict()
        self._size = 0

    def keep(self, file: "RemoteFile", tail: bytes) -> None:
        """Hold the last bytes of a file, instead of those that are held already."""
        self.drop(file)
        self._held[file] = tail
        self._size += len(tail)
        while self._size > self._limit:
            self._size -= len(self._held.popitem(last=False)[1])

    def drop(self, file: "RemoteFile") -> None:
        """Forget the end of a file."""
        self._size -= len(self._held.pop(file, b""))

    def of(self, file: "RemoteFile") -> bytes:
        """Return the last bytes of a file; none where they are not held, or not any more."""
        if file in self._held:
            self._held.move_to_end(file)
        return self._held.get(file, b"")


class Link:
    """A signed URL that is renewed when it is refused. `is_listed` says whether a new listing has the artifact."""

    def __init__(
        self,
        artifact: Artifact,
        sign: Callable[[Artifact], Awaitable[URL]],
        is_listed: Callable[[Artifact], Awaitable[bool]],
        storage: BlobStorage,
    ) -> None:
        self._artifact = artifact
        self.is_listed = partial(is_listed, artifact)
        self._sign = sign
        self._storage = storage
        self._url: URL | None = None
        self._signing = asyncio.Lock()
        self._vain_until = float("-inf")  # until when no read is told anew that all URLs are refused

    async def use(self, request: Callable[[URL], Awaitable[T]]) -> T:
        """Make a request, with a new URL where the old one is refused; ArtifactGone if there is nothing to read."""
        waits, loop = self._storage.timeouts.blobs.backoff(self._storage.random), asyncio.get_running_loop()
        if CURRENT_READER.get() and loop.time() < self._vain_until:
            raise StoreRefused(_ALL_REFUSED)
        for wait in (0.0, *islice(waits, _WAITS), 0.0):
            url = await self._current()
            try:
                return await request(url)
            except UrlRefused:
                if self._url == url:  # else somebody has a new one already
                    self._url = None
            except Changed:
                raise ArtifactGone(self._artifact.name) from None
            await asyncio.sleep(wait)
        self._vain_until = loop.time() + self._storage.timeouts.rest
        raise StoreRefused(_ALL_REFUSED)

    async def renewed(self, refused: URL | None = None) -> URL:
        """Return a signed URL, another one than the one that was refused; raise ArtifactGone."""
        if refused is not None and self._url == refused:
            self._url = None
        return await self._current()

    async def _current(self) -> URL:
        async with self._signing:
            if self._url is None:
                try:
                    self._url = await self._sign(self._artifact)
                except NoSuchArtifact:
                    raise ArtifactGone(self._artifact.name) from None
            return self._url


class RemoteFile:
    """The archive in one artifact; `folder` is where a whole copy goes if it has to."""

    is_local = False

    def __init__(self, artifact: Artifact, link: Link, storage: BlobStorage, tails: Tails, folder: Path) -> None:
        self.size = artifact.size
        self.read_ahead = storage.down - 1
        self._artifact = artifact
        self._link = link
        self._storage = storage
        self._tails = tails
        self._folder = folder
        self._start = 0  # of the archive within the artifact
        self._etag = ""
        self._whole: LocalFile | None = None
        self._fetching = asyncio.Lock()

    @property
    def entire(self) -> bool:
        """Return whether all of it was fetched, since its server gives no ranges."""
        return self._whole is not None

    async def signed(self, refused: URL | None = None) -> URL:
        """Return a URL that storage can copy from, another one than the one that was refused; raise ArtifactGone."""
        return await self._link.renewed(refused)

    async def is_listed(self) -> bool:
        """Return whether a new listing has the artifact."""
        return await self._link.is_listed()

    def position(self, offset: int) -> int:
        """Return where in the artifact a byte of the archive is."""
        return self._start + offset

    def place(self, start: int, stop: int, tail: bytes) -> None:
        """Return where in the artifact the archive is, and what its last bytes are."""
        self._start, self.size = start, stop - start
        self._tails.keep(self, tail[-self.size :] if self.size else b"")

    async def look(self) -> None:
        """Read the end, and find out how the archive is wrapped.

        Raise ArtifactGone if there is nothing, CorruptDownload if what came is known to be something else.
        """
        artifact = self._artifact
        tail, size = await self._stored(artifact.size - TAIL - OVERHEAD, artifact.size, bytes), artifact.size
        if self._whole:
            size = self._whole.size
            tail = await self._whole.read(max(0, size - TAIL - OVERHEAD), size, bytes)
        if len(tail) == size and artifact.digest not in {"", f"sha256:{sha256(tail).hexdigest()}"}:
            raise CorruptDownload
        try:
            start, stop = payload(tail, size, artifact.name + SUFFIX)
        except ContainerInvalid:
            start, stop = 0, size  # not wrapped, or by somebody else
        self.place(start, stop, tail[: len(tail) - (size - stop)])

    async def is_all_of(self, size: int) -> bool:
        """Has the artifact this many bytes, whatever the listing says? Reads it, on a server that gives no ranges."""
        await self.look()
        return (self._whole.size if self._whole else self._artifact.size) == size

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read bytes of the archive, and give what `then` makes of them; what it finds damaged is read again."""
        stop = min(stop, self.size)
        tail = self._tails.of(self)
        if tail and start >= (held := self.size - len(tail)):
            try:
                return then(tail[start - held : stop - held])
            except PieceDamaged:
                self._tails.drop(self)
        for _ in range(_READINGS - 1):
            copy = self._whole
            try:
                return await self._read(start, stop, then)
            except PieceDamaged:
                _log.warning("a piece of %s came damaged; it is read again", self._artifact.name)
                if self._whole is copy:
                    self._whole = None
        return await self._read(start, stop, then)

    async def _read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        if stop == self.size and stop - start <= NEAR + TAIL:  # the metadata: whoever wants them wants them again
            metadata = await self._stored(self._start + start, self._start + stop, bytes)
            self._tails.keep(self, metadata)
            return then(metadata)
        return await self._stored(self._start + start, self._start + stop, then)

    async def _stored(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read a range of the artifact; from a server that gives none, the whole artifact, to disk."""
        start = max(0, start)
        if start >= stop:
            return then(b"")
        if self._whole is None:
            try:
                return await self._link.use(partial(self._range, start, stop, then))
            except RangesIgnored:
                copy = await self._fetched()
        else:
            copy = self._whole
        return await copy.read(start, stop, then)

    async def _range(self, start: int, stop: int, then: Callable[[Bytes], T], url: URL) -> T:
        total = self._artifact.size if self._artifact.finalized else None
        reading = Reading(self._storage, url, start, stop, self._etag, total)
        try:
            return await reading.read(then)
        finally:
            self._etag = reading.etag

    async def _fetched(self) -> LocalFile:
        """Return a whole copy of the artifact, made once for all who want it."""
        async with self._fetching:
            if self._whole is None:
                _log.info("this server gives no ranges: the artifact %s is read as a whole", self._artifact.name)
                try:
                    patience = Patience(self._storage.timeouts.patience)
                    copy = partial(self._link.use, partial(self._copy, patience))
                    self._whole = await self._storage.retry("reading an artifact", copy, patience=patience)
                except RetryableError as fault:
                    raise StoreRefused(f"the artifact cannot be read ({fault}); try again later") from None
                except OSError as error:
                    raise StoreRefused(trouble(self._folder, error)) from error
            return self._whole

    async def _copy(self, patience: Patience, url: URL) -> LocalFile:
        """Copy the artifact to a file without a name; it is gone when nobody holds it."""
        artifact, found, held = self._artifact, sha256(), bytearray()

        def keep(part: bytes) -> None:
            found.update(part)
            write_all(file.fileno(), [part], os.fstat(file.fileno()).st_size)

        with await run_in_thread(partial(tempfile.NamedTemporaryFile, dir=self._folder)) as file:
            async for chunk in whole(self._storage, url):
                held += chunk
                if len(held) >= _BATCH:
                    patience.moved()
                    await run_in_thread(keep, bytes(held))
                    held.clear()
            await run_in_thread(keep, bytes(held))
            copy = await run_in_thread(LocalFile.open, Path(file.name))
        if artifact.finalized and copy.size != artifact.size:
            raise RetryableError(f"an answer had {counted(copy.size, 'byte')}, the artifact has {artifact.size}")
        if artifact.digest not in {"", f"sha256:{found.hexdigest()}"}:
            raise RetryableError(str(CorruptDownload()))
        return copy
