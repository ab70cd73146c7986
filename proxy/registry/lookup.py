"""Where content is: in the spool, or in an archive. Visibility is per repository."""

from dataclasses import dataclass

from proxy.catalog import Catalog
from proxy.content import Blob, read_all
from proxy.errors import BlobUnknown, ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest, parse
from proxy.oci.names import Name, Tag, label
from proxy.store.spool import Spool, in_memory

_NAMED = 8  # references that a 404 names at most


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds blobs and manifests, and says what is there when they are not."""

    spool: Spool
    catalog: Catalog
    level: int  # zstd's, of manifests that are not in their stored form yet

    async def find(self, name: Name, digest: Digest) -> Blob | None:
        """Give content of a repository, blob or manifest; None if it has no such content."""
        pending = self.spool.pending.get(name, {}).get(digest)
        if pending is not None:
            return in_memory(digest, pending, self.level)
        if self.spool.linked(name, digest) and (found := await self._anywhere(digest)):
            self.spool.renew(name, digest)
            return found
        archive = await self.catalog.holding(name, digest) or await self.catalog.lingering(name, digest)
        return archive.blob(digest) if archive else None

    async def _anywhere(self, digest: Digest) -> Blob | None:
        if blob := await self.spool.find(digest):
            return blob
        return next((blob for each in await self.catalog.every() if (blob := each.blob(digest))), None)

    async def mountable(self, digest: Digest, source: Name | None) -> bool:
        """Is there content that another repository, or any where none is named, can lend?"""
        visible = source is None or await self.find(source, digest) is not None
        return visible and await self._anywhere(digest) is not None  # where the borrower will look for it

    async def blob(self, name: Name, digest: Digest) -> Blob:
        """Give a blob, or BLOB_UNKNOWN."""
        if blob := await self.find(name, digest):
            return blob
        raise BlobUnknown(f"{name} has no blob {digest}")

    async def manifest(self, name: Name, reference: Tag | Digest) -> Blob:
        """Give the manifest that answers for a reference, or MANIFEST_UNKNOWN with what is there instead."""
        blob = await self._manifest(name, reference)
        if blob is None or blob.media_type is None:
            raise ManifestUnknown(await self._absent(name, reference))
        return blob

    async def _manifest(self, name: Name, reference: Tag | Digest) -> Blob | None:
        if isinstance(reference, Digest):
            return await self.find(name, reference)
        archive = await self.catalog.tagged(name, reference)
        return archive.blob(archive.index.root) if archive else None

    async def parsed(self, blob: Blob) -> Manifest:
        """Read a manifest that was found."""
        return parse(await read_all(blob), blob.media_type or "")

    async def repositories(self) -> list[Name]:
        """Give every repository that has anything, in ASCII order."""
        return sorted({*await self.catalog.repositories(), *self.spool.repositories()})

    async def knows(self, name: Name) -> bool:
        """Was anything pushed to this repository?"""
        return name in await self.repositories()

    async def _absent(self, name: Name, reference: Tag | Digest) -> str:
        tagged = [each for each in await self.catalog.every() if isinstance(each.reference, Tag)]
        tagged.sort(key=lambda each: each.name != name)  # the nearest to what was asked for come first
        there = [label(each.name, each.reference) for each in tagged]
        named = ", ".join(there[:_NAMED]) + (", …" if len(there) > _NAMED else "") if there else "nothing yet"
        return f"{label(name, reference)} is not here (there is: {named}); another tag, or not pushed yet?"
