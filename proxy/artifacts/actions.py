"""The Actions store: archives as artifacts of the workflow run, each in a zip of its own.

Artifacts are immutable and their names are taken for good, so a tag that is pushed again gets the next `~N`. Everything
about an archive is known before its artifact is created: upload URLs live an hour, and cannot be renewed.
"""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from yarl import URL

from proxy.archive.container import OVERHEAD, ContainerInvalid, payload, wrap
from proxy.archive.index import TAIL
from proxy.artifacts.base import Artifact, ArtifactGone, Body, StoreRefused
from proxy.artifacts.blobs import BlobStorage, Changed, RangesIgnored, Uploaded, UploadExpired, UrlRefused, most_bytes
from proxy.artifacts.naming import numbered
from proxy.artifacts.results import Listed, NameTaken, NoSuchArtifact, ResultsService, Unclear
from proxy.artifacts.trust import Trust, Untrusted
from proxy.files import LocalFile, write_all
from proxy.offload import offload

T = TypeVar("T")

_log = logging.getLogger(__name__)
NO_SESSION = 'image-relay has no session: put "- uses: OWNER/image-relay@v1" before this push'
_SUFFIX = ".tar.zst"
_NAMES = 50  # tried for one push, before somebody must be taking them all
_UPLOADS = 3  # of one push
_SIGNINGS = 3  # of one read


class Reader(Protocol):
    """Access to finished artifacts: through the results service, or the REST API."""

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts."""

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for some minutes; NoSuchArtifact."""


class RemoteFile:
    """The archive in one artifact, read by absolute ranges through signed URLs."""

    local = False

    def __init__(
        self, artifact: Artifact, sign: Callable[[Artifact], Awaitable[URL]], storage: BlobStorage, folder: Path
    ) -> None:
        self.size = artifact.size
        self.ahead = storage.down - 1
        self._artifact = artifact
        self._sign = sign
        self._storage = storage
        self._folder = folder
        self._start = 0  # of the archive within the artifact
        self._tail = b""
        self._url: URL | None = None
        self._etag = ""
        self._whole: LocalFile | None = None
        self._signing = asyncio.Lock()
        self._fetching = asyncio.Lock()

    def within(self, start: int, stop: int) -> None:
        """Set where in the artifact the archive is."""
        self._start, self.size = start, stop - start

    async def look(self) -> None:
        """Read the end, and find out how the archive is wrapped; the end is kept: it has the index."""
        artifact = self._artifact.size
        tail = await self._fetch(max(0, artifact - TAIL - OVERHEAD), artifact)
        if self._whole:
            artifact = self._whole.size
            tail = await self._whole.read(max(0, artifact - TAIL - OVERHEAD), artifact, bytes)
        try:
            start, stop = payload(tail, artifact)
        except ContainerInvalid:
            start, stop = 0, artifact  # not wrapped
        self.within(start, stop)
        self._tail = tail[: len(tail) - (artifact - stop)]

    async def read(self, start: int, stop: int, then: Callable[[bytes], T]) -> T:
        """Read bytes of the archive, and give what `then` makes of them."""
        stop = min(stop, self.size)
        if self._tail and start >= self.size - len(self._tail):
            at = start - (self.size - len(self._tail))
            return then(self._tail[at : at + stop - start])
        if self._whole is None:
            stored = await self._fetch(self._start + start, self._start + stop)
            if self._whole is None:
                return await offload(then, stored)
        return await self._whole.read(self._start + start, self._start + stop, then)

    async def _fetch(self, start: int, stop: int) -> bytes:
        """Read a range of the artifact; from a server that gives none, the whole artifact, to disk."""
        for _ in range(_SIGNINGS):
            url = await self._signed()
            try:
                stored, etag = await self._storage.read(url, start, stop, self._etag)
            except UrlRefused:
                self._drop(url)
            except RangesIgnored:
                await self._fetch_whole()
                return b""
            except Changed as error:
                raise ArtifactGone(self._artifact.name) from error
            else:
                self._etag = self._etag or etag
                return stored
        raise StoreRefused("blob storage refuses every URL that the artifact service signs; try again later")

    async def _signed(self) -> URL:
        async with self._signing:
            if self._url is None:
                try:
                    self._url = await self._sign(self._artifact)
                except NoSuchArtifact as error:
                    raise ArtifactGone(self._artifact.name) from error
            return self._url

    def _drop(self, url: URL) -> None:
        if self._url == url:  # else somebody has a new one already
            self._url = None

    async def _fetch_whole(self) -> None:
        async with self._fetching:
            if self._whole is None:
                _log.info("this server gives no ranges: the artifact %s is read as a whole", self._artifact.name)
                self._whole = await self._downloaded()

    async def _downloaded(self) -> LocalFile:
        with await offload(partial(tempfile.NamedTemporaryFile, dir=self._folder)) as file:
            size = 0
            async for chunk in self._storage.whole(await self._signed()):
                await offload(write_all, file.fileno(), [chunk], size)
                size += len(chunk)
            return await offload(LocalFile.open, Path(file.name))


