"""Delete whole artifacts, never a part of one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from proxy.artifacts.base import StoreRefused, UnreadableArtifact
from proxy.errors import BlobUnknown, Denied, Unsupported
from proxy.events import BlobDeleted, Deleted
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.runtime.files import trouble


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes tags, manifests and blobs (distribution-spec, "Content Management")."""

    lookup: Lookup
    push: Push

    async def manifest(self, name: Name, reference: Tag | Digest) -> None:
        """Delete a tag, or every archive that has a manifest as its root, replaced ones included.

        Raise ManifestUnknown, which says what is there instead, Unsupported for a mere child of an index, Denied if the
        store or the disk refuses.
        """
        gone = list[Tag | Digest]()
        self.lookup.catalog.forget_listing()  # another job may have pushed a moment ago
        with self._refusals():
            try:
                if isinstance(reference, Digest):
                    async for each in self._removed(name, reference):
                        gone.append(each)
                elif await self._remove(name, reference):
                    gone.append(reference)
            finally:  # what was removed before a failure is gone all the same
                if gone:
                    labels = tuple(dict.fromkeys(label(name, each) for each in gone))
                    self.push.events.bus.emit(Deleted(labels, label(name, reference)))
            if gone:
                return
            if isinstance(reference, Digest) and (parent := await self.lookup.catalog.find(name, reference)):
                raise Unsupported(f"{reference} is part of {label(parent.name, parent.reference)}; delete that")
        raise await self.lookup.missing(name, reference)

    async def has(self, name: Name, reference: Tag | Digest) -> bool:
        """Return whether there is something of a reference that `manifest` would delete."""
        catalog = self.lookup.catalog
        catalog.forget_listing()
        if await catalog.resolve_tag(name, reference):
            return True
        if isinstance(reference, Tag):
            return False
        is_pending = reference in self.lookup.spool.pending.get(name, {})
        roots = (each.index.root for each in await catalog.archives_in(name))
        return is_pending or reference in roots or bool(await catalog.replaced(name, reference))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Raise Denied for what the store or the disk refuses within the block."""
        try:
            yield
        except StoreRefused as error:
            raise Denied(str(error)) from error
        except OSError as error:
            raise Denied(trouble(self.lookup.spool.root, error)) from error

    async def _remove(self, name: Name, reference: Tag | Digest, root: Digest | None = None) -> bool:
        """Remove the archive that answers for a reference, if it has this root or none is given; return whether it did.

        An archive that cannot be read is removed too, unless its root matters.
        """
        async with self.push.lock(name, reference):
            try:
                archive = await self.lookup.catalog.resolve_tag(name, reference)
            except UnreadableArtifact:
                if root:
                    raise
            else:
                if archive is None or root not in {None, archive.index.root}:
                    return False
                if any(self.lookup.spool.pending.values()):
                    for each in await self.lookup.catalog.versions(name, reference):
                        await self.push.sealer.seal_dependents(name, each)
            await self.lookup.catalog.delete(name, reference)
            self.push.forget_refused(name, reference)
            return True

    async def _removed(self, name: Name, digest: Digest) -> AsyncIterator[Tag | Digest]:
        """Remove everything that has a manifest as its root, and yield each reference once it is gone."""
        catalog = self.lookup.catalog
        async with self.push.lock(name, digest):
            if await self.push.drop_pending(name, digest):
                yield digest
        if await self._remove(name, digest):
            yield digest
        for archive in await catalog.archives_in(name):
            if archive.index.root == digest and await self._remove(name, archive.reference, digest):
                yield archive.reference
        for archive in await catalog.replaced(name, digest):
            async with self.push.lock(archive.name, archive.reference):  # another archive answers for its tag by now
                await self.push.sealer.seal_dependents(archive.name, archive)
                is_removed = await catalog.remove(archive.artifact)
            if is_removed:
                yield digest
        if catalog.lingering.forget_root(name, digest):
            yield digest

    async def blob(self, name: Name, digest: Digest) -> None:
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
