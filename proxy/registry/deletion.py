"""Delete whole artifacts, never a part of one."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from proxy.artifacts.base import StoreRefused, UnreadableArtifact
from proxy.errors import BlobUnknown, Denied, ManifestUnknown, Unsupported
from proxy.events import BlobDeleted, Deleted
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.runtime.files import trouble


@dataclass(frozen=True, slots=True)
class Deletion:
    """Removes tags, manifests and blobs (distribution-spec, "Content Management")."""

    lookup: Lookup
    push: Push

    async def manifest(self, name: Name, reference: Tag | Digest) -> None:
        """Remove a tag, or what has a manifest as its root, replaced or not; UNSUPPORTED for a mere child.

        Raise Denied if the store, or the folder of the spool, does not let go of something.
        """
        with self._refusals():
            if isinstance(reference, Digest):
                await self._digest(name, reference)
            elif await self._remove(name, reference):
                self._report(name, reference, [reference])
            else:
                raise ManifestUnknown(f"{label(name, reference)} is not here")

    def _report(self, name: Name, asked: Tag | Digest, gone: Sequence[Tag | Digest]) -> None:
        if gone:
            labels = tuple(dict.fromkeys(label(name, each) for each in gone))
            self.push.events.bus.emit(Deleted(labels, label(name, asked)))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except StoreRefused as error:
            raise Denied(str(error)) from error
        except OSError as error:
            raise Denied(trouble(self.lookup.spool.root, error)) from error

    async def _remove(self, name: Name, reference: Tag | Digest, root: Digest | None = None) -> bool:
        """Remove what answers for a reference, if it has this root, or any; return whether there was such an artifact.

        What cannot be read is removed too, as long as its root does not matter.
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
            return True

    async def _digest(self, name: Name, digest: Digest) -> None:
        gone: list[Tag | Digest] = []
        try:
            async for each in self._removed(name, digest):
                gone.append(each)
        finally:  # what went before a failure is gone all the same
            self._report(name, digest, gone)
        if gone:
            return
        if parent := await self.lookup.catalog.find(name, digest):
            whole = label(parent.name, parent.reference)
            raise Unsupported(f"{digest} is part of {whole}; delete that")
        raise ManifestUnknown(f"{label(name, digest)} is not here")

    async def _removed(self, name: Name, digest: Digest) -> AsyncIterator[Tag | Digest]:
        """Remove whatever has a manifest as its root, and yield each reference when it is gone."""
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
            async with self.push.lock(archive.name, archive.reference):  # its tag stays with what answers for it now
                await self.push.sealer.seal_dependents(archive.name, archive)
                await catalog.remove(archive.artifact)
            yield digest
        if catalog.forget_replaced(name, digest):
            yield digest

    async def blob(self, name: Name, digest: Digest) -> None:
        """Remove a blob that no manifest needs; UNSUPPORTED for one in an artifact or of a pending manifest."""
        spool = self.lookup.spool
        problem = None
        try:
            if archive := await self.lookup.catalog.find(name, digest):
                raise Unsupported(f"{digest} is part of {label(archive.name, archive.reference)}; delete that")
        except UnreadableArtifact as error:  # what the spool has of it can go all the same
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
