"""Find content in the spool or in an archive. Each repository sees only its own content."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from proxy.artifacts.base import UnreadableArtifact
from proxy.blob import Blob, read_all
from proxy.catalog.archive import Copies
from proxy.catalog.catalog import Catalog
from proxy.errors import BlobUnknown, ContentDamaged, ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest, parse
from proxy.oci.names import Name, Tag, label, split_host
from proxy.registry.elsewhere import Elsewhere
from proxy.registry.external_artifacts import ExternalArtifacts
from proxy.registry.external_images import FOLDER
from proxy.registry.prefetch import Prefetch
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.tasks import run_in_thread
from proxy.spool.spool import Spool

_LARGE = 64 * 1024  # bytes; a manifest of a few hundred layers
_NAMED = 8  # references that a 404 lists at most
_LENGTH = 250  # characters of all of them, so that what to do still fits into the message
_COMPARED = 500  # of them, and artifacts, that are compared with what was asked for
_NEAR = 0.85  # how alike the nearest one has to be (`difflib`)


async def read_manifest(content: bytes, content_type: str) -> Manifest:
    """Return a parsed manifest; a large one is parsed in a thread, since that takes a tenth of a second."""
    return await run_in_thread(parse, content, content_type) if len(content) > _LARGE else parse(content, content_type)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Finds blobs and manifests, and says what is there instead of those that are not."""

    spool: Spool
    catalog: Catalog
    external: ExternalArtifacts
    level: int  # of zstd, for manifests that are not in their stored form yet
    prefetch: Prefetch
    missing_message: Callable[[str, str], str]
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    limits: Limits = DEFAULT

    async def find(self, name: Name, digest: Digest, *, known: bool = False, own: bool = False) -> Blob | None:
        """Return content of a repository, blob or manifest; None if it has no such content.

        With `known` no remote store is asked, and None may only mean that a push has to send the content again.
        Without it, raise ContentDamaged if the only copy is damaged, UnreadableArtifact if an artifact that cannot be
        read may have the content. Content of other runs counts as far as it was read before, and not with `own`.
        """
        if pending := await self.spool.pending.find(name, digest):
            return pending
        if self.spool.linked(name, digest) and (found := await self._anywhere(digest, known=known)):
            self.spool.refresh_link(name, digest)
            return found
        problem, other = None, None if own else await self.elsewhere.find_cached(name, digest)
        try:
            archive = await (self.catalog.find_cached if known or other else self.catalog.find)(name, digest)
        except UnreadableArtifact as error:
            archive, problem = None, error
        archive = archive or (None if known else self.catalog.lingering.find(digest, name))  # which goes before long
        if blob := (archive and archive.blob(digest)) or other:
            cached = None if blob.source.is_local or blob.media_type else await self.spool.find(digest)
            return cached or blob
        if known:
            return None
        if archive:
            raise ContentDamaged(f"the stored bytes of {digest} are damaged; push the image again")
        # a blob that was mounted from another repository may be in any artifact that cannot be read
        doubts = self.catalog.unreadable() if self.spool.linked(name, digest) else []
        if problem := problem or next((each.as_doubt() for each in doubts), None):
            raise problem
        return None

    async def _anywhere(self, digest: Digest, *, known: bool) -> Blob | None:
        if blob := await self.spool.find(digest):
            return blob
        for archives in (
            (self.catalog.cached_archives,) if known else (self.catalog.cached_archives, self.catalog.all_archives)
        ):
            for archive in await archives():
                if blob := archive.blob(digest):
                    return blob
        replaced = None if known else self.catalog.lingering.find(digest)  # by the tag from which it was mounted
        return replaced.blob(digest) if replaced else None

    async def keep_lingering(self, name: Name, digests: Iterable[Digest]) -> None:
        """Copy into the spool what a manifest needs that only replaced archives have, which are closed before long."""
        for digest in digests:
            archive = self.catalog.lingering.find(digest, name)
            if archive and not await self.find(name, digest, known=True) and (blob := archive.blob(digest)):
                await self.spool.keep_blob(blob, [name])

    async def sent(self, name: Name, digest: Digest) -> Blob | None:
        """Return content that a client need not send, since its repository has it; None if it has to be sent.

        Wait for `Prefetch` to read what is in artifacts, at most as long as it allows.
        """
        if found := await self.find(name, digest, known=True):
            return found
        await self.prefetch.wait(name)
        return await self.find(name, digest, known=True)

    async def mountable(self, digest: Digest, source: Name | None) -> bool:
        """Return whether the source repository, or any if none is given, has content that another one can mount."""
        if source is not None:
            is_seen = await self.sent(source, digest) is not None
        else:  # the cache alone may have it of an upstream, or of another run
            archives = await self.catalog.cached_archives()
            is_seen = self.spool.is_seen(digest) or any(each.has(digest) for each in archives)
        return is_seen and await self._anywhere(digest, known=True) is not None  # as the other repository will

    async def blob(self, name: Name, digest: Digest, *, known: bool = False) -> Blob:
        """Return a blob, with `known` as `sent` does. Raise BlobUnknown."""
        if blob := await (self.sent(name, digest) if known else self.find(name, digest)):
            if known:
                self.spool.promise(name, digest)
            return blob
        if not known and (blob := await self.elsewhere.find(name, digest)):
            return blob
        raise BlobUnknown(f"{name} has no blob {digest}")

    async def copies(self, blobs: Mapping[Digest, Blob]) -> Mapping[Digest, Copies]:
        """Return for large blobs which archives, of this run or else of others, have exactly their pieces."""
        found = await self.catalog.copies(blobs)
        rest = {digest: blob for digest, blob in blobs.items() if digest not in found}
        return found | await self.elsewhere.copies(rest)

    async def manifest(self, name: Name, reference: Tag | Digest, *, own: bool = False, external: bool = True) -> Blob:
        """Return the manifest that answers for a reference, here or, unless `own`, elsewhere.

        Raise ManifestUnknown, which says what is there instead. While an interim archive has the tag, wait for its
        successor, which a client in another job may be pushing. Without `external`, artifacts that no relay stored do
        not answer.
        """
        if isinstance(reference, Digest):
            blob = await self.find(name, reference, own=own)
            if blob is None and external and (image := await self.external.resolve(name, reference)):
                blob = image.root
        else:
            blob = None
            archive = await self.catalog.resolve(name, reference)
            until = time.monotonic() + self.limits.interim  # however far the clock of the store is off
            while archive and (left := min(self.catalog.interim(archive), until - time.monotonic())) > 0:
                await asyncio.sleep(min(left, self.limits.interim_poll))
                archive = await self.catalog.resolve(name, reference)
            if archive and not (blob := archive.blob(archive.index.root)):
                raise ContentDamaged(f"the stored bytes of {label(name, reference)} are damaged; push the image again")
            if archive is None and external and (image := await self.external.resolve(name, reference)):
                blob = image.root
        if blob is None and not own:
            blob = await self.elsewhere.find(name, reference)
        if blob is None or blob.media_type is None:
            missing, others = await self.missing(name, reference), "" if own else self.elsewhere.describe()
            end = "" if missing.message.endswith(("?", ".")) else "."
            raise ManifestUnknown(missing.message + (f"{end} Nor is it in {others}." if others else ""))
        return blob

    async def missing(self, name: Name, reference: Tag | Digest) -> ManifestUnknown:
        """Return an error that says what is here instead of a reference that is not.

        It names some images: the nearest one, this repository, the same path of others, artifacts.
        """
        wanted, own = label(name, reference), split_host(name.text)[1]
        tagged = sorted(
            await self.catalog.tagged_names(),
            key=lambda each: (each[0] != name, split_host(each[0].text)[1] != own),
        )
        there = [label(*each) for each in tagged[:_COMPARED]]
        artifacts = self.external.names()[:_COMPARED]
        there += artifacts
        alike = {each.partition("/")[2] + ":latest" if each in artifacts else each: each for each in there}
        near = await run_in_thread(get_close_matches, wanted.removeprefix(f"{FOLDER}/"), alike, 1, _NEAR)
        shown = list(dict.fromkeys([*(alike[each] for each in near), *there]))
        fitting = [each for number, each in enumerate(shown[:_NAMED]) if len(", ".join(shown[: number + 1])) < _LENGTH]
        named = ", ".join(fitting) + (", …" if len(shown) > len(fitting) else "")
        message = self.missing_message(wanted, named)
        if not named and (nameless := self.external.nameless()):
            message += (
                f" The artifact {nameless[0][:60]!r} cannot be pulled by its name: rename it, with letters a to z."
            )
        return ManifestUnknown(message)

    async def parsed(self, blob: Blob) -> Manifest:
        """Return a manifest that was found, in parsed form."""
        return await read_manifest(await read_all(blob), blob.media_type or "")

    async def repositories(self) -> list[Name]:
        """Return every repository that has any content, in ASCII order."""
        return sorted({*await self._own_repositories(), *await self.external.repositories()})

    async def _own_repositories(self) -> set[Name]:
        return {*await self.catalog.repositories(), *self.spool.repositories()}

    async def knows(self, name: Name) -> bool:
        """Return whether anything was pushed to this repository, or read of an artifact for it."""
        return name in await self._own_repositories()

    async def tags(self, name: Name) -> list[Tag]:
        """Return the tags of a repository, in ASCII order, pushed ones and those of artifacts of others.

        Raise UnreadableArtifact if there is none, and an artifact that may have one cannot be read.
        """
        found = set(await self.catalog.tags(name))
        try:
            found |= await self.external.tags(name)
        except UnreadableArtifact:
            if not found:
                raise
        return sorted(found)
