"""Delete whole artifacts, never a part of one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from proxy.artifacts.base import StoreRefused, UnreadableArtifact
from proxy.catalog.archive import Archive
from proxy.errors import BlobUnknown, Denied, ManifestUnknown, RegistryError, Unsupported
from proxy.events import BlobDeleted, Deleted
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.spool.paths import disk_troubles


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed, or would be: the image, its artifact and bytes if it has one, and why it was kept if it was."""

    reference: str
    artifact: str
    stored: int
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes tags, manifests and blobs (distribution-spec, "Content Management")."""

    lookup: Lookup
    push: Push

    async def delete_manifest(
        self, name: Name, reference: Tag | Digest, root: Digest | None = None, *, dry_run: bool = False
    ) -> list[Removal]:
        """Delete a tag, if it has this root or none is given, or every archive that has a manifest as its root.

        Return what that is, without the replaced versions of a tag, which are deleted too. Raise ManifestUnknown, which
        says what is there instead, Unsupported for a mere child of an index, Denied if the store or the disk refuses.
        """
        done = list[Removal]()
        self.lookup.catalog.forget_listing()  # another job may have pushed a moment ago
        with self._refusals():
            try:
                if isinstance(reference, Digest):
                    async for each in self._removed(name, reference, dry_run=dry_run):
                        done.append(each)
                else:
                    done += await self._remove(name, reference, root, dry_run=dry_run)
            finally:  # what was removed before a failure is gone all the same
                if done and not dry_run:
                    labels = tuple(dict.fromkeys(each.reference for each in done))
                    self.push.events.bus.emit(Deleted(labels, label(name, reference)))
            if not done:
                raise await self._why_nothing(name, reference, root)
        return done

    async def _why_nothing(self, name: Name, reference: Tag | Digest, root: Digest | None) -> RegistryError:
        """Return why there is nothing to delete."""
        told = label(name, reference)
        if isinstance(reference, Digest) and (parent := await self.lookup.catalog.find(name, reference)):
            return Unsupported(f"{reference} is part of {label(parent.name, parent.reference)}; delete that")
        if root and (other := await self.lookup.catalog.resolve(name, reference)):
            return ManifestUnknown(f"{told} is {other.index.root}, which was not deleted")
        if self.lookup.external.has(name, reference):
            return Unsupported(f"{told} was stored by another program; image-relay deletes what it has stored")
        return await self.lookup.missing(name, reference)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Raise Denied for what the store or the disk refuses within the block."""
        try:
            with disk_troubles(self.lookup.spool.root):
                yield
        except StoreRefused as error:
            raise Denied(str(error)) from error

    async def _remove(
        self, name: Name, reference: Tag | Digest, root: Digest | None = None, *, dry_run: bool
    ) -> list[Removal]:
        """Remove the archive that answers for a reference, if it has this root or none is given; return it.

        An archive that cannot be read is removed too, unless its root matters.
        """
        removal = Removal(label(name, reference), "", 0)
        async with self.push.lock(name, reference):
            try:
                archive, seen = await self.lookup.catalog.standing(name, reference)
            except UnreadableArtifact as error:
                if root:
                    raise
                newest, seen = error.artifact, self.lookup.catalog.ids(name, reference)
                removal = replace(removal, artifact=error.artifact.name, stored=error.artifact.size)
            else:
                if archive is None or root not in {None, archive.index.root}:
                    return []
                newest = archive.artifact
                removal = replace(removal, artifact=archive.artifact.name, stored=archive.size)
                spool = self.lookup.spool
                if not dry_run and (spool.linking() or spool.told() or any(spool.pending.values())):
                    for each in await self.lookup.catalog.versions(name, reference):
                        await self.push.sealer.seal_dependents(name, each)
                        await self.push.sealer.keep_promised(each)
            if not dry_run:
                await self.lookup.catalog.delete(name, reference, newest, seen)
                self.push.forget_refused(name, reference)
            return [removal]

    async def _removed(self, name: Name, digest: Digest, *, dry_run: bool) -> AsyncIterator[Removal]:
        """Remove everything that has a manifest as its root, and yield each once it is gone."""
        catalog, itself = self.lookup.catalog, Removal(label(name, digest), "", 0)
        async with self.push.lock(name, digest):
            is_pending = digest in self.lookup.spool.pending.get(name, {})
            if is_pending and (dry_run or await self.push.drop_pending(name, digest)):
                yield itself
        tags = [each.reference for each in await catalog.archives_in(name) if each.index.root == digest]
        for reference in dict.fromkeys([digest, *tags]):
            for each in await self._remove(name, reference, None if reference == digest else digest, dry_run=dry_run):
                yield each
        for archive in await catalog.replaced(name, digest):
            if dry_run or await remove_archive(self.lookup, self.push, archive):
                yield replace(itself, artifact=archive.artifact.name, stored=archive.size)
        if not dry_run and catalog.lingering.forget_root(name, digest):
            yield itself

    async def delete_blob(self, name: Name, digest: Digest) -> None:
        """Delete a blob. Raise BlobUnknown, Unsupported if it is in an artifact or a pending manifest names it."""
        spool = self.lookup.spool
        problem = None
        try:
            if archive := await self.lookup.catalog.find(name, digest):
                raise Unsupported(f"{digest} is part of {label(archive.name, archive.reference)}; delete that")
        except UnreadableArtifact as error:  # the blob in the spool can be deleted all the same
            problem = error
        for parent, pending in spool.pending.get(name, {}).items():
            if digest in pending.named:
                raise Unsupported(f"{digest} is part of {label(name, parent)}; delete that")
        if not spool.linked(name, digest):
            if problem:
                raise problem
            raise BlobUnknown(f"{name} has no blob {digest}")
        with self._refusals():
            await spool.unlink(name, [digest])
        self.push.events.bus.emit(BlobDeleted(label(name, digest)))


async def remove_archive(lookup: Lookup, push: Push, archive: Archive) -> bool:
    """Remove one archive, once what needs its content is stored; return whether this did, and nobody before."""
    async with push.lock(archive.name, archive.reference):
        await push.sealer.seal_dependents(archive.name, archive)
        await push.sealer.keep_promised(archive)
        return await lookup.catalog.remove(archive.artifact)
