"""Blobs on disk, which repositories may see them, and a cache of those that no repository needs any more."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from proxy.archive.index import Entry
from proxy.blob import Blob, Verification
from proxy.errors import ContentDamaged, TooManyRequests
from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.runtime.files import LocalFile
from proxy.runtime.limits import Limits
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blob_file import blob_of, read_entry
from proxy.spool.paths import (
    disk_troubles,
    files_in,
    files_of_repositories,
    free_bytes,
    move,
    new_path,
    path_in_repository,
    touch,
)
from proxy.spool.staging import Part
from proxy.spool.told import Told


class Blobs:
    """Blobs below one folder; bytes are kept once, whoever may see them. Use it after `recover`."""

    def __init__(self, root: Path, *, cache_limit: int, limits: Limits) -> None:
        self.root = root
        self._limits = limits
        self._blobs: dict[Digest, Entry] = {}
        self._verification = Verification()
        self._files: WeakValueDictionary[Digest, LocalFile] = WeakValueDictionary()  # that somebody reads
        self._links: dict[Name, dict[Digest, float]] = {}  # since when, in monotonic seconds: clocks are set, or stop
        self._set_aside: dict[Name, dict[Digest, float]] = {}  # links of an earlier process
        self._promises = Counter[tuple[Name, Digest]]()  # how many clients were told that a repository has a blob
        self._told = Told(limits.unclaimed_kept)  # the same of what only archives have
        self._cache_limit = cache_limit  # bytes of blobs that are in artifacts already
        self._cached: OrderedDict[Digest, None] = OrderedDict()  # blobs that no link needs, least recently used first
        self._changing = asyncio.Lock()  # files and tables change together, one change at a time

    # Life of the folder

    async def recover(self) -> None:
        """Find what an earlier process left, of which links wait for `take_up`; remove incomplete files."""
        for path in await run_in_thread(files_in, self.root / "blobs"):
            digest = Digest(path.parent.name, path.name)
            if entry := await run_in_thread(read_entry, path, digest):
                self._blobs[digest] = entry
            else:
                await run_in_thread(path.unlink)
        for path, name, digest in await run_in_thread(files_of_repositories, self.root / "links"):
            age = max(0.0, time.time() - (await run_in_thread(path.stat)).st_mtime)
            self._set_aside.setdefault(name, {})[digest] = time.monotonic() - age
        async with self._changing:
            await self._move_to_cache(list(self._blobs))

    def take_up(self) -> None:
        """Let repositories see what they saw in an earlier process."""
        for name, links in self._set_aside.items():
            self._links.setdefault(name, {}).update(links)
        self._set_aside = {}

    async def forget_links(self) -> None:
        """Hide all blobs from all repositories, in this process and in a later one."""
        async with self._changing:
            tables = (self._links, self._set_aside)
            paths = [self._link_path(name, digest) for table in tables for name in table for digest in table[name]]
            await run_in_thread(_remove, [(path, None) for path in paths])
            self._links, self._set_aside = {}, {}
            self._promises.clear()
            self._told.clear()
            await self._move_to_cache(list(self._blobs))

    async def expire(self, needed: Callable[[Name], Collection[Digest]]) -> None:
        """Remove blobs that no manifest claimed in time, except what each repository still needs."""
        old = time.monotonic() - self._limits.unclaimed_kept
        for name, links in list(self._links.items()):
            kept = needed(name)
            await self.unlink(name, [d for d, since in links.items() if since < old and d not in kept])
        async with self._changing:
            await self._move_to_cache(list(self._blobs))
            await run_in_thread(self._tidy)

    def _tidy(self) -> None:
        """Remove blob files that no table knows: what a cancelled request left."""
        for path in files_in(self.root / "blobs"):
            if Digest(path.parent.name, path.name) not in self._blobs:
                path.unlink(missing_ok=True)

    # What it holds

    @property
    def caches(self) -> bool:
        """Return whether it keeps what is in artifacts already."""
        return self._cache_limit > 0

    @property
    def size(self) -> int:
        """Return how many bytes its blobs have, as they are stored."""
        return sum(entry.stored for entry in self._blobs.values())

    def stored(self, digest: Digest) -> int:
        """Return how many bytes a blob has as it is stored; 0 if it is not here."""
        return self._blobs[digest].stored if digest in self._blobs else 0

    async def find(self, digest: Digest) -> Blob | None:
        """Return a blob, whoever may see it; it stays readable as long as the caller holds it."""
        entry = self._blobs.get(digest)
        if entry is None or digest in self._verification.corrupt:
            return None
        if digest in self._cached:
            self._cached.move_to_end(digest)
        file = self._files.get(digest)
        if file is None:
            try:
                file = await run_in_thread(partial(LocalFile.open, self._path(digest), pinned=False))
            except FileNotFoundError:
                if self._blobs.get(digest) is entry:  # removed behind our back: it can be pushed again
                    self._forget(digest)
                return None
            if self._blobs.get(digest) is not entry:  # removed meanwhile
                await run_in_thread(file.pin)
            else:
                self._files[digest] = file
        return blob_of(digest, entry, file, self._verification)

    async def commit(self, names: Iterable[Name], part: Part) -> None:
        """Make a part a blob of repositories, of all of them before anything else can happen to it."""
        with disk_troubles(self.root):
            async with self._changing:
                await self._keep(part.path, part.digest, part.entry)
                for name in names:
                    await self._link(name, part.digest)

    async def _keep(self, path: Path, digest: Digest, entry: Entry) -> None:
        if await self.find(digest) is None:
            self._files.pop(digest, None)  # what is damaged gives way
            await run_in_thread(move, path, self._path(digest))
            self._blobs[digest] = entry
            self._verification.verified.add(digest)
            self._verification.corrupt.discard(digest)

    def _forget(self, digest: Digest) -> None:
        del self._blobs[digest]
        self._cached.pop(digest, None)
        self._verification.verified.discard(digest)
        self._verification.corrupt.discard(digest)

    def _link_path(self, name: Name, digest: Digest) -> Path:
        return path_in_repository(self.root / "links", name, digest)

    def _path(self, digest: Digest) -> Path:
        return self.root / "blobs" / digest.algorithm / digest.hex

    # Who may see them

    def linked(self, name: Name, digest: Digest) -> bool:
        """Return whether this repository may see the blob."""
        return digest in self._links.get(name, {})

    def is_seen(self, digest: Digest) -> bool:
        """Return whether any repository may see the blob."""
        return any(digest in links for links in self._links.values())

    def linking(self) -> set[Name]:
        """Return the repositories that may see any blob."""
        return set(self._links)

    def refresh_link(self, name: Name, digest: Digest) -> None:
        """Keep a blob for another while: somebody who asks for it is about to name it in a manifest."""
        links = self._links.get(name, {})
        if digest in links:  # else it was taken away while somebody looked
            links[digest] = time.monotonic()

    async def link(self, name: Name, digest: Digest) -> None:
        """Let a repository see a blob, wherever its bytes are."""
        with disk_troubles(self.root):
            async with self._changing:
                await self._link(name, digest)

    async def _link(self, name: Name, digest: Digest) -> None:
        await run_in_thread(touch, self._link_path(name, digest))
        self._links.setdefault(name, {})[digest] = time.monotonic()
        self._promises[name, digest] += 1 + self._told.take(name, digest)
        self._cached.pop(digest, None)

    def promise(self, name: Name, digest: Digest) -> None:
        """Count one more client that was told that the repository has the blob, and so does not send it."""
        if self.linked(name, digest):
            self._promises[name, digest] += 1
            return
        self._told.add(name, digest)

    def mounted(self) -> set[Digest]:
        """Return what repositories may see although its bytes are not here: it was mounted."""
        return {digest for links in self._links.values() for digest in links} - self._blobs.keys()

    def told(self) -> dict[Digest, set[Name]]:
        """Return the blobs that only archives have, and of which repositories clients were told that they have them."""
        return self._told.repositories()

    async def claim(self, name: Name, durable: Iterable[Digest], uses: Mapping[Digest, int]) -> None:
        """Hide blobs from a repository that are durable now, but for those that another client is about to name.

        `uses` is how many manifests have named each, of as many clients as were told that it is here.
        """
        self._promises -= Counter({(name, digest): count for digest, count in uses.items()})  # keeps what is above 0
        for digest, count in uses.items():
            self._told.subtract(name, digest, count)
        await self.unlink(name, [digest for digest in durable if not self._promises[name, digest]])

    async def unlink(self, name: Name, digests: Collection[Digest]) -> None:
        """Hide blobs from a repository. Bytes that no repository sees any more are removed, or stay in the cache."""
        async with self._changing:
            links = self._links.get(name, {})
            gone = [digest for digest in digests if links.pop(digest, None) is not None]
            if not links:
                self._links.pop(name, None)
            for digest in digests:
                del self._promises[name, digest]
            paths = [self._link_path(name, digest) for digest in gone]
            await run_in_thread(_remove, [(path, None) for path in paths])
            await self._move_to_cache(gone)

    # The cache

    async def room(self, size: int) -> Path | None:
        """Return a path to download a blob of so many stored bytes to; None if the cache has no room for it."""
        if size > self._cache_limit:
            return None
        await self.make_room(self._limits.free_disk + size)
        if await run_in_thread(free_bytes, self.root) < self._limits.free_disk + size:
            return None
        return await run_in_thread(new_path, self.root)

    async def keep_downloaded(self, path: Path, digest: Digest, entry: Entry) -> None:
        """Move a downloaded blob, whose digest was checked, into the cache."""
        async with self._changing:
            await self._keep(path, digest, entry)
            await self._move_to_cache([digest])

    async def make_room(self, size: int) -> None:
        """Evict from the cache until so much of the disk is free, or the cache is empty."""
        async with self._changing:
            while self._cached and await run_in_thread(free_bytes, self.root) < size:
                await run_in_thread(_remove, [self._evict()])

    async def _move_to_cache(self, digests: Collection[Digest]) -> None:
        """Keep blobs that no repository sees for as long as the cache has room for them."""
        wanted, tables = set(digests), (*self._links.values(), *self._set_aside.values())
        seen = set[Digest]().union(*(links.keys() & wanted for links in tables))
        for digest in digests:
            if digest in self._blobs and digest not in seen:
                self._cached.setdefault(digest)
        held, evicted = (
            sum(self._blobs[digest].stored for digest in self._cached),
            list[tuple[Path, LocalFile | None]](),
        )
        while self._cached and (held > self._cache_limit or not self._cache_limit):
            held -= self._blobs[next(iter(self._cached))].stored
            evicted.append(self._evict())
        if evicted:
            await run_in_thread(_remove, evicted)

    def _evict(self) -> tuple[Path, LocalFile | None]:
        """Forget the least recently used blob of the cache; return its file, and as what somebody may read it."""
        digest = next(iter(self._cached))
        self._forget(digest)
        return self._path(digest), self._files.pop(digest, None)


def _remove(files: Iterable[tuple[Path, LocalFile | None]]) -> None:
    """Remove files, which whoever reads them still can. Blocks."""
    for path, file in files:
        try:
            if file:
                file.pin()
        except ContentDamaged:  # it is gone already
            pass
        except TooManyRequests:  # so many are read, and open: `_tidy` removes it later
            continue
        path.unlink(missing_ok=True)
