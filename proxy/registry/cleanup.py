"""Remove what nobody needs any more: storage of artifacts is billed by the hour, and deleting them stops that."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.artifacts.base import Artifact, StoreExpired, UnreadableArtifact
from proxy.artifacts.ranking import ranked
from proxy.catalog.archive import Archive
from proxy.errors import Denied
from proxy.events import Deleted
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.deletion import Removal, remove_archive
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push

_NOT_OURS = "it is unfinished, or it is not an image that image-relay stored"
_ZIPPED = "actions/upload-artifact stored it"
_UNDER_WAY = "it is still being pushed"


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Removes whole artifacts that this program stored in the run; never anything else."""

    lookup: Lookup
    push: Push

    async def all(self, *, dry_run: bool = False) -> list[Removal]:
        """Remove every image, with replaced versions, caches and what has no tag; return what was removed and kept.

        What is pending is stored first. Raise Denied if nothing can be deleted now.
        """
        if not dry_run:
            self._check_open()
            await self.push.flush()
        done = await self._removed(await self._ours(), dry_run=dry_run)
        pushed = [each for each in self.push.pushed() if not each.is_refused]
        if dry_run:  # what is pending, and would be stored first
            done += [Removal(label(each.name, each.reference), "", 0) for each in pushed if not each.problem]
            pushed = [each for each in pushed if each.problem]
        return done + [Removal(label(each.name, each.reference), "", 0, each.problem or _UNDER_WAY) for each in pushed]

    async def superseded(self, *, dry_run: bool = False) -> list[Removal]:
        """Remove the versions that newer pushes of their tag replaced, and what has no tag and is inside of a tag.

        Return what was removed and kept. Raise Denied if nothing can be deleted now.
        """
        if not dry_run:
            self._check_open()
        opened = [await self._opened(each) for each in await self._ours()]
        same = defaultdict[tuple[Name, Tag | Digest], dict[str, Archive]](dict)
        for archive in opened:
            if isinstance(archive, Archive):
                same[archive.name, archive.reference][archive.artifact.id] = archive
        most = self.push.limits.steps_kept
        older, tagged, untagged = list[Archive](), list[Archive](), list[Archive]()
        for (_, reference), versions in same.items():
            newest, *replaced = [versions[each.id] for each in ranked(each.artifact for each in versions.values())]
            (tagged if isinstance(reference, Tag) else untagged).append(newest)
            over = [each for each in replaced if not each.awaits_index(newest, datetime.now(UTC), most)]
            older += reversed(over)  # the oldest first: at no moment does another one answer
        inside = [each for each in untagged if any(_has_all_of(whole, each) for whole in tagged)]
        return await self._removed([each.artifact for each in [*older, *inside]], dry_run=dry_run, by_digest=True)

    async def _ours(self) -> list[Artifact]:
        """List anew what this program stored: another job may have pushed a moment ago."""
        self.lookup.catalog.forget_listing()
        return await self.lookup.catalog.ours()

    async def _removed(self, artifacts: Sequence[Artifact], *, dry_run: bool, by_digest: bool = False) -> list[Removal]:
        done = [await self._remove(each, dry_run=dry_run, by_digest=by_digest) for each in artifacts]
        return [each for each in done if each]

    def _check_open(self) -> None:
        if reason := self.lookup.catalog.undeletable:
            raise Denied(reason)

    async def _remove(self, artifact: Artifact, *, dry_run: bool, by_digest: bool) -> Removal | None:
        """Remove one artifact if it is one of ours; return None if somebody else has.

        It is told `by_digest` where its tag is another image's by now.
        """
        known = self.lookup.catalog.reference_of(artifact)
        refusal = "" if dry_run else self.lookup.catalog.undeletable  # which a deletion before may have found out
        archive = refusal or await self._opened(artifact)
        if not isinstance(archive, Archive):
            if not self.lookup.catalog.has(artifact):
                return None
            return Removal(label(*known) if known else "", artifact.name, artifact.size, kept=archive)
        reference = label(archive.name, archive.index.root if by_digest else archive.reference)
        if not dry_run:
            try:
                if not await remove_archive(self.lookup, self.push, archive):
                    return None
                if not by_digest:
                    self.push.forget_refused(archive.name, archive.reference)
            except StoreExpired:
                raise
            except Denied as error:
                return Removal(reference, artifact.name, archive.size, kept=str(error))
            self.push.events.bus.emit(Deleted((reference,), reference))
        return Removal(reference, artifact.name, archive.size)

    async def _opened(self, artifact: Artifact) -> Archive | str:
        """Return the archive in an artifact that this program stored, or why there is none."""
        catalog = self.lookup.catalog
        try:
            archive = await catalog.open(artifact)
        except UnreadableArtifact as error:
            return error.problem
        if archive is None:
            return _NOT_OURS
        return _ZIPPED if catalog.is_remote and archive.source.is_local else archive


def _has_all_of(whole: Archive, part: Archive) -> bool:
    return whole.name == part.name and all(map(whole.is_sound, part.index.blobs))
