"""The spool: what was pushed and is not yet part of an artifact, on local disk, in the form that archives have.

A blob file is a run of pieces and the footer of an archive, so it can be read by itself after a restart. It appears
under its digest by a rename, whole or not at all. Which repository may see a blob is a link, an empty file; bytes are
kept once. A pending manifest is a blob file of its own below `pending`.

    uploads/<id>                            an upload in progress; gone after a restart
    blobs/<algorithm>/<hex>                 blobs
    links/<repository>/<algorithm>+<hex>    who may see them, and since when; written as in names of artifacts
    pending/<repository>/<algorithm>+<hex>  manifests pushed by digest that are in no artifact yet
    run.json                                of which run links and pending manifests are; none where images are files
"""

import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager, closing
from functools import partial
from pathlib import Path

from aiofiles.os import makedirs

from proxy.archive.pieces import PIECE
from proxy.blob import Blob, read_proven
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name
from proxy.runtime.files import NewFile
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blob_file import BlobCopy
from proxy.spool.blobs import Blobs
from proxy.spool.paths import check_room, disk_troubles, new_path
from proxy.spool.pending import PendingKey, PendingManifests, written
from proxy.spool.run import FOLDER, Run, read_run, write_run
from proxy.spool.sessions import UploadSessions
from proxy.spool.staging import WIDTH, Part, StagingArea, Watcher


class Spool(Blobs):
    """Blobs below one folder, with the upload sessions that bring them and the pending manifests that name them."""

    def __init__(
        self, root: Path, *, level: int, memory: MemoryBudget, cache_limit: int = 0, limits: Limits = DEFAULT
    ) -> None:
        super().__init__(root, cache_limit=cache_limit, limits=limits)
        self.pending = PendingManifests(root, level)
        self.sessions = UploadSessions(self, level=level, memory=memory, limits=limits)
        self.run = FOLDER  # of links and pending manifests
        self._level = level
        self._memory = memory

    async def open(self, run: Run | None = FOLDER) -> tuple[Run, list[PendingKey]]:
        """Find what an earlier process left: its blobs and pending manifests, not its open uploads.

        Return of which run that is, and what `belong_to` returns. Without a run nothing of it answers before that.
        """
        await run_in_thread(shutil.rmtree, self.root / "uploads", ignore_errors=True)
        for folder in ("uploads", "blobs/sha256", "blobs/sha512", "links", "pending"):
            await makedirs(self.root / folder, exist_ok=True)
        await self.pending.recover()
        await self.recover()
        before = self.run = await run_in_thread(read_run, self.root)
        return before, await self.belong_to(run) if run else []

    async def belong_to(self, run: Run) -> list[PendingKey]:
        """Work for a run from now on; forget what another one has pushed, and return its pending manifests.

        Bytes of blobs stay in the cache, but no repository sees them. Raise Denied where the disk fails.
        """
        forgotten = list[PendingKey]()
        with disk_troubles(self.root):
            if run.is_same(self.run):
                self.pending.take_up()
                self.take_up()
                run = Run(run.name, run.keys | self.run.keys)
            else:
                forgotten = await self.pending.forget()
                await self.sessions.cancel_all()
                await self.forget_links()
            if run != self.run:
                await run_in_thread(write_run, self.root, run)
            self.run = run
        return forgotten

    async def sweep(self) -> None:
        """Cancel idle uploads, and remove blobs that no manifest claimed in time."""
        await self.sessions.cancel_idle()
        await self.expire(self.pending.needed)

    def repositories(self) -> set[Name]:
        """Return the repositories that have anything here."""
        return self.linking() | {name for name, pending in self.pending.items() if pending}

    @asynccontextmanager
    async def parts(self, watcher: Watcher | None = None) -> AsyncIterator[StagingArea]:
        """Yield an area for content whose repository is not known yet, with as many threads as there is memory for."""
        least = self._limits.free_disk
        await self.make_room(least)
        with self._memory.try_reserve(2 * PIECE * WIDTH) as enough, disk_troubles(self.root):
            await run_in_thread(check_room, self.root, least)
            new, check = partial(new_path, self.root), partial(check_room, self.root, least)
            parts = StagingArea(new, check, level=self._level, width=WIDTH if enough else 1, watcher=watcher)
            try:
                yield parts
            finally:
                await run_in_thread(parts.close)

    async def keep_blob(self, blob: Blob, names: Collection[Name] = ()) -> None:
        """Copy a blob out of an archive that is about to go, and let these repositories see it, too.

        Raise Denied, RegistryError.
        """
        if self.stored(blob.digest):
            for name in names:
                await self.link(name, blob.digest)
            return
        await self.make_room(self._limits.free_disk + blob.stored)
        with disk_troubles(self.root):
            path = await run_in_thread(new_path, self.root)
            try:
                with closing(await run_in_thread(NewFile, path)) as file:
                    copy = BlobCopy(blob, file)
                    async with aclosing(read_proven(blob, self._memory, copy.append)) as pieces:
                        async for _ in pieces:
                            pass
                    await run_in_thread(copy.complete)
                await self.commit(names, Part(path, blob.digest, copy.entry))
            finally:
                await run_in_thread(path.unlink, missing_ok=True)

    async def keep_manifest(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Keep a manifest beside the parts that it names; unlike one that is pending it will never be sealed."""
        async with written(self.root, digest, manifest, self._level) as part:
            await self.commit([name], part)
