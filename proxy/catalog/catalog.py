"""Which artifact answers for a tag or a digest.

The store is listed at most every two seconds, and what this relay stores or deletes itself is known at once. Indexes
are read once per artifact id, and only as far as an answer needs them. Of several artifacts of one tag the newest
answers, and none where that cannot be read. A store that is far may list less than there is, for a while: what an
earlier listing had is gone when it cannot be opened any more. An archive that was replaced still answers for its
digests while somebody pulls from it.
"""

import asyncio
import math
import re
import time
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from proxy.archive.index import HINT, SIBLING_MANIFESTS, SIBLINGS
from proxy.artifacts.base import (
    NOBODYS,
    Artifact,
    ArtifactStore,
    Claim,
    StoreExpired,
    StoreRefused,
    UnreadableArtifact,
)
from proxy.artifacts.naming import HIGHEST, Naming, meanings, numbered
from proxy.artifacts.ranking import order, ranked
from proxy.blob import Blob
from proxy.catalog.archive import LEAST_COPIED, Archive, ArchiveBody, Copies, Replaced, copies
from proxy.catalog.listing import Listing
from proxy.catalog.opener import Opener
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.files import Source
from proxy.runtime.tasks import Several

__all__ = ["Archive", "Catalog"]

T = TypeVar("T")

_NOT_IN_NAMES = re.compile(r"[^a-z0-9._]+")
_HELD = 200_000  # pieces in the indexes that are held of a store that is far: some 40 MiB of memory
_LINGER = 60.0  # seconds without a request after which a replaced archive is let go
_SURVEYED = 64  # artifacts that are opened at most to find what a push need not upload
_SURVEY = 10.0  # seconds that may take; what is not found by then is uploaded
_SEVERAL = 16  # artifacts that are opened at once, by all who look for something that has no name of its own
_AHEAD = 100  # artifacts of a repository that are opened before anything is looked for in them
_HINTED = 3  # artifacts that are opened, one after the other, because of hints


