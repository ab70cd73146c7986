"""Which artifact answers for a tag or a digest.

The store is listed at most every two seconds; what this relay stores or deletes itself counts at once. An index is
read once per artifact id, and only if an answer needs it. Of several artifacts of one tag the newest answers; if that
cannot be read, none does. A remote store may list less than it has, for a while: an artifact of an earlier listing is
gone only when it cannot be opened any more. A replaced archive still answers for its digests while somebody pulls it.
"""

import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from proxy.artifacts.base import (
    NOBODYS,
    Ahead,
    Artifact,
    ArtifactStore,
    Claim,
    SendsAhead,
    StoreExpired,
    UnreadableArtifact,
)
from proxy.artifacts.naming import Naming, meanings
from proxy.artifacts.ranking import order
from proxy.blob import Blob
from proxy.catalog.archive import Archive, ArchiveBody, Copies
from proxy.catalog.listing import Listing
from proxy.catalog.opener import Opener
from proxy.catalog.reader import Reader
from proxy.catalog.replaced import ReplacedArchives
from proxy.catalog.search import Search
from proxy.catalog.volume import Usage, Volume
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.files import Source
from proxy.runtime.limits import DEFAULT, Limits


class Catalog:
    """Looks up archives in one artifact store; archives that others have zipped are unpacked to `folder`."""

    def __init__(
        self, store: ArtifactStore, naming: Naming, folder: Path | None = None, limits: Limits = DEFAULT
    ) -> None:
        self.is_remote = store.is_remote
        self.may_replace = store.may_replace
        self._store, self._usage = store, Usage(store)
        self._naming = naming
        self._limits = limits
        self._listing = Listing(store, self._on_listed, limits.listing_fresh, limits.listing_late)
        limit = limits.index_pieces if store.is_remote else math.inf  # a local archive may be replaced: it is kept open
        self._opener = Opener(store, naming, limit, self._is_there, folder)
        self._reader = Reader(self._listing, self._opener, naming)
        self._search = Search(self._listing, self._opener, self._reader, naming, is_remote=store.is_remote)
        self.lingering = ReplacedArchives(limits.replaced_kept, limits.replaced_most, limits.steps_kept)

    @property
    def closed(self) -> str:
        """Why nothing can be stored now; empty if it can."""
        return self._store.closed

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted now; empty if it can."""
        return self._store.undeletable

    def version(self, *, fresh: bool) -> int | None:
        """Return a number that is another one after each change; None if it is to be `fresh`, and has to be listed."""
        return self._listing.version if self._listing.is_fresh or not fresh else None

    def holds(self, name: Name, blob: Blob) -> bool:
        """Return whether content is in an open archive of a repository."""
        return any(each.source is blob.source for each in self._reader.held_of(name))

    async def resolve(self, name: Name, reference: Tag | Digest) -> Archive | None:
        """Return the archive that answers for a tag, or whose artifact is named by a digest; None if there is none.

        Raise UnreadableArtifact if it cannot be read: an older one never answers in its place.
        """
        return (await self.standing(name, reference))[0]

    async def standing(self, name: Name, reference: Tag | Digest) -> tuple[Archive | None, frozenset[str]]:
        """Return the archive that `resolve` returns, and the ids of all artifacts that may be of the reference."""
        wanted = self._naming.encode(name, reference)
        if self._listing.has_just_stored(wanted):
            return await self._standing(wanted)
        return await self._listing.looked(partial(self._standing, wanted))

    def ids(self, name: Name, reference: Tag | Digest) -> frozenset[str]:
        """Return the ids of all artifacts of a reference in the last listing."""
        return frozenset(each.id for each in self._listing.same(self._naming.encode(name, reference)))

    async def _standing(self, wanted: str) -> tuple[Archive | None, frozenset[str]]:
        same = self._listing.same(wanted)
        return await self._reader.newest(wanted, same), frozenset(each.id for each in same)

    async def confirmed(self, archive: Archive, name: Name, reference: Tag | Digest) -> bool:
        """Return whether an archive exists, by a new listing, and still answers if the reference is a tag."""
        is_there, wanted = await self._listing.confirmed(archive.artifact), self._naming.encode(name, reference)
        return is_there and (isinstance(reference, Digest) or await self._reader.is_newest(archive.artifact, wanted))

    def interim(self, archive: Archive) -> float:
        """Return for how many seconds to wait for an index that may replace an archive; 0 for one of this relay."""
        if not self._store.is_remote or self._listing.is_own(archive.artifact):
            return 0.0
        return archive.interim(self._store.now(), self._limits.interim)

    def forerunners(self, archive: Archive) -> list[Archive]:
        """Return what this relay stored as steps of the push of an archive (`Archive.continues`)."""
        return [each for each in self._reader.held() if self._listing.is_own(each.artifact) and archive.continues(each)]

    def has(self, artifact: Artifact) -> bool:
        """Return whether an artifact is listed."""
        return artifact.id in self._listing.listed

    async def archives_in(self, name: Name) -> list[Archive]:
        """Return the archives of a repository that answer for something, the newest first; see `unreadable`."""
        found = await self._listing.looked(lambda: self._reader.answering(self._reader.candidates(name)))
        return [archive for archive in found if archive.name == name]

    async def all_archives(self) -> list[Archive]:
        """Return all archives that answer for something, by name, the newest of each first; see `unreadable`.

        When the session is over, only those that were opened before are returned: the others are unreadable.
        """
        ignored = (UnreadableArtifact, StoreExpired)
        found = await self._listing.looked(lambda: self._reader.answering(self._reader.ours(), ignored))
        return sorted(found, key=lambda archive: archive.name)

    def unreadable(self, name: Name | None = None) -> list[UnreadableArtifact]:
        """Return why artifacts, that may be of a repository or all, could not be read; listings lack them."""
        return self._reader.unreadable(name)

    def reference_of(self, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
        """Return the reference that the name of an artifact tells; None if it tells none."""
        return self._reader.reference_of(artifact)

    async def find(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive of the repository that has this content, preferably one that has it as a manifest."""
        return await self._search.find(name, digest)

    def siblings(self, name: Name) -> dict[str, tuple[str, ...]]:
        """Return hints for the readers of a new archive: which manifests the other artifacts of its repository have."""
        return self._search.siblings(name)

    async def versions(self, name: Name, reference: Tag | Digest) -> list[Archive]:
        """Return all archives of a reference that can be read, also those that were replaced."""
        same = self._listing.same(self._naming.encode(name, reference))
        return await self._reader.opened([partial(self._opener.open, artifact) for artifact in same])

    async def replaced(self, name: Name, root: Digest) -> list[Archive]:
        """Return the archives of a repository that have this root, and a newer one under their reference."""
        await self._listing.refresh()
        opened = await self._reader.opened([partial(self._opener.open, each) for each in self._reader.parted(name)[1]])
        return [archive for archive in opened if archive.name == name and archive.index.root == root]

    async def cached_archives(self) -> list[Archive]:
        """Return the archives that are open, of a remote store; all archives of a local one."""
        return self._reader.held() if self._store.is_remote else await self.all_archives()

    async def open_all(self, name: Name, most: int = 100) -> None:
        """Open what a remote store has of a repository, at most so many artifacts, for `find_cached` and `known_of`."""
        await self._search.open_all(name, most)

    async def find_cached(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive that has this content, as far as that can be told without asking a remote store."""
        return await self._search.find_cached(name, digest)

    async def copies(self, blobs: Mapping[Digest, Blob]) -> dict[Digest, Copies]:
        """Return for large blobs which archives of the run, of any repository, have exactly their pieces."""
        return await self._search.copies(blobs)

    def known_of(self, wanted: Collection[Digest]) -> set[Digest]:
        """Return which of some content is in open archives, of any repository."""
        return self._search.known_of(wanted)

    async def tags(self, name: Name) -> list[Tag]:
        """Return the tags of a repository, in ASCII order, by the names of artifacts; unclear ones are opened.

        Raise UnreadableArtifact if there is none, and an artifact that may have one cannot be read.
        """
        await self._listing.refresh()
        unclear = self._reader.unclear(name)
        clear = [each for each in self._reader.candidates(name) if each not in unclear]
        opened = await self._reader.answering(unclear)
        problems = [each for each in self.unreadable(name) if each.artifact in unclear]
        known = map(self.reference_of, [*clear, *(each.artifact for each in problems)])
        found = [each[1] for each in known if each] + [each.reference for each in opened if each.name == name]
        if problems and not found:
            raise problems[0].afresh()
        return sorted({each for each in found if isinstance(each, Tag)})

    async def repositories(self) -> list[Name]:
        """Return the repositories that have an archive, in ASCII order, as far as artifacts can be read."""
        await self._listing.refresh()
        names = {known[0] for each in self._listing.listed.values() if (known := self.reference_of(each))}
        return sorted(names | {archive.name for archive in await self._reader.answering(self._reader.unclear())})

    async def ours(self) -> list[Artifact]:
        """Return the artifacts that, by their names, this program stored, replaced ones too; the oldest first."""
        await self._listing.refresh()
        return sorted(self._reader.ours(), key=order)

    async def open(self, artifact: Artifact) -> Archive | None:
        """Return the archive in an artifact; None if there is none, or not yet. Raise UnreadableArtifact."""
        return await self._opener.open(artifact)

    async def volume(self) -> Volume:
        """Return how much storage all images use, replaced ones too, and how much those have used that were deleted."""
        return self._usage.volume(await self.ours(), {each.artifact.id: each.size for each in self._reader.held()})

    async def tagged_names(self) -> list[tuple[Name, Tag]]:
        """Return every tag, by name and the newest first, by the names of artifacts alone: none is opened."""
        await self._listing.refresh()
        newest = sorted(self._listing.listed.values(), key=order, reverse=True)
        decoded = dict.fromkeys(filter(None, map(self.reference_of, newest)))
        return sorted(((name, tag) for name, tag in decoded if isinstance(tag, Tag)), key=lambda each: each[0])

    def others(self) -> list[Artifact]:
        """Return the artifacts of the last listing that, by their names, other programs stored; the newest first."""
        listed = [each for each in self._listing.listed.values() if not self._reader.is_ours(each)]
        return sorted([*listed, *self._listing.foreign], key=order, reverse=True)

    async def open_source(self, artifact: Artifact) -> Source:
        """Open an artifact that others stored; raise ArtifactGone."""
        return await self._store.open(artifact)

    def forget_listing(self) -> None:
        """List anew before the next answer."""
        self._listing.expire()

    def forget_all(self) -> None:
        """Forget everything: from now on the store is that of another run."""
        for part in (self._usage, self._listing, self.lingering, self._opener):
            part.clear()

    def begin(self, name: Name, tag: Tag, others: Callable[[], Awaitable[Sequence[Archive]]]) -> Ahead | None:
        """Begin to send content that is still coming, for an archive that is then `put`, if the store can do that.

        What `others` have as well is not sent before it is known whether the storage copies it.
        """
        look = partial(self._search.begin, partial(self.standing, name, tag), self.may_replace, others)
        wanted = self._naming.encode(name, tag)
        return self._store.begin(wanted, look) if isinstance(self._store, SendsAhead) else None

    async def put(self, name: Name, reference: Tag | Digest, body: ArchiveBody, claim: Claim = NOBODYS) -> Archive:
        """Store an archive, which then answers for its reference; raise Contested."""
        encoded = self._naming.encode(name, reference)
        before = [each for each in self._listing.same(encoded) if each.name == encoded]
        await self._opener.pin(before)
        replaced = [archive for each in before if (archive := self._opener.archives.get(each.id))]
        artifact = await self._store.put(encoded, body, claim)  # meanwhile a listing may drop what this replaces
        archive = Archive(artifact, await self._store.open(artifact), body.index, name, reference)
        if self._store.overwrites:
            self.lingering.add(replaced, archive)
            for each in before:
                self._opener.forget(each.id)
                self._listing.forget(each)
        self._listing.add(artifact)
        self._opener.archives.put(artifact.id, archive)
        return archive

    async def delete(
        self, name: Name, reference: Tag | Digest, newest: Artifact | None = None, seen: Collection[str] = ()
    ) -> None:
        """Delete the artifacts of a reference, up to `newest` if it is given, also those that cannot be read."""
        wanted = self._naming.encode(name, reference)
        await self._listing.refresh()
        for artifact in self._listing.up_to(newest, seen, wanted):
            likely, *others = meanings(artifact.name)
            is_meant = likely == wanted
            with suppress(UnreadableArtifact):  # the likelier meaning decides if it cannot be read
                if others:
                    archive = await self._opener.open(artifact)
                    is_meant = archive is not None and self._reader.encoded(archive) == wanted
            if is_meant:
                await self.remove(artifact)
        self.lingering.forget_reference(name, reference)

    async def remove(self, artifact: Artifact) -> bool:
        """Delete one artifact, and no other of its reference; return whether this did, and nobody before."""
        await self._opener.pin([artifact])
        archive = self._opener.archives.get(artifact.id)
        done = await self._store.delete(artifact)
        if done and self.has(artifact):  # else it was of the run before
            self._usage.delete(artifact, archive.size if archive else artifact.size)
        self._opener.forget(artifact.id)
        self._listing.remove(artifact)
        return done

    def _on_listed(self) -> None:
        self._opener.keep(self._listing.is_settled, self._listing.listed)

    async def _is_there(self, artifact: Artifact) -> bool:
        """Return whether an artifact that was listed and could not be opened still exists; if not, forget it."""
        if not (is_there := await self._listing.is_there(artifact)):
            self._opener.forget(artifact.id)
        return is_there
