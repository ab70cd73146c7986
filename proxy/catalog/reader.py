"""Read several artifacts of a store at once, and find out for which references they answer."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from proxy.artifacts.base import Artifact, StoreRefused, UnreadableArtifact
from proxy.artifacts.naming import HIGHEST, Naming, meanings, numbered
from proxy.artifacts.ranking import order, ranked
from proxy.catalog.archive import Archive
from proxy.catalog.listing import Listing
from proxy.catalog.opener import Opener
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.runtime.tasks import Several

_SEVERAL = 16  # artifacts that all requests together open at once, where no artifact is named after what they look for


class Reader:
    """Opens the artifacts of a listing."""

    def __init__(self, listing: Listing, opener: Opener, naming: Naming) -> None:
        self._listing = listing
        self._opener = opener
        self._archives = opener.archives
        self._naming = naming
        self._several = Several[Archive | None](_SEVERAL)

    def held(self) -> list[Archive]:
        """Return the archives in the cache that are listed."""
        return [each for each in self._archives.archives() if each.artifact.id in self._listing.listed]

    def held_of(self, name: Name) -> list[Archive]:
        """Return the archives of a repository in the cache that are listed."""
        return [each for each in self._archives.of(name) if each.artifact.id in self._listing.listed]

    def candidates(self, name: Name) -> list[Artifact]:
        """Return the artifacts that, by their names, may be of a repository."""
        return [each for each in self._listing.listed.values() if self._naming.may_be_of(name, each.name)]

    def ours(self) -> list[Artifact]:
        """Return the artifacts that, by their names, are of this program."""
        return [each for each in self._listing.listed.values() if self.is_ours(each)]

    def is_ours(self, artifact: Artifact) -> bool:
        """Return whether an artifact, by its name, is of this program."""
        return bool(self.reference_of(artifact)) or self._naming.may_be_shortened(artifact.name)

    def reference_of(self, artifact: Artifact) -> tuple[Name, Tag | Digest] | None:
        """Return the reference that the name of an artifact tells; None if it tells none."""
        return next(filter(None, map(self._naming.decode, meanings(artifact.name))), None)

    def encoded(self, archive: Archive) -> str:
        """Return the reference of an archive as the name of an artifact tells it."""
        return self._naming.encode(archive.name, archive.reference)

    def unclear(self, name: Name | None = None) -> list[Artifact]:
        """Return the artifacts, of a repository or all, whose name leaves open of which reference they are."""
        among = self.candidates(name) if name else self._listing.listed.values()
        return [each for each in among if self._naming.may_be_shortened(each.name) or len(meanings(each.name)) > 1]

    def unreadable(self, name: Name | None = None) -> list[UnreadableArtifact]:
        """Return why artifacts, that may be of a repository or all, could not be read; listings lack them."""
        problems = [each for each in self._opener.problems() if each.artifact.id in self._listing.listed]
        return [each for each in problems if name is None or self._naming.may_be_of(name, each.artifact.name)]

    def parted(self, name: Name) -> tuple[list[Artifact], list[Artifact]]:
        """Return the artifacts of a repository that answer for their name, and those they replaced; newest first."""
        newest = sorted(self.candidates(name), key=order, reverse=True)
        first = dict[str, str]()
        for each in ranked(newest):
            first.setdefault(numbered(each.name).plain, each.id)
        answering = set(first.values())
        return [each for each in newest if each.id in answering], [each for each in newest if each.id not in answering]

    async def each_opened(
        self, works: Iterable[Callable[[], Coroutine[Any, Any, Archive | None]]]
    ) -> AsyncGenerator[Archive]:
        """Yield the archives that `works` open, several at once, as they come; then raise a failure, if there was one.

        An artifact that cannot be read never hides that the session is over, or another failure of the store.
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

    async def opened(
        self,
        works: Iterable[Callable[[], Coroutine[Any, Any, Archive | None]]],
        ignored: tuple[type[StoreRefused], ...] = (UnreadableArtifact,),
    ) -> list[Archive]:
        """Return the archives that `works` open, as far as they can be read; see `unreadable`."""
        found = list[Archive]()
        with suppress(*ignored):
            async with aclosing(self.each_opened(works)) as archives:
                async for archive in archives:
                    found.append(archive)
        return found

    async def answering(
        self, artifacts: Iterable[Artifact], ignored: tuple[type[StoreRefused], ...] = (UnreadableArtifact,)
    ) -> list[Archive]:
        """Return the archive of each reference that artifacts have, the newest first, as far as they can be read."""
        same = defaultdict[str, list[Artifact]](list)
        for artifact in artifacts:
            for wanted in meanings(artifact.name):
                same[wanted].append(artifact)
        newest = {wanted: each[0] if len(each) == 1 else ranked(each)[0] for wanted, each in same.items()}
        await self._opener.open_together(list(newest.values()))
        ready = {wanted: self._at_hand(wanted, each) for wanted, each in newest.items()}  # a task for each takes longer
        works = [partial(self.newest, wanted, each) for wanted, each in same.items() if not ready[wanted]]
        found = [*filter(None, ready.values()), *await self.opened(works, ignored)]
        return sorted(found, key=lambda archive: order(archive.artifact), reverse=True)

    def _at_hand(self, wanted: str, newest: Artifact) -> Archive | None:
        """Return what `newest` returns, if that is open already."""
        archive = self._archives.get(newest.id)
        return archive if archive and self.encoded(archive) == wanted else None

    async def is_newest(self, artifact: Artifact, wanted: str) -> bool:
        """Return whether an artifact is what answers for an encoded reference; not if that cannot be told."""
        with suppress(UnreadableArtifact):
            newest = await self.newest(wanted, self._listing.same(wanted))
            return newest is not None and newest.artifact.id == artifact.id
        return False

    async def newest(self, wanted: str, artifacts: Iterable[Artifact]) -> Archive | None:
        """Return the newest archive of an encoded reference among artifacts that by their names may be of it.

        Raise UnreadableArtifact if it cannot be read.
        """
        for artifact in ranked(artifacts):
            try:
                archive = await self._opener.open(artifact)
            except UnreadableArtifact as error:
                if not (error.proven and numbered(artifact.name).number > HIGHEST):  # no relay stores under that number
                    raise
                continue
            if archive and self.encoded(archive) == wanted:
                return archive
        return None
