"""What a deletion means: whole artifacts go, never a part of one."""

from dataclasses import dataclass

from proxy.errors import BlobUnknown, ManifestUnknown, Unsupported
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push


@dataclass(frozen=True, slots=True)
class Deletion:
    """Removes tags, manifests and blobs (distribution-spec, "Content Management")."""

    lookup: Lookup
    push: Push

    async def manifest(self, name: Name, reference: Tag | Digest) -> None:
        """Remove a tag, or all artifacts that have a manifest as their root; UNSUPPORTED for a mere child."""
        async with self.push.turn(name, reference):
            if isinstance(reference, Tag):
                await self._tag(name, reference)
            else:
                await self._digest(name, reference)

    async def _tag(self, name: Name, tag: Tag) -> None:
        archive = await self.lookup.catalog.tagged(name, tag)
        if archive is None:
            raise ManifestUnknown(f"{label(name, tag)} is not here")
        await self.lookup.catalog.delete(archive)

    async def _digest(self, name: Name, digest: Digest) -> None:
        catalog = self.lookup.catalog
        rooted = [archive for archive in await catalog.of(name) if archive.index.root == digest]
        for archive in rooted:
            await catalog.delete(archive)
        was_pending = await self.push.forsake(name, digest)
        if rooted or was_pending:
            return
        if parent := await catalog.holding(name, digest):
            whole = label(parent.name, parent.reference)
            raise Unsupported(f"{digest} is part of {whole}; delete that")
        raise ManifestUnknown(f"{label(name, digest)} is not here")

    async def blob(self, name: Name, digest: Digest) -> None:
        """Remove a blob that no manifest needs; UNSUPPORTED for one in an artifact or of a pending manifest."""
        spool = self.lookup.spool
        if archive := await self.lookup.catalog.holding(name, digest):
            raise Unsupported(f"{digest} is part of {label(archive.name, archive.reference)}; delete that")
        for parent, manifest in spool.pending.get(name, {}).items():
            if any(descriptor.digest == digest for descriptor in manifest.blobs):
                raise Unsupported(f"{digest} is part of {label(name, parent)}; delete that")
        if not spool.linked(name, digest):
            raise BlobUnknown(f"{name} has no blob {digest}")
        await spool.unlink(name, [digest])