class ActionsStore:
    """Artifacts of one workflow run; empty and closed until a session opens it."""

    replaces = False

    def __init__(self, storage: BlobStorage, trust: Trust, folder: Path, *, any_job: bool = False) -> None:
        self.closed = NO_SESSION
        self.any_job = any_job
        self._storage = storage
        self._trust = trust
        self._folder = folder
        self._retention = timedelta(days=3)
        self._service: ResultsService | None = None
        self._run: RunReader | None = None
        self._reader: Reader | None = None

    def open_with(self, service: ResultsService, retention: timedelta) -> None:
        """Use a session, to read and to write, from now on."""
        self._service, self._run, self._retention = service, RunReader(service), retention
        self._reader, self.closed = self._run, ""

    def read_with(self, reader: Reader, closed: str) -> None:
        """Read through something else; `closed` is what a push is told."""
        self._reader, self.closed = reader, closed

    def may_replace(self, artifact: Artifact) -> bool:
        """Refuse what another job of the same attempt has stored; a later attempt replaces what an earlier one did."""
        if self.any_job or self._service is None:
            return True
        run, _, job = artifact.owner.partition(":")
        session = self._service.session
        return run != session.run or job == session.job

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts of the run."""
        return await self._reader.listed() if self._reader else []

    async def open(self, artifact: Artifact) -> RemoteFile:
        """Read the end of an artifact; ArtifactGone if it is there no more."""
        file = self._file(artifact)
        await file.look()
        return file

    def _file(self, artifact: Artifact) -> RemoteFile:
        if self._reader is None:
            raise ArtifactGone(artifact.name)
        return RemoteFile(artifact, self._signed, self._storage, self._folder)

    async def _signed(self, artifact: Artifact) -> URL:
        if self._reader is None:
            raise ArtifactGone(artifact.name)
        url = await self._reader.sign(artifact)
        self._check(url)
        return url

    def _check(self, url: URL) -> None:
        try:
            self._trust.check_signed(url, self._service.session.origin if self._service else None)
        except Untrusted as error:
            raise StoreRefused(str(error)) from error

    async def delete(self, artifact: Artifact) -> None:
        """Delete an artifact; one that is not there any more is no error."""
        if self._run is None:
            raise StoreRefused(self.closed)
        await self._run.delete(artifact)

    async def put(self, name: str, body: Body) -> Artifact:
        """Store an archive under a name, or `name~N` where that is taken."""
        service = self._service
        if service is None:
            raise StoreRefused(self.closed)
        if body.size + OVERHEAD > most_bytes():
            raise StoreRefused(f"the image has {body.size} bytes, an artifact takes {most_bytes()}")
        same = [each for each in await self.listed() if numbered(each.name).plain == name]
        first = max((numbered(each.name).number for each in same), default=0) + 1
        uploads = 0
        for number in range(first, first + _NAMES):
            full = name if number == 1 else f"{name}~{number}"
            try:
                url = await service.create(full, self._expiry())
            except NameTaken:
                continue
            self._check(url)
            if stored := await self._upload(service, full, url, body):
                return replace(stored, created=_after(same))
            uploads += 1
            if uploads == _UPLOADS:
                break
        raise StoreRefused("the artifact service did not take the image, under any of several names; try again later")

    def _expiry(self) -> datetime:
        # An hour more: Gitea counts whole days, and rounds down.
        return datetime.now(UTC) + self._retention + timedelta(hours=1)

    async def _upload(self, service: ResultsService, name: str, url: URL, body: Body) -> Artifact | None:
        """Upload and finish one artifact; None if its name has to be given up."""
        in_order = "/twirp/" in url.path  # not Azure: blocks are appended as they come
        try:
            uploaded = await self._storage.upload(url, _wrapped(name, body), in_order=in_order)
        except UploadExpired:
            _log.warning("the upload of %s broke off; it starts again under another name", name)
            return None
        artifact_id = await self._finalized(service, name, uploaded, look=in_order)
        if artifact_id is None:
            return None
        return Artifact(name, artifact_id, datetime.now(UTC), uploaded.size, service.session.owner)

    async def _finalized(self, service: ResultsService, name: str, uploaded: Uploaded, *, look: bool) -> str | None:
        """Finish an artifact; after an unclear answer it is looked for before another try: none is finished twice.

        `look`: this server may say yes to what it has not finished.
        """
        for wait in [*service.waits(), None]:
            try:
                artifact_id = await service.finalize(name, uploaded.size, uploaded.sha256)
            except (Unclear, NameTaken, NoSuchArtifact) as error:
                _log.info("finishing %s: %s", name, type(error).__name__)
                artifact_id = ""
            if artifact_id and not look:
                return artifact_id
            if found := await self._finished(service, name, uploaded, agreed=bool(artifact_id)):
                return found
            if wait is not None:
                await asyncio.sleep(wait)
        return None

    async def _finished(self, service: ResultsService, name: str, uploaded: Uploaded, *, agreed: bool) -> str | None:
        for found in await service.listed():
            same = found.digest == f"sha256:{uploaded.sha256}" or (not found.digest and found.size == uploaded.size)
            if found.name == name and (same or (agreed and found.size)):  # act lists the size of a folder
                return found.id
        return None


def _after(earlier: list[Artifact]) -> datetime:
    """Give a creation time later than those of earlier artifacts, also where the clocks differ."""
    latest = max((each.created for each in earlier), default=datetime.fromtimestamp(0, UTC))
    return max(datetime.now(UTC), latest + timedelta(milliseconds=1))


async def _wrapped(name: str, body: Body) -> AsyncIterator[bytes]:
    wrapping = wrap(name + _SUFFIX, body.size, body.crc)
    yield wrapping.head
    async for part in body.parts():
        yield part
    yield wrapping.end


class RunReader:
    """Reads and deletes the artifacts of a run through the results service."""

    def __init__(self, service: ResultsService) -> None:
        self._service = service
        self._by_id: dict[str, Listed] = {}

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts, of earlier attempts too where the service shows them."""
        found = await self._service.listed()
        self._by_id = {each.id: each for each in found}
        return [Artifact(each.name, each.id, each.created, each.size, f"{each.run}:{each.job}") for each in found]

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for some minutes."""
        return await self._service.sign(await self._known(artifact))

    async def delete(self, artifact: Artifact) -> None:
        """Delete an artifact; one that is gone is no error."""
        try:
            await self._service.delete(await self._known(artifact))
        except NoSuchArtifact:
            return

    async def _known(self, artifact: Artifact) -> Listed:
        """Find the ids that the service wants: those of the job that stored the artifact."""
        if artifact.id not in self._by_id:
            await self.listed()
        if artifact.id not in self._by_id:
            raise NoSuchArtifact(artifact.name)
        return self._by_id[artifact.id]
