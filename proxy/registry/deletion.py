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
        if isinstance(reference, Tag):
            if not await self._remove(name, reference):
                raise ManifestUnknown(f"{label(name, reference)} is not here")
        else:
            await self._digest(name, reference)

    async def _remove(self, name: Name, reference: Tag | Digest, root: Digest | None = None) -> bool:
        """Remove what answers for a reference, if it has this root, or any; gives whether there was such an archive."""
        async with self.push.turn(name, reference):
            archives = await self.lookup.catalog.of(name)
            archive = next((each for each in archives if each.reference == reference), None)
            if archive is None or root not in {None, archive.index.root}:
                return False
            await self.push.secure(name, archive)
            await self.lookup.catalog.delete(archive)
            return True

    async def _digest(self, name: Name, digest: Digest) -> None:
        catalog = self.lookup.catalog
        async with self.push.turn(name, digest):
            found = [await self.push.forsake(name, digest)]
        rooted = [archive.reference for archive in await catalog.of(name) if archive.index.root == digest]
        found += [await self._remove(name, reference, digest) for reference in rooted]
        if any([*found, catalog.let_go(name, digest)]):
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
            if digest in manifest.named:
                raise Unsupported(f"{digest} is part of {label(name, parent)}; delete that")
        if not spool.linked(name, digest):
            raise BlobUnknown(f"{name} has no blob {digest}")
        await spool.unlink(name, [digest])
