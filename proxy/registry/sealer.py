"""Seal: store a manifest and all that it needs as one artifact, and take that out of the spool.

A tag is sealed by the request that pushes it. A pending manifest is sealed alone when nothing claims it, or before
content that it needs is deleted.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from proxy.archive.index import ArchiveInvalid
from proxy.artifacts.base import NOBODYS, ArtifactGone, Claim, Contested, MayBeInside, StoreRefused, UnreadableArtifact
from proxy.blob import Blob
from proxy.catalog.archive import Archive
from proxy.errors import (
    ContentDamaged,
    Denied,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
)
from proxy.events import NotStored, Unchanged
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label
from proxy.registry.interim import InterimArchives
from proxy.registry.lookup import Lookup
from proxy.registry.push_events import PushEvents
from proxy.registry.push_state import Pushed, PushTable, State, Transition
from proxy.registry.sealing import body_of, find_child, gather, present
from proxy.registry.singleflight import SingleFlight
from proxy.registry.tag_rules import TagTaken, answers, whose
from proxy.runtime.files import trouble
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.text import counted

_log = logging.getLogger(__name__)
_TROUBLES = (RegistryError, StoreRefused, ArtifactGone, ArchiveInvalid, OSError)  # for which a seal fails
_AGAIN = "push that again, or delete it: image-relay delete {}"
_CONTESTS = 3  # times that a push may lose to other jobs before the tag counts as theirs


@dataclass(slots=True)
class Sealer:
    """Makes artifacts of manifests. `public_host` returns the host under which clients know this relay."""

    lookup: Lookup
    flights: SingleFlight
    memory: MemoryBudget
    events: PushEvents
    interim: InterimArchives
    public_host: Callable[[], str]
    table: PushTable = field(default_factory=PushTable)

    async def check(self, name: Name, manifest: Manifest) -> dict[Digest, Blob]:
        """Return the blobs in the spool that a manifest names, with their files open.

        Raise ManifestBlobUnknown if a required blob is missing, ManifestInvalid if a blob has another size.
        """
        found = {}
        for descriptor in {each.digest: each for each in manifest.blobs}.values():
            blob = await present(self.lookup, name, descriptor)
            if blob and blob.size != descriptor.size:
                raise ManifestInvalid(f"{descriptor.digest} has {counted(blob.size, 'byte')}, not {descriptor.size}")
            if blob and blob.source.is_local and self.lookup.spool.stored(blob.digest):
                found[descriptor.digest] = blob
        return found

    async def seal_tag(self, name: Name, tag: Tag, digest: Digest, manifest: Manifest) -> Archive:
        """Return the archive that makes a tag answer with a manifest, stored now or before. Raise Denied."""
        async with self.table.lock(name, tag):  # checked under the lock, which requests get in their order
            found = await self.check(name, manifest)
            try:
                self.events.accepted(name, tag, digest, manifest)
                pushed = self.table.record(name, tag, digest)
                pushed.advance(Transition.SEAL, takes={digest, *(child.digest for child in manifest.children)})
                return await self._seal(pushed, manifest, found)
            finally:
                if found:
                    await run_in_thread(found.clear)  # closes their files

    async def seal_pending(self, name: Name, digest: Digest) -> None:
        """Seal a pending manifest alone, unless it was claimed or deleted meanwhile. Raise Denied."""
        async with self.table.lock(name, digest):
            if digest in self.lookup.spool.pending.get(name, {}):
                pushed = self.table.record(name, digest, digest)
                pushed.advance(Transition.SEAL)
                await self._seal(pushed, None, {})

    async def try_pending(self, name: Name, digest: Digest) -> bool:
        """Seal as `seal_pending` does, once for all who wait for it; return whether it succeeded."""
        return await self.flights.wait((name, digest, digest), partial(self.seal_pending, name, digest))

    async def _seal(self, pushed: Pushed, manifest: Manifest | None, found: dict[Digest, Blob]) -> Archive:
        """Store a manifest, the pending one if none is given, and record the outcome. Raise Denied."""
        name, reference = pushed.name, pushed.reference
        try:
            archive = await self._stored(pushed, manifest, found)
        except _TROUBLES as error:
            problem = trouble(self.lookup.spool.root, error) if isinstance(error, OSError) else str(error)
            if manifest is None and isinstance(error, ManifestBlobUnknown):
                problem = "a layer that it needs was deleted since with the image that had it; push it again"
            self._fail(pushed, problem)
            if isinstance(error, TooManyRequests):
                raise
            verb = "" if isinstance(error, TagTaken) else "was not stored: "
            raise Denied(f"{label(name, reference)} {verb}{problem}") from error
        except Exception:
            self._fail(pushed, "this is a fault of image-relay; its log says more")
            _log.exception("sealing %s failed", label(name, reference))
            raise
        pushed.advance(Transition.STORE)
        self.table.forget(name, reference)
        return archive

    def _fail(self, pushed: Pushed, problem: str) -> None:
        if pushed.state is not State.DURABLE:  # else a tag has claimed it meanwhile
            pushed.advance(Transition.FAIL, problem=problem)
            self.events.bus.emit(NotStored(label(pushed.name, pushed.reference), problem))

    async def _stored(self, pushed: Pushed, manifest: Manifest | None, found: dict[Digest, Blob]) -> Archive:
        """Return the archive that is stored already, or a new one. Raise TagTaken after losing to other jobs.

        Each blob of `found` is used once.
        """
        name, reference, digest, catalog = pushed.name, pushed.reference, pushed.digest, self.lookup.catalog
        if manifest is None:
            blob = await self.lookup.spool.pending.find(name, digest)
            if blob is None:
                raise ManifestUnknown("its manifest is gone from the disk; push it again")
            manifest = await self.lookup.parsed(blob)
        for _ in range(_CONTESTS):
            before, seen = await self._standing(name, reference, digest)
            if (
                before
                and answers(before, reference, digest, manifest)
                and not await self._has_more(name, before, manifest)
            ):
                if not await catalog.confirmed(before, name, reference):
                    continue
                await self._claim(pushed, manifest, before.index.blobs)
                self.events.bus.emit(Unchanged(label(name, reference), str(digest)))
                return before
            try:
                return await self._store(pushed, manifest, found, before, seen)
            except Contested as contested:
                await asyncio.sleep(contested.pause)
                catalog.forget_listing()
        raise TagTaken

    async def _store(
        self,
        pushed: Pushed,
        manifest: Manifest,
        found: dict[Digest, Blob],
        before: Archive | None,
        seen: frozenset[str],
    ) -> Archive:
        """Store a new archive in the place of the one before. Raise Contested, TagTaken."""
        name, reference, digest, catalog = pushed.name, pushed.reference, pushed.digest, self.lookup.catalog
        claim = NOBODYS
        if isinstance(reference, Tag):
            claim = Claim(await whose(self.lookup, reference, digest, manifest, before), seen)
        began = time.monotonic()
        tree = await gather(self.lookup, name, digest, manifest, found)
        try:
            if before is not None and isinstance(reference, Tag) and not catalog.is_remote:  # there the artifact stays
                await self.seal_dependents(name, before, tree.contents)
                await self.keep_promised(before, tree.contents)
            body = await body_of(tree, name, reference, self.public_host(), self.lookup, self.memory)
            reused = catalog.known_of(tree.contents)
            async with self.events.storing(label(name, reference), body) as progress:
                archive = await catalog.put(name, reference, progress, claim)
            archive.findings.verified.update(body.proven())
            self.interim.follow(archive)
        finally:
            await run_in_thread(tree.blobs.clear)  # closes their files, which would be kept open beyond their removal
        await self._claim(pushed, manifest, tree.contents)
        self.events.stored(archive, reused, body.size, time.monotonic() - began, missing=len(tree.missing))
        return archive

    async def _has_more(self, name: Name, before: Archive, manifest: Manifest) -> bool:
        """Return whether a repository now has content that an archive lacks: an index may precede its children."""
        waiting, is_listed = [manifest], False
        while waiting:
            parent = waiting.pop()
            for digest in parent.named - before.index.blobs.keys():
                with suppress(MayBeInside):
                    if await find_child(self.lookup, name, digest, anew=not is_listed):
                        return True
                is_listed = True
            inner = [blob for child in parent.children if (blob := before.blob(child.digest)) and blob.media_type]
            waiting += [child for each in inner if (child := await self.lookup.parsed(each)).is_index]
        return False

    async def answering(
        self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest
    ) -> Archive | None:
        """Return the archive that makes this push durable already, with the media type of this push."""
        current, _ = await self._standing(name, reference, digest)
        return current if current is not None and answers(current, reference, digest, manifest) else None

    async def _standing(
        self, name: Name, reference: Tag | Digest, digest: Digest
    ) -> tuple[Archive | None, frozenset[str]]:
        """Return the archive that answers for a tag, with the ids of the artifacts listed; or one with a digest.

        Raise Denied if the tag may belong to another job whose image cannot be read; what is no image is nobody's.
        """
        catalog = self.lookup.catalog
        if isinstance(reference, Digest):
            return await catalog.find_cached(name, digest), frozenset()
        try:
            return await catalog.standing(name, reference)
        except UnreadableArtifact as error:  # the push can still be stored in its place
            if not error.proven and not catalog.may_replace(error.artifact):
                raise Denied(f"{label(name, reference)} belongs to another job of this run, and {error}") from error
            return None, catalog.ids(name, reference)

    async def _claim(self, pushed: Pushed, manifest: Manifest, durable: Collection[Digest]) -> None:
        """Take out of the spool what is durable now that a manifest was pushed."""
        spool, name = self.lookup.spool, pushed.name
        pending = spool.pending.get(name, {})
        children = [pending[each].named for each in durable if each in pending and each != pushed.digest]
        uses = Counter(chain(manifest.named, *children))
        for digest in await spool.pending.remove(name, durable):
            if digest not in spool.pending.get(name, {}):  # it was not pushed again meanwhile
                self.table.record(name, digest, digest).advance(Transition.STORE)
                self.table.forget(name, digest)
        needed = spool.pending.needed(name)  # by other pending manifests, which may outlive this artifact
        await spool.claim(name, [digest for digest in durable if digest not in needed], uses)

    async def seal_dependents(self, name: Name, going: Archive, claimed: Collection[Digest] = ()) -> None:
        """Seal the pending manifests, in any repository, that need content of an archive before it is deleted.

        Other repositories may have mounted that content. Raise Denied if a seal fails.
        """
        spool = self.lookup.spool
        held = [(each, *entry) for each, table in spool.pending.items() for entry in table.items()]
        for each, digest, pending in held:
            if (each == name and digest in claimed) or pending.named.isdisjoint(going.index.blobs):
                continue
            done = await self.try_pending(each, digest)
            if not done and digest in spool.pending.get(each, {}):  # else a tag has taken it along meanwhile
                whole, part = label(going.name, going.reference), label(each, digest)
                why = self.table.record(each, digest, digest).problem
                raise Denied(
                    f"{whole} is still needed by {part}, which could not be stored ({why}): {_AGAIN.format(part)}"
                )

    async def keep_promised(self, going: Archive, staying: Collection[Digest] = ()) -> None:
        """Copy into the spool, before an archive goes, what of it clients have mounted, or were told of, and will name.

        What of it is damaged goes with it. Raise Denied where the disk fails, and StoreRefused, for what was mounted.
        """
        spool = self.lookup.spool
        at_stake = going.index.blobs.keys() - set(staying)
        told, mounted = spool.told(), spool.mounted()
        for digest in at_stake & mounted:
            if blob := going.blob(digest):
                with suppress(ContentDamaged):
                    await spool.keep_blob(blob, told.get(digest, ()))
        wanted = {digest: names for digest, names in told.items() if digest in at_stake and digest not in mounted}
        others = await self.lookup.catalog.cached_archives() if wanted else []
        for digest, names in wanted.items():
            has = {each.name for each in others if each.artifact.id != going.artifact.id and each.is_sound(digest)}
            if (blob := going.blob(digest)) and not names <= has:
                with suppress(RegistryError, StoreRefused, OSError):  # then its client has to send it again
                    await spool.keep_blob(blob, names)
