"""Manifests that were pushed by digest and are in no artifact yet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from proxy.archive.index import Entry
from proxy.blob import Blob, Verification, read_all
from proxy.errors import ManifestInvalid, RegistryError
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest, parse
from proxy.oci.names import Name
from proxy.runtime.files import LocalFile
from proxy.runtime.tasks import run_in_thread
from proxy.spool.blob_file import blob_of, read_entry, write_manifest
from proxy.spool.paths import disk_troubles, files_of_repositories, move, new_path, path_in_repository
from proxy.spool.staging import Part

PendingKey = tuple[Name, Digest]  # of which repository, and which manifest


@dataclass(frozen=True, slots=True)
class Pending:
    """What is always known of a pending manifest: how it is stored, what it needs, and to what it refers."""

    entry: Entry
    named: frozenset[Digest]
    children: frozenset[Digest]
    subject: Digest | None

    @classmethod
    def of(cls, manifest: Manifest, entry: Entry) -> Self:
        """Return what has to be known of a manifest; `entry` tells how its bytes are stored."""
        children = frozenset(child.digest for child in manifest.children)
        subject = manifest.subject.digest if manifest.subject else None
        return cls(entry, manifest.named if manifest.blobs else children, children, subject)


class PendingManifests(Mapping[Name, Mapping[Digest, Pending]]):
    """The pending manifests of each repository; their bytes are in files. Use it after `recover`."""

    def __init__(self, root: Path, level: int) -> None:
        self._root = root
        self._level = level
        self._table: dict[Name, dict[Digest, Pending]] = {}
        self._set_aside: dict[Name, dict[Digest, Pending]] = {}  # of an earlier process
        self._changing = asyncio.Lock()  # files and the table change together, one change at a time

    def __getitem__(self, name: Name) -> Mapping[Digest, Pending]:
        return self._table[name]

    def __iter__(self) -> Iterator[Name]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    async def recover(self) -> None:
        """Find the files that an earlier process left, for `take_up`, and remove those that are incomplete."""
        for path, name, digest in await run_in_thread(files_of_repositories, self._root / "pending"):
            try:
                entry = await run_in_thread(read_entry, path, digest)
                if entry is None or entry.media_type is None:
                    raise ManifestInvalid("not a whole manifest")
                blob = blob_of(digest, entry, await run_in_thread(LocalFile.open, path), Verification())
                manifest = parse(await read_all(blob), entry.media_type)
            except RegistryError:
                await run_in_thread(path.unlink)
            else:
                self._set_aside.setdefault(name, {})[digest] = Pending.of(manifest, entry)

    def take_up(self) -> None:
        """Let what an earlier process left answer again."""
        for name, held in self._set_aside.items():
            self._table.setdefault(name, {}).update(held)
        self._set_aside = {}

    @property
    def set_aside(self) -> list[PendingKey]:
        """What an earlier process left and nobody has taken up yet."""
        return [(name, digest) for name, held in self._set_aside.items() for digest in held]

    async def forget(self) -> list[PendingKey]:
        """Remove all, also what an earlier process left; return what that was."""
        async with self._changing:
            tables = (self._table, self._set_aside)
            held = [(name, digest) for table in tables for name in table for digest in table[name]]
            for name, digest in held:  # first, so that nothing is forgotten while it may come back
                await run_in_thread(self._path(name, digest).unlink, missing_ok=True)
            self._table, self._set_aside = {}, {}
        return held

    async def add(
        self, name: Name, digest: Digest, manifest: Manifest, then: Callable[[], None] = lambda: None
    ) -> None:
        """Keep a manifest that was pushed by digest until it is part of an artifact; call `then` once it is pending."""
        async with written(self._root, digest, manifest, self._level) as part, self._changing:
            await run_in_thread(move, part.path, self._path(name, digest))
            self._table.setdefault(name, {})[digest] = Pending.of(manifest, part.entry)
            then()

    async def remove(self, name: Name, digests: Collection[Digest]) -> list[Digest]:
        """Remove manifests that are part of an artifact now, or deleted; return those that were pending."""
        async with self._changing:
            held = self._table.get(name, {})
            removed = [digest for digest in digests if held.pop(digest, None)]
            for digest in removed:
                await run_in_thread(self._path(name, digest).unlink, missing_ok=True)
            if not held:
                self._table.pop(name, None)
        return removed

    async def find(self, name: Name, digest: Digest) -> Blob | None:
        """Return a pending manifest as it is stored; it stays readable as long as the caller holds it."""
        pending = self._table.get(name, {}).get(digest)
        if pending is None:
            return None
        try:
            file = await run_in_thread(LocalFile.open, self._path(name, digest))
        except FileNotFoundError:  # it is in an artifact since a moment ago
            return None
        return blob_of(digest, pending.entry, file, Verification({digest}))

    def needed(self, name: Name) -> set[Digest]:
        """Return the content without which the pending manifests of a repository could not be sealed."""
        return {digest for pending in self._table.get(name, {}).values() for digest in pending.named}

    def _path(self, name: Name, digest: Digest) -> Path:
        return path_in_repository(self._root / "pending", name, digest)


@asynccontextmanager
async def written(root: Path, digest: Digest, manifest: Manifest, level: int) -> AsyncIterator[Part]:
    """Yield a manifest as a part, removed after the block unless it was moved. Raise Denied where the disk fails."""
    with disk_troubles(root):
        path = await run_in_thread(new_path, root)
        try:
            yield Part(path, digest, await run_in_thread(write_manifest, path, digest, manifest, level))
        finally:
            await run_in_thread(path.unlink, missing_ok=True)
