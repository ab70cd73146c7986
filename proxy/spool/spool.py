"""The spool: what was pushed and is not yet part of an artifact, on local disk, in the form that archives have.

A blob file is a run of pieces and the footer of an archive, so it can be read by itself after a restart. It appears
under its digest by a rename, whole or not at all. Which repository may see a blob is a link, an empty file; bytes are
kept once. A pending manifest is a blob file of its own below `pending`.

    uploads/<id>                            an upload in progress; gone after a restart
    blobs/<algorithm>/<hex>                 blobs
    links/<repository>/<algorithm>+<hex>    who may see them, and since when; written as in names of artifacts
    pending/<repository>/<algorithm>+<hex>  manifests pushed by digest that are in no artifact yet
"""

import asyncio
import shutil
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from aiofiles.os import makedirs

from proxy.archive.index import Entry
from proxy.archive.pieces import PIECE
from proxy.blob import Blob, Verification, read_all
from proxy.errors import BlobUploadUnknown, Denied, ManifestInvalid, RegistryError, TooManyRequests
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest, parse
from proxy.oci.names import Name
from proxy.runtime.files import LocalFile
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blob_file import blob_of, read_entry, write_manifest
from proxy.spool.paths import disk_troubles, file_name, files_in, files_of_repositories, folder_name, move, touch
from proxy.spool.pending import Pending
from proxy.spool.staging import WIDTH, Part, StagingArea
from proxy.spool.upload import Upload

_UPLOAD_IDLE = 15 * 60  # seconds until an upload that nobody continues is given up