class Catalog:
    """Looks up archives in one artifact store; `folder` takes what others have zipped, unpacked."""

    def __init__(self, store: ArtifactStore, naming: Naming, folder: Path | None = None) -> None:
        self._store = store
        self._naming = naming
        self._listing = Listing(store, self._on_listed)
        limit = _HELD if store.is_remote else math.inf  # what is near may be replaced, and is kept open
        self._opener = Opener(store, naming, limit, self._is_there, folder)
        self._archives = self._opener.archives
        self._several = Several[Archive | None](_SEVERAL)
        self._replaced: list[Replaced] = []

    @property
    def closed(self) -> str:
        """Why nothing can be stored or deleted now; empty where it can."""
        return self._store.closed

    def may_replace(self, artifact: Artifact) -> bool:
        """May this relay put something else under the reference of an artifact?"""
        return self._store.may_replace(artifact)

    # Looking up

    async def resolve_tag(self, name: Name, reference: Tag | Digest) -> Archive | None:
        """Return the archive that answers for a tag, or whose artifact is named by a digest; None if there is none.

        Raise UnreadableArtifact if it cannot be read: an older one never answers in its place.
        """
        return (await self.standing(name, reference))[0]

    async def standing(self, name: Name, reference: Tag | Digest) -> tuple[Archive | None, frozenset[str]]:
        """Return the archive that answers as `resolve_tag`, and the ids of all artifacts that were looked at for it."""
        wanted = self._naming.encode(name, reference)
        if self._listing.has_just_stored(wanted):
            return await self._standing(wanted)
        return await self._listing.looked(partial(self._standing, wanted))

    def ids(self, name: Name, reference: Tag | Digest) -> frozenset[str]:
        """Return the ids of all artifacts of a reference in the last listing."""
        return frozenset(each.id for each in self._listing.same(self._naming.encode(name, reference)))

    async def _standing(self, wanted: str) -> tuple[Archive | None, frozenset[str]]:
        same = self._listing.same(wanted)
        return await self._newest(wanted, same), frozenset(each.id for each in same)

    async def confirmed(self, archive: Archive) -> bool:
        """Return whether an archive is there: what the last listing lacks is late in it, or was deleted by others."""
        return await self._listing.confirmed(archive.artifact)

    def interim(self, archive: Archive) -> float:
        """Return for how many seconds to wait for what may take the place of an archive; 0 for one of this relay."""
        if not self._store.is_remote or self._listing.is_own(archive.artifact):
            return 0.0
        return archive.interim(self._store.now())

    def forerunners(self, archive: Archive) -> list[Archive]:
        """Return what this relay stored before, and is not needed beside an archive (`opening.Archive.continues`)."""
        return [each for each in self._held() if self._listing.is_own(each.artifact) and archive.continues(each)]

    def has(self, artifact: Artifact) -> bool:
        """Return whether an artifact is in the store, as far as is known."""
        return artifact.id in self._listing.listed

    async def archives_in(self, name: Name) -> list[Archive]:
        """Return the archives of a repository that answer for something, the newest first; see `unreadable`."""
        found = await self._listing.looked(lambda: self._answering(self._candidates(name)))
        return [archive for archive in found if archive.name == name]

    async def all_archives(self) -> list[Archive]:
        """Return all archives that answer for something, by name, the newest of each first; see `unreadable`.

        When the session is over, those that were opened before: the others are unreadable.
        """
        found = await self._listing.looked(
            lambda: self._answering(
                (each for each in self._listing.listed.values() if self._is_ours(each)),
                (UnreadableArtifact, StoreExpired),
            )
        )
        return sorted(found, key=lambda archive: archive.name)

    def unreadable(self, name: Name | None = None) -> list[UnreadableArtifact]:
        """Return why artifacts that may be of a repository, or of any, could not be read; listings lack them."""
        problems = [each for each in self._opener.problems() if each.artifact.id in self._listing.listed]
        return [each for each in problems if name is None or self._naming.may_be_of(name, each.artifact.name)]

    def reference_of(self, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
        """Read a reference off the name of an artifact, where it tells one."""
        return next(filter(None, map(self._naming.decode, meanings(artifact.name))), None)

    async def _answering(
        self, artifacts: Iterable[Artifact], ignored: tuple[type[StoreRefused], ...] = (UnreadableArtifact,)
    ) -> list[Archive]:
        """Return the archive of each reference that artifacts have, the newest first, as far as they can be read."""
        same = defaultdict[str, list[Artifact]](list)
        for artifact in artifacts:
            for wanted in meanings(artifact.name):
                same[wanted].append(artifact)
        works = [partial(self._newest, wanted, each) for wanted, each in same.items()]
        return sorted(await self._all(works, ignored), key=lambda archive: order(archive.artifact), reverse=True)

    async def find(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive of the repository that has this content, preferably one that has it as a manifest.

        It may have it damaged, if none has it sound. Raise UnreadableArtifact if none is found, and one cannot be read.
        """
        return self._known(name, digest) or await self._listing.looked(partial(self._holder, name, digest))

    async def _holder(self, name: Name, digest: Digest) -> Archive | None:
        if archive := await self._hinted(name, digest):
            return archive
        last_resort = None
        try:
            async with aclosing(self._each(self._openings(name, digest))) as archives:
                async for archive in archives:
                    if archive.name == name and archive.is_sound(digest):
                        return archive
                    if archive.name == name and digest in archive.index.blobs:
                        last_resort = last_resort or archive
        except UnreadableArtifact as problem:
            if last_resort is None:
                raise self._doubt(problem, self._naming.encode(name, digest)) from problem
        return last_resort

    async def _hinted(self, name: Name, digest: Digest) -> Archive | None:
        """Return the archive that has a manifest by what the likeliest one and those opened before say of others.

        A hint is not believed: what it names is opened, and its own index decides. None too if that cannot be read.
        """
        if not self._store.is_remote:
            return None
        likeliest = self._likeliest(name, digest)
        found = await self._first_sound(name, digest, likeliest[:1])
        if found is None:
            named = self._named_by_hints(name, digest)
            found = await self._first_sound(name, digest, [each for each in likeliest if each.name in named][:_HINTED])
        return found

    def _named_by_hints(self, name: Name, digest: Digest) -> set[str]:
        """Return the names of artifacts that have a manifest, as the archives of its repository that are open say."""
        hint, siblings = digest.hex[:HINT], [each.index.siblings or {} for each in self._held() if each.name == name]
        return {artifact for hints in siblings for artifact, digests in hints.items() if hint in digests}

    def _openings(self, name: Name, digest: Digest) -> Iterator[Callable[[], Coroutine[Any, Any, Archive | None]]]:
        """Yield openings of what may have content: the likeliest first, by what is known when the next one begins."""
        rest = self._likeliest(name, digest)
        while rest:
            named = self._named_by_hints(name, digest) if self._store.is_remote else ()
            artifact = next((each for each in rest if each.name in named), rest[0])
            rest.remove(artifact)
            yield partial(self._opener.open, artifact)

    async def _first_sound(self, name: Name, digest: Digest, artifacts: Iterable[Artifact]) -> Archive | None:
        """Open artifacts one after the other, until one has some content undamaged; pass over what cannot be read."""
        for artifact in artifacts:
            with suppress(UnreadableArtifact):
                archive = await self._opener.open(artifact)
                if archive and archive.name == name and archive.is_sound(digest):
                    return archive
        return None

    def siblings(self, name: Name) -> dict[str, tuple[str, ...]]:
        """Return hints for the readers of a new archive: which manifests the other artifacts of its repository have.

        By name of the artifact the first digits of digests, of what was opened and what that says of others; none of a
        local store, which is read as a whole.
        """
        if not self._store.is_remote:
            return {}
        opened = [each for each in self._held() if each.name == name]
        known = {key: said for each in opened for key, said in (each.index.siblings or {}).items()}
        for each in opened:
            known[each.artifact.name] = tuple(
                dict.fromkeys(digest.hex[:HINT] for digest in each.manifests[:SIBLING_MANIFESTS])
            )
        newest = sorted(self._candidates(name), key=order, reverse=True)
        return {each.name: known[each.name] for each in newest[:SIBLINGS] if each.name in known}

    def _likeliest(self, name: Name, digest: Digest | None = None) -> list[Artifact]:
        """Sort what may have content: what is named by it, what answers for a reference, the rest; the newest first."""
        named = self._naming.encode(name, digest) if digest else ""
        answering, replaced = self._parted(name)
        return sorted(answering, key=lambda each: named not in meanings(each.name)) + replaced

    def _parted(self, name: Name) -> tuple[list[Artifact], list[Artifact]]:
        """Part the artifacts of a repository, the newest first, in the newest of each name and those it replaced."""
        newest = sorted(self._candidates(name), key=order, reverse=True)
        first = dict[str, str]()
        for each in ranked(newest):
            first.setdefault(_plain(each), each.id)
        answering = set(first.values())
        return [each for each in newest if each.id in answering], [each for each in newest if each.id not in answering]

    async def versions(self, name: Name, reference: Tag | Digest) -> list[Archive]:
        """Return all archives of a reference that can be read, also those that were replaced."""
        same = self._listing.same(self._naming.encode(name, reference))
        return await self._all([partial(self._opener.open, artifact) for artifact in same])

    async def replaced(self, name: Name, root: Digest) -> list[Archive]:
        """Return the archives of a repository that have this root, and a newer one under their reference."""
        await self._listing.refresh()
        _, replaced = self._parted(name)
        opened = await self._all([partial(self._opener.open, artifact) for artifact in replaced])
        return [archive for archive in opened if archive.name == name and archive.index.root == root]

    async def _each(
        self, works: Iterable[Callable[[], Coroutine[Any, Any, Archive | None]]]
    ) -> AsyncGenerator[Archive]:
        """Yield what works open, several at once, as it comes; then raise a failure, if there was one.

        One artifact that cannot be read never hides that the session is over, or another failure of the store.
        """
        failure = None
        async with aclosing(self._several.ended(works)) as tasks:
            async for task in tasks:
                if error := task.exception():
                    failure = error if failure is None or isinstance(failure, UnreadableArtifact) else failure
                elif archive := task.result():
                    yield archive
        if failure:
            raise failure

    async def _all(
        self,
        works: Iterable[Callable[[], Coroutine[Any, Any, Archive | None]]],
        ignored: tuple[type[StoreRefused], ...] = (UnreadableArtifact,),
    ) -> list[Archive]:
        """Return what works open, as far as it can be read; see `unreadable`."""
        found = list[Archive]()
        with suppress(*ignored):
            async with aclosing(self._each(works)) as archives:
                async for archive in archives:
                    found.append(archive)
        return found

    def _doubt(self, problem: UnreadableArtifact, wanted: str) -> UnreadableArtifact:
        """Say that something may be in an artifact; unless the name of that says so anyway."""
        return problem if wanted in meanings(problem.artifact.name) else problem.as_doubt()

    async def cached_archives(self) -> list[Archive]:
        """Give the archives that are known without asking a store that is far, at least; of one that is near, all."""
        return self._held() if self._store.is_remote else await self.all_archives()

    async def open_all(self, name: Name) -> None:
        """Open what a repository has in a remote store, several artifacts at once, for `find_cached` and `known_of`.

        A hundred at most, the likeliest first; where a server gives no ranges one alone, since it is read as a whole.
        Raise StoreRefused if the store cannot be listed, or at the end if one of them cannot be read.
        """
        if not self._store.is_remote:
            return
        await self._listing.refresh()
        works = [partial(self._opener.open, artifact) for artifact in self._likeliest(name)[:_AHEAD]]
        async with aclosing(self._each(works)) as archives:
            async for archive in archives:
                if archive.source.entire:
                    return

    async def find_cached(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive that has this content, as far as that can be told without asking a store that is far.

        None too where one that cannot be read may have it: who pushes sends it again.
        """
        with suppress(UnreadableArtifact):
            return self._known(name, digest) if self._store.is_remote else await self.find(name, digest)
        return None

    def _known(self, name: Name, digest: Digest) -> Archive | None:
        holders = [each for each in self._held() if each.name == name and each.is_sound(digest)]
        holders.sort(key=lambda each: order(each.artifact), reverse=True)
        found = min(holders, key=lambda each: each.index.blobs[digest].media_type is None, default=None)
        return self._archives.get(found.artifact.id) if found else None

    def _held(self) -> list[Archive]:
        return [each for each in self._archives.archives() if each.artifact.id in self._listing.listed]

    async def copies(self, blobs: Mapping[Digest, Blob]) -> dict[Digest, Copies]:
        """Return for large blobs which other archives of the run, of any repository, have their very pieces.

        Indexes are opened for it, the newest first, until all are found, but no more than a bounded number.
        """
        large = {digest: blob for digest, blob in blobs.items() if blob.stored >= LEAST_COPIED}
        missing = large.keys() - self.known_of(large)
        if missing:
            await self._survey(set(missing))
        held = sorted(self._held(), key=lambda each: order(each.artifact), reverse=True)
        found = {digest: copies(blob, held) for digest, blob in large.items()}
        return {digest: where for digest, where in found.items() if where}

    async def _survey(self, missing: set[Digest]) -> None:
        """Open what was not opened yet, until it is known where the missing blobs are; what cannot be read is left."""
        ours = [each for each in self._listing.listed.values() if each.id not in self._archives and self._is_ours(each)]
        newest = sorted(ours, key=order, reverse=True)[:_SURVEYED]
        with suppress(StoreRefused, TimeoutError):
            works = [partial(self._opener.open, each) for each in newest]
            async with asyncio.timeout(_SURVEY), aclosing(self._each(works)) as archives:
                async for archive in archives:
                    missing -= archive.index.blobs.keys()
                    if not missing:
                        return

    def known_of(self, wanted: Collection[Digest]) -> set[Digest]:
        """Tell which of some content is in archives that were opened, of any repository."""
        some = set(wanted)
        return set().union(*(each.index.blobs.keys() & some for each in self._held()))

    async def find_replaced(self, name: Name, digest: Digest) -> Archive | None:
        """Give an archive that was replaced a moment ago, and has this content."""
        for replaced in self._lingering():
            if replaced.archive.name == name and replaced.archive.has(digest):
                replaced.used = time.monotonic()
                return replaced.archive
        return None

    async def tags(self, name: Name) -> list[Tag]:
        """Return the tags of a repository, in ASCII order, as names of artifacts tell; shortened ones are opened.

        Raise UnreadableArtifact if there is none, and an artifact cannot be read that may have one.
        """
        await self._listing.refresh()
        unclear = self._unclear(name)
        clear = [each for each in self._candidates(name) if each not in unclear]
        opened = await self._answering(unclear)
        problems = [each for each in self.unreadable(name) if each.artifact in unclear]
        known = map(self.reference_of, [*clear, *(each.artifact for each in problems)])
        found = [each[1] for each in known if each] + [each.reference for each in opened if each.name == name]
        if problems and not found:
            raise problems[0].afresh()
        return sorted({each for each in found if isinstance(each, Tag)})

    async def repositories(self) -> list[Name]:
        """Return the repositories that have an archive, in ASCII order, as far as that can be told."""
        await self._listing.refresh()
        names = {known[0] for each in self._listing.listed.values() if (known := self.reference_of(each))}
        return sorted(names | {archive.name for archive in await self._answering(self._unclear())})

    async def volume(self) -> tuple[int, int]:
        """Return how many artifacts hold images, replaced ones too, and how many bytes they have together."""
        await self._listing.refresh()
        ours = [each for each in self._listing.listed.values() if self._is_ours(each)]
        opened = {each.artifact.id: each.size for each in self._held()}  # act lists the sizes of folders
        return len(ours), sum(max(each.size, opened.get(each.id, 0)) for each in ours)

    async def tagged_names(self) -> list[tuple[Name, Tag]]:
        """Give every tag, by name and the newest first, as names of artifacts tell: sound or not, none is opened."""
        await self._listing.refresh()
        newest = sorted(self._listing.listed.values(), key=order, reverse=True)
        decoded = dict.fromkeys(filter(None, map(self.reference_of, newest)))
        return sorted(((name, tag) for name, tag in decoded if isinstance(tag, Tag)), key=lambda each: each[0])

    # What others stored

    async def foreign(self, wanted: str) -> Artifact | None:
        """Give the newest artifact of a name that is no reference; None if there is none.

        Names of repositories have fewer characters: `My image` is `my-image`, unless there is one of that very name.
        """
        await self._listing.refresh()
        others = [each for each in self._listing.listed.values() if not self._is_ours(each)]
        same = [each for each in others if each.name == wanted]
        alike = [each for each in others if _NOT_IN_NAMES.sub("-", each.name.lower()).strip("-") == wanted]
        return max(same or alike, key=order, default=None)

    def _is_ours(self, artifact: Artifact) -> bool:
        return bool(self.reference_of(artifact)) or self._naming.may_be_shortened(artifact.name)

    async def open_source(self, artifact: Artifact) -> Source:
        """Give access to the bytes of an artifact that others stored; ArtifactGone."""
        return await self._store.open(artifact)

    def forget_listing(self) -> None:
        """List the store anew before the next answer."""
        self._listing.expire()

    def forget_all(self) -> None:
        """Know nothing any more: the store is that of another run from now on."""
        self._listing.clear()
        self._replaced.clear()
        self._opener.keep(lambda *_: False, ())

    # Storing and deleting

    async def put(self, name: Name, reference: Tag | Digest, body: ArchiveBody, claim: Claim = NOBODYS) -> Archive:
        """Store an archive; from now on it answers for its reference. Raise Contested."""
        encoded = self._naming.encode(name, reference)
        artifact = await self._store.put(encoded, body, claim)
        archive = Archive(artifact, await self._store.open(artifact), body.index, name, reference)
        if self._store.overwrites:
            before = [each for each in self._listing.listed.values() if each.name == artifact.name]
            opened = [replaced for each in before if (replaced := self._archives.get(each.id))]
            self._replaced += [Replaced(each, time.monotonic()) for each in opened]
            for each in before:
                self._opener.forget(each.id)
                self._listing.forget(each)
        self._listing.add(artifact)
        self._archives.put(artifact.id, archive)
        return archive

    async def delete(self, name: Name, reference: Tag | Digest) -> None:
        """Delete all artifacts of a reference, the oldest first; also what cannot be read."""
        wanted = self._naming.encode(name, reference)
        await self._listing.refresh()
        for artifact in reversed(ranked(self._listing.same(wanted))):
            if await self._means(artifact, wanted):
                await self.remove(artifact)
        gone = (name, reference)
        self._replaced = [each for each in self._replaced if (each.archive.name, each.archive.reference) != gone]

    async def remove(self, artifact: Artifact) -> None:
        """Delete one artifact, and none that has the same reference."""
        await self._store.delete(artifact)
        self._opener.forget(artifact.id)
        self._listing.remove(artifact)

    async def _means(self, artifact: Artifact, wanted: str) -> bool:
        """Is an artifact whose name can mean a reference one of it? If it cannot be read, by the likelier meaning."""
        likely, *others = meanings(artifact.name)
        with suppress(UnreadableArtifact):
            archive = await self._opener.open(artifact) if others else None
            return not others or (archive is not None and self._encoded(archive) == wanted)
        return likely == wanted

    def _encoded(self, archive: Archive) -> str:
        return self._naming.encode(archive.name, archive.reference)

    def forget_replaced(self, name: Name, root: Digest) -> bool:
        """Let go at once of replaced archives that have this root; gives whether there were any."""
        let_go = [each for each in self._lingering() if (each.archive.name, each.archive.index.root) == (name, root)]
        self._replaced = [each for each in self._replaced if each not in let_go]
        return bool(let_go)

    # Reading the store

    def _on_listed(self) -> None:
        self._opener.keep(self._listing.is_settled, self._listing.listed)
        self._replaced = self._lingering()

    def _lingering(self) -> list[Replaced]:
        oldest = time.monotonic() - _LINGER
        return [replaced for replaced in self._replaced if replaced.used >= oldest]

    def _candidates(self, name: Name) -> list[Artifact]:
        return [each for each in self._listing.listed.values() if self._naming.may_be_of(name, each.name)]

    def _unclear(self, name: Name | None = None) -> list[Artifact]:
        """Return what, by its name, may be of several references; that of one repository as far as can be told."""
        among = self._candidates(name) if name else self._listing.listed.values()
        return [each for each in among if self._naming.may_be_shortened(each.name) or len(meanings(each.name)) > 1]

    async def _newest(self, wanted: str, artifacts: Iterable[Artifact]) -> Archive | None:
        """Return the newest archive of an encoded reference, which artifacts may be of by their names.

        Raise UnreadableArtifact if it cannot be read.
        """
        for artifact in ranked(artifacts):
            try:
                archive = await self._opener.open(artifact)
            except UnreadableArtifact as error:
                if not (error.proven and numbered(artifact.name).number > HIGHEST):  # no relay has stored that
                    raise
                continue
            if archive and self._encoded(archive) == wanted:
                return archive
        return None

    async def _is_there(self, artifact: Artifact) -> bool:
        """See whether an artifact that was listed and could not be opened is really no more; then forget it."""
        if await self._listing.is_there(artifact):
            return True
        self._opener.forget(artifact.id)
        return False


def _plain(artifact: Artifact) -> str:
    return numbered(artifact.name).plain
