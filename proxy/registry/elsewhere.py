"""What other runs have: read where this one has nothing. Nothing is stored, deleted or listed there.

The runs are asked in their order. Each question may take requests to GitHub's API, of which a repository has few an
hour, so whoever pushes only gets to know what was read before.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from proxy.artifacts.actions.rest_runs import NoRun
from proxy.artifacts.base import StoreRefused, UnreadableArtifact
from proxy.blob import Blob
from proxy.catalog.archive import Archive, Copies, copies
from proxy.catalog.other_run import OtherRun
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag

_AHEAD = 3  # artifacts of a repository that are opened in each run when a push begins
_PATIENCE = 10.0  # seconds that may take before a tarball is uploaded


def _nothing() -> Sequence[OtherRun]:
    return ()


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Content of other runs; `runs` returns those that are to be read now."""

    runs: Callable[[], Sequence[OtherRun]] = _nothing

    async def find(self, name: Name, wanted: Tag | Digest) -> Blob | None:
        """Return the manifest that has a tag, or content by its digest, of the first run that has it; else None.

        Raise StoreRefused if a run cannot be read: a later one never answers in its place.
        """
        for run in self.runs():
            catalog = run.catalog
            try:
                archive = await (
                    catalog.resolve(name, wanted) if isinstance(wanted, Tag) else catalog.find(name, wanted)
                )
            except NoRun:
                continue
            except UnreadableArtifact:
                raise
            except StoreRefused as error:
                raise StoreRefused(f"{run.describe()} cannot be read: {error}") from error
            if archive and (blob := _blob(archive, wanted, run)):
                return blob
        return None

    async def find_cached(self, name: Name, digest: Digest) -> Blob | None:
        """Return content by its digest as far as that takes no request."""
        for run in self.runs():
            if archive := await run.catalog.find_cached(name, digest):
                return _blob(archive, digest, run)
        return None

    async def open_some(self, name: Name) -> None:
        """Open what a repository has most recently, so that a push need not send it. Raise StoreRefused."""
        for run in self.runs():
            with suppress(NoRun):
                await run.catalog.open_all(name, most=_AHEAD)

    async def archives(self, name: Name) -> Sequence[Archive]:
        """Return what is open, with some of a repository, so that a push of it need not send what that has."""
        with suppress(StoreRefused, TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self.open_some(name)
        return await self._held()

    async def copies(self, blobs: Mapping[Digest, Blob]) -> dict[Digest, Copies]:
        """Return for large blobs which archives have exactly their pieces, as far as that takes no request."""
        return copies(blobs, await self._held())

    async def _held(self) -> Sequence[Archive]:
        return [archive for run in self.runs() for archive in await run.catalog.cached_archives()]

    def describe(self) -> str:
        """Return the names of the runs, for messages; empty if there is none."""
        return ", ".join(run.describe() for run in self.runs())


def _blob(archive: Archive, wanted: Tag | Digest, run: OtherRun) -> Blob | None:
    """Return content of an archive, with the run that it is from."""
    blob = archive.blob(archive.index.root if isinstance(wanted, Tag) else wanted)
    return blob and replace(blob, origin=run.describe())
