"""Search archives for content: first those that are open, then those that hints name, then all others."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from proxy.archive.index import HINT, SIBLING_MANIFESTS, SIBLINGS
from proxy.archive.pieces import Piece
from proxy.artifacts.base import Artifact, Contested, StoreRefused, UnreadableArtifact
from proxy.artifacts.naming import Naming, meanings
from proxy.artifacts.ranking import order
from proxy.blob import Blob
from proxy.catalog.archive import LEAST_COPIED, Archive, Copies, copies
from proxy.catalog.listing import Listing
from proxy.catalog.opener import Opener
from proxy.catalog.reader import Reader
from proxy.oci.digest import Digest
from proxy.oci.names import Name

_SURVEYED = 64  # artifacts that are opened at most to find what a push need not upload
_SURVEY = 10.0  # seconds that may take; what is not found by then is uploaded
_HINTED = 3  # artifacts that are opened, one after the other, because of hints


class Search:
    """Finds content in the archives of one store."""

    def __init__(self, listing: Listing, opener: Opener, reader: Reader, naming: Naming, *, is_remote: bool) -> None:
        self._listing = listing
        self._opener = opener
        self._reader = reader
        self._naming = naming
        self._is_remote = is_remote

    async def find(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive of the repository that has this content, preferably one that has it as a manifest.

        One that has it damaged counts only if no other has it. Raise UnreadableArtifact if none is found, and one
        cannot be read.
        """
        return self._known(name, digest) or await self._listing.looked(partial(self._holder, name, digest))

    async def find_cached(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive that has this content, as far as that can be told without asking a remote store.

        None too where one that cannot be read may have it: then a push sends it again.
        """
        with suppress(UnreadableArtifact):
            return self._known(name, digest) if self._is_remote else await self.find(name, digest)
        return None

    def _known(self, name: Name, digest: Digest) -> Archive | None:
        holders = [each for each in self._reader.held_of(name) if each.is_sound(digest)]
        holders.sort(key=lambda each: order(each.artifact), reverse=True)
        found = min(holders, key=lambda each: each.index.blobs[digest].media_type is None, default=None)
        return self._opener.archives.get(found.artifact.id) if found else None

    async def _holder(self, name: Name, digest: Digest) -> Archive | None:
        if archive := await self._hinted(name, digest):
            return archive
        last_resort = None
        try:
            async with aclosing(self._reader.each_opened(self._openings(name, digest))) as archives:
                async for archive in archives:
                    if archive.name == name and archive.is_sound(digest):
                        return archive
                    if archive.name == name and digest in archive.index.blobs:
                        last_resort = last_resort or archive
        except UnreadableArtifact as problem:
            if last_resort is None:
                in_name = self._naming.encode(name, digest) in meanings(problem.artifact.name)
                raise (problem if in_name else problem.as_doubt()) from problem
        return last_resort

    async def _hinted(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive that has a manifest: the likeliest one, or one that the hints in open archives name.

        A hint is not trusted: what it names is opened, and its own index decides. None too if that cannot be read.
        """
        if not self._is_remote:
            return None
        likeliest = self._likeliest(name, digest)
        found = await self._first_sound(name, digest, likeliest[:1])
        if found is None:
            named = self._named_by_hints(name, digest)
            found = await self._first_sound(name, digest, [each for each in likeliest if each.name in named][:_HINTED])
        return found

    def _named_by_hints(self, name: Name, digest: Digest) -> set[str]:
        """Return the names of artifacts that have a manifest, by the hints in open archives of its repository."""
        hint = digest.hex[:HINT]
        siblings = [each.index.siblings or {} for each in self._reader.held_of(name)]
        return {artifact for hints in siblings for artifact, digests in hints.items() if hint in digests}

    def _openings(self, name: Name, digest: Digest) -> Iterator[Callable[[], Coroutine[Any, Any, Archive | None]]]:
        """Yield what opens each artifact that may have content, the likeliest first by what is known at that time."""
        rest = self._likeliest(name, digest)
        while rest:
            named = self._named_by_hints(name, digest) if self._is_remote else ()
            artifact = next((each for each in rest if each.name in named), rest[0])
            rest.remove(artifact)
            yield partial(self._opener.open, artifact)

    async def _first_sound(self, name: Name, digest: Digest, artifacts: Iterable[Artifact]) -> Archive | None:
        """Open artifacts one by one, and return the first that has content undamaged; skip what cannot be read."""
        for artifact in artifacts:
            with suppress(UnreadableArtifact):
                archive = await self._opener.open(artifact)
                if archive and archive.name == name and archive.is_sound(digest):
                    return archive
        return None

    def _likeliest(self, name: Name, digest: Digest | None = None) -> list[Artifact]:
        """Return artifacts in this order: named by the digest, answering for a reference, replaced; newest first."""
        named = self._naming.encode(name, digest) if digest else ""
        answering, replaced = self._reader.parted(name)
        return sorted(answering, key=lambda each: named not in meanings(each.name)) + replaced

    def siblings(self, name: Name) -> dict[str, tuple[str, ...]]:
        """Return hints for the readers of a new archive: which manifests the other artifacts of its repository have.

        The hints are the first digits of digests, by the name of the artifact: from open archives, and from the hints
        in those. A local store needs none, since all of it is read.
        """
        if not self._is_remote:
            return {}
        opened = [each for each in self._reader.held() if each.name == name]
        known = {key: said for each in opened for key, said in (each.index.siblings or {}).items()}
        for each in opened:
            known[each.artifact.name] = tuple(
                dict.fromkeys(digest.hex[:HINT] for digest in each.manifests[:SIBLING_MANIFESTS])
            )
        newest = sorted(self._reader.candidates(name), key=order, reverse=True)
        return {each.name: known[each.name] for each in newest[:SIBLINGS] if each.name in known}

    async def open_all(self, name: Name, most: int) -> None:
        """Open what a repository has in a remote store, several artifacts at once, for `find_cached` and `known_of`.

        It opens at most so many, the likeliest first; only one if the server ignores ranges and so sends all of it.
        Raise StoreRefused if the store cannot be listed, or at the end if one of them cannot be read.
        """
        if not self._is_remote:
            return
        await self._listing.refresh()
        works = [partial(self._opener.open, artifact) for artifact in self._likeliest(name)[:most]]
        async with aclosing(self._reader.each_opened(works)) as archives:
            async for archive in archives:
                if archive.source.entire:
                    return

    async def copies(self, blobs: Mapping[Digest, Blob]) -> dict[Digest, Copies]:
        """Return for large blobs which archives of the run, of any repository, have exactly their pieces.

        Up to 64 more artifacts are opened for this, the newest first, until all blobs are found or 10 seconds are over.
        """
        large = {digest for digest, blob in blobs.items() if blob.stored >= LEAST_COPIED}
        if missing := large - self.known_of(large):
            await self._survey(missing)
        return copies(blobs, sorted(self._reader.held(), key=lambda each: order(each.artifact), reverse=True))

    async def begin(
        self,
        standing: Callable[[], Awaitable[tuple[Archive | None, object]]],
        may_replace: Callable[[Artifact], bool],
        others: Callable[[], Awaitable[Sequence[Archive]]],
    ) -> frozenset[Piece]:
        """Return how the large blobs begin that the run has, or `others` have, as far as `copies` would find them.

        Raise Contested if what answers may not be replaced.
        """
        before, _ = await standing()
        if before and not may_replace(before.artifact):
            raise Contested
        await self._survey(None)
        archives = [*self._reader.held(), *await others()]
        entries = [entry for each in archives for entry in each.index.blobs.values()]
        return frozenset(entry.pieces[0] for entry in entries if entry.stored >= LEAST_COPIED)

    async def _survey(self, missing: set[Digest] | None) -> None:
        """Open artifacts, the newest first, until none of some content is missing, or there is not more to find."""
        unopened = [each for each in self._listing.listed.values() if each.id not in self._opener.archives]
        newest = sorted(filter(self._reader.is_ours, unopened), key=order, reverse=True)
        works = [partial(self._opener.open, each) for each in newest[:_SURVEYED]]
        with suppress(StoreRefused, TimeoutError):
            async with asyncio.timeout(_SURVEY), aclosing(self._reader.each_opened(works)) as archives:
                async for archive in archives:
                    if missing is not None and not (missing := missing - archive.index.blobs.keys()):
                        break

    def known_of(self, wanted: Collection[Digest]) -> set[Digest]:
        """Return which of some content is in open archives, of any repository."""
        some = set(wanted)
        return set().union(*(each.index.blobs.keys() & some for each in self._reader.held()))