class Spool:
    """Uploads, blobs and pending manifests below one folder."""

    def __init__(
        self, root: Path, *, level: int, memory: MemoryBudget, cache_limit: int = 0, limits: Limits = DEFAULT
    ) -> None:
        self.root = root
        self.pending: dict[Name, dict[Digest, Pending]] = {}
        self._level = level
        self._memory = memory
        self._limits = limits
        self._uploads: dict[str, Upload] = {}
        self._starting = 0  # uploads that are about to be open
        self._blobs: dict[Digest, Entry] = {}
        self._findings = Verification()
        self._links: dict[Name, dict[Digest, float]] = {}
        self._cache_limit = cache_limit  # bytes of blobs that are in artifacts already
        self._cached: OrderedDict[Digest, None] = OrderedDict()  # blobs that no link needs, least recently used first
        self._changing = asyncio.Lock()  # files and tables change together, one change at a time

    # Life of the folder

    async def open(self) -> None:
        """Find what an earlier process left: its blobs and pending manifests, not its open uploads."""
        await run_in_thread(shutil.rmtree, self.root / "uploads", ignore_errors=True)
        for folder in ("uploads", "blobs/sha256", "blobs/sha512", "links", "pending"):
            await makedirs(self.root / folder, exist_ok=True)
        for path in await run_in_thread(files_in, self.root / "blobs"):
            await self._recover(path, Digest(path.parent.name, path.name))
        for path, name, digest in await run_in_thread(files_of_repositories, self.root / "links"):
            self._links.setdefault(name, {})[digest] = (await run_in_thread(path.stat)).st_mtime
        for path, name, digest in await run_in_thread(files_of_repositories, self.root / "pending"):
            await self._recover_pending(path, name, digest)
        async with self._changing:
            for digest in list(self._blobs):
                await self._drop(digest)

    async def _recover(self, path: Path, digest: Digest) -> None:
        entry = await run_in_thread(read_entry, path, digest)
        if entry is None:
            await run_in_thread(path.unlink)
        else:
            self._blobs[digest] = entry

    async def _recover_pending(self, path: Path, name: Name, digest: Digest) -> None:
        try:
            entry = await run_in_thread(read_entry, path, digest)
            if entry is None or entry.media_type is None:
                raise ManifestInvalid("not a whole manifest")
            blob = blob_of(digest, entry, await run_in_thread(LocalFile.open, path), Verification())
            manifest = parse(await read_all(blob), entry.media_type)
        except RegistryError:
            await run_in_thread(path.unlink)
        else:
            self.pending.setdefault(name, {})[digest] = Pending.of(manifest, entry)

    async def sweep(self) -> None:
        """Give up idle uploads, and blobs that no manifest claimed in time."""
        idle = time.monotonic() - _UPLOAD_IDLE
        for upload in [upload for upload in self._uploads.values() if upload.used < idle]:
            await self.cancel(upload)
        old = time.time() - self._limits.unclaimed_kept
        for name, links in list(self._links.items()):
            needed = self.pending_digests(name)
            await self.unlink(name, [d for d, since in links.items() if since < old and d not in needed])
        async with self._changing:
            for digest in list(self._blobs):
                await self._drop(digest)
            await run_in_thread(self._tidy)

    def _tidy(self) -> None:
        """Remove blob files that no table knows: what a cancelled request left."""
        for path in files_in(self.root / "blobs"):
            if Digest(path.parent.name, path.name) not in self._blobs:
                path.unlink(missing_ok=True)

    # What it holds

    @property
    def caches(self) -> bool:
        """Does it keep what is in artifacts already?"""
        return self._cache_limit > 0

    @property
    def size(self) -> int:
        """Tell how many bytes its blobs have, as they are stored."""
        return sum(entry.stored for entry in self._blobs.values())

    def stored(self, digest: Digest) -> int:
        """Return how many bytes a blob has as it is stored; 0 if it is not here."""
        return self._blobs[digest].stored if digest in self._blobs else 0

    @property
    def uploads(self) -> int:
        """Tell how many uploads are open."""
        return len(self._uploads)

    # Uploads

    async def start(self, name: Name, algorithm: str = "sha256") -> Upload:
        """Open an upload session."""
        most = self._limits.uploads
        if len(self._uploads) + self._starting >= most:
            raise TooManyRequests(f"{most} uploads are open; finish or cancel some", {"Retry-After": "10"})
        self._starting += 1
        try:
            await self._make_room(self._limits.free_disk)
            with disk_troubles(self.root):
                upload = await run_in_thread(self._open_upload, name, algorithm)
            self._uploads[upload.id] = upload
        finally:
            self._starting -= 1
        return upload

    def _open_upload(self, name: Name, algorithm: str) -> Upload:
        path = self._part()
        self._check_room()
        return Upload(name, path, algorithm=algorithm, level=self._level, memory=self._memory, limits=self._limits)

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < self._limits.free_disk:
            raise Denied(
                f"only {free / 2**20:.0f} MiB are free in {self.root}; 1 GiB has to stay free: "
                "free some space and push again"
            )

    def _part(self) -> Path:
        """Name a file that is to be written; somebody may have removed the folder. Blocking."""
        path = self.root / "uploads" / str(uuid.uuid4())
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def upload(self, name: Name, upload_id: str) -> Upload:
        """Find an open session of this repository."""
        upload = self._uploads.get(upload_id)
        if upload is None or upload.name != name:
            raise BlobUploadUnknown(f"no upload {upload_id[:80]!r} is open in {name}; start a new one")
        return upload

    def is_fed(self, name: Name) -> bool:
        """Return whether bytes come for this repository, or came a moment ago: a session alone may be forgotten."""
        return any(upload.name == name and upload.is_fed for upload in self._uploads.values())

    async def append(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        """Let an upload take bytes; when they cannot be written it is given up."""
        try:
            with disk_troubles(self.root):
                await upload.append(chunks)
        finally:
            if upload.torn:
                await self.cancel(upload)

    async def finish(self, upload: Upload, digest: Digest) -> None:
        """Make the upload a blob of its repository; a wrong digest ends it."""
        with upload.alone():  # what is refused here does not end it: the other request goes on
            try:
                with disk_troubles(self.root):
                    entry = await upload.finish(digest)
                    async with self._changing:
                        await self._keep(upload.path, digest, entry)
                        await self._link(upload.name, digest)
            finally:
                await self.cancel(upload)

    async def _keep(self, part: Path, digest: Digest, entry: Entry) -> None:
        if await self.find(digest) is None:
            await run_in_thread(move, part, self._path(digest))
            self._blobs[digest] = entry
            self._findings.verified.add(digest)
            self._findings.corrupt.discard(digest)

    async def cancel(self, upload: Upload) -> None:
        """Forget an upload and what it wrote."""
        self._uploads.pop(upload.id, None)
        await upload.close()
        with disk_troubles(self.root):
            await run_in_thread(upload.path.unlink, missing_ok=True)

    # StagingArea: content whose repository is not known yet

    @asynccontextmanager
    async def parts(self) -> AsyncIterator[StagingArea]:
        """Make parts within the block, as many pieces at once as there is memory for."""
        await self._make_room(self._limits.free_disk)
        await run_in_thread(self._check_room)
        with self._memory.try_reserve(2 * PIECE * WIDTH) as enough, disk_troubles(self.root):
            parts = StagingArea(self._part, self._check_room, level=self._level, width=WIDTH if enough else 1)
            try:
                yield parts
            finally:
                await run_in_thread(parts.close)

    async def commit(self, names: Iterable[Name], part: Part) -> None:
        """Make a part a blob of repositories, of all of them before anything else can happen to it."""
        with disk_troubles(self.root):
            async with self._changing:
                await self._keep(part.path, part.digest, part.entry)
                for name in names:
                    await self._link(name, part.digest)

    async def keep_manifest(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Keep a manifest beside the parts that it names; unlike one that is pending it will never be sealed."""
        with disk_troubles(self.root):
            part = await run_in_thread(self._part)
            try:
                entry = await run_in_thread(write_manifest, part, digest, manifest, self._level)
                async with self._changing:
                    await self._keep(part, digest, entry)
                    await self._link(name, digest)
            finally:
                await run_in_thread(part.unlink, missing_ok=True)

    # Blobs and who may see them

    async def find(self, digest: Digest) -> Blob | None:
        """Give a blob, whoever may see it; it stays readable as long as the answer is held."""
        entry = self._blobs.get(digest)
        if entry is None or digest in self._findings.corrupt:
            return None
        if digest in self._cached:
            self._cached.move_to_end(digest)
        try:
            return blob_of(digest, entry, await run_in_thread(LocalFile.open, self._path(digest)), self._findings)
        except FileNotFoundError:
            if self._blobs.get(digest) is entry:  # removed behind our back: it can be pushed again
                self._forget(digest)
            return None

    def _forget(self, digest: Digest) -> None:
        del self._blobs[digest]
        self._cached.pop(digest, None)
        self._findings.verified.discard(digest)
        self._findings.corrupt.discard(digest)

    def linked(self, name: Name, digest: Digest) -> bool:
        """May this repository see the blob?"""
        return digest in self._links.get(name, {})

    def refresh_link(self, name: Name, digest: Digest) -> None:
        """Keep a blob for another while: somebody who asks for it is about to name it in a manifest."""
        links = self._links.get(name, {})
        if digest in links:  # else it was taken away while somebody looked
            links[digest] = time.time()

    def repositories(self) -> set[Name]:
        """Name the repositories that have anything here."""
        return {name for table in (self._links, self.pending) for name, held in table.items() if held}

    async def link(self, name: Name, digest: Digest) -> None:
        """Let a repository see a blob, wherever its bytes are."""
        with disk_troubles(self.root):
            async with self._changing:
                await self._link(name, digest)

    async def _link(self, name: Name, digest: Digest) -> None:
        await run_in_thread(touch, self.root / "links" / folder_name(name) / file_name(digest))
        self._links.setdefault(name, {})[digest] = time.time()
        self._cached.pop(digest, None)

    async def unlink(self, name: Name, digests: Collection[Digest]) -> None:
        """Take blobs from a repository; bytes that no repository sees any more are removed."""
        links = self._links.get(name, {})
        async with self._changing:
            for digest in [digest for digest in digests if links.pop(digest, None) is not None]:
                path = self.root / "links" / folder_name(name) / file_name(digest)
                await run_in_thread(path.unlink, missing_ok=True)
                await self._drop(digest)

    async def _drop(self, digest: Digest) -> None:
        """Keep a blob that no repository sees for as long as the cache has room for it."""
        if digest in self._blobs and not any(digest in links for links in self._links.values()):
            self._cached.setdefault(digest)
            await self._trim()

    async def _trim(self) -> None:
        held = sum(self._blobs[digest].stored for digest in self._cached)
        while self._cached and (held > self._cache_limit or not self._cache_limit):
            held -= await self._evict()

    async def _evict(self) -> int:
        """Remove what was not used for the longest time; gives how many bytes that frees."""
        digest = next(iter(self._cached))
        size = self._blobs[digest].stored
        self._forget(digest)
        await run_in_thread(self._path(digest).unlink, missing_ok=True)
        return size

    async def _make_room(self, size: int) -> None:
        """Give up what is cached until so much of the disk is free, or nothing is left to give up."""
        async with self._changing:
            while self._cached and (await run_in_thread(shutil.disk_usage, self.root)).free < size:
                await self._evict()

    # The cache of what was downloaded

    async def room(self, size: int) -> Path | None:
        """Give a path to download a blob of so many stored bytes to; None if the cache has no room for it."""
        if size > self._cache_limit:
            return None
        await self._make_room(self._limits.free_disk + size)
        if (await run_in_thread(shutil.disk_usage, self.root)).free < self._limits.free_disk + size:
            return None
        return await run_in_thread(self._part)

    async def keep_downloaded(self, part: Path, digest: Digest, entry: Entry) -> None:
        """Take a downloaded blob, whose digest was checked, into the cache."""
        async with self._changing:
            await self._keep(part, digest, entry)
            await self._drop(digest)

    def _path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex

    # Pending manifests

    async def add_pending(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Keep a manifest that was pushed by digest until it is part of an artifact."""
        path = self._pending_path(name, digest)
        with disk_troubles(self.root):
            part = await run_in_thread(self._part)
            try:
                entry = await run_in_thread(write_manifest, part, digest, manifest, self._level)
                async with self._changing:
                    await run_in_thread(move, part, path)
                    self.pending.setdefault(name, {})[digest] = Pending.of(manifest, entry)
            finally:
                await run_in_thread(part.unlink, missing_ok=True)

    async def remove_pending(self, name: Name, digests: Collection[Digest]) -> list[Digest]:
        """Forget pending manifests that are part of an artifact now, or deleted; gives those that were pending."""
        held = self.pending.get(name, {})
        async with self._changing:
            released = [digest for digest in digests if held.pop(digest, None)]
            for digest in released:
                await run_in_thread(self._pending_path(name, digest).unlink, missing_ok=True)
        return released

    async def get_pending(self, name: Name, digest: Digest) -> Blob | None:
        """Give a pending manifest as it is stored; it stays readable as long as the answer is held."""
        pending = self.pending.get(name, {}).get(digest)
        if pending is None:
            return None
        try:
            file = await run_in_thread(LocalFile.open, self._pending_path(name, digest))
        except FileNotFoundError:  # it is in an artifact since a moment ago
            return None
        return blob_of(digest, pending.entry, file, Verification({digest}))

    def _pending_path(self, name: Name, digest: Digest) -> Path:
        return self.root / "pending" / folder_name(name) / file_name(digest)

    def pending_digests(self, name: Name) -> set[Digest]:
        """Name the content without which the pending manifests of a repository could not be sealed."""
        return {digest for pending in self.pending.get(name, {}).values() for digest in pending.named}
