"""What a push means: a manifest is checked, kept, and sealed with all it needs into one artifact.

By tag it is sealed before the answer. By digest it is pending, kept in the spool: the tag or index that usually follows
takes it along; what nothing claims is sealed alone, when its repository has been quiet for a while, on a flush, and at
the end of the process.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from weakref import WeakValueDictionary

from proxy.archive.index import ArchiveInvalid
from proxy.artifacts.base import NOBODYS, ArtifactGone, Claim, Contested, MayBeInside, StoreRefused, UnreadableArtifact
from proxy.catalog.catalog import Archive, Catalog
from proxy.errors import Denied, ManifestInvalid, ManifestUnknown, RegistryError
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.registry.pending_groups import batches
from proxy.registry.push_events import PushEvents
from proxy.registry.push_state import Event, Pushed, State
from proxy.registry.sealing import Tree, body_of, gather, present
from proxy.registry.singleflight import SingleFlight
from proxy.registry.superseded import Superseded
from proxy.registry.tag_rules import TagTaken, answers, whose
from proxy.runtime.files import trouble
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import run_in_thread
from proxy.spool.spool import Spool

_log = logging.getLogger(__name__)
_TROUBLES = (RegistryError, StoreRefused, ArtifactGone, ArchiveInvalid, OSError)  # of a seal
_CONTESTS = 3  # lost to another job, before the tag is taken to be its own
_TICK = 0.25  # seconds between two looks at what may be settled


@dataclass(slots=True)
class Push:
    """Takes manifests in, and sees to it that they become artifacts."""

    spool: Spool
    catalog: Catalog
    lookup: Lookup
    flights: SingleFlight
    public_host: str
    settle_seconds: float
    memory: MemoryBudget
    journal: PushEvents = field(default_factory=PushEvents)
    forerunners: Superseded = field(init=False)
    _pushed: dict[tuple[Name, Tag | Digest, Digest], Pushed] = field(default_factory=dict)
    _touched: dict[Name, float] = field(default_factory=dict)
    _turns: WeakValueDictionary[tuple[Name, Tag | Digest], asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        """Join what belongs to it."""
        self.forerunners = Superseded(self.catalog)

    def touch(self, name: Name) -> None:
        """Note a request to a repository: it is not quiet."""
        self._touched[name] = time.monotonic()

    async def put(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Take a manifest in by its digest, as `hold`; return when it is durable if it has a subject.

        No tag or index follows a signature. An attestation whose subject is pending itself is stored with that.
        """
        await self.hold(name, digest, manifest)
        if manifest.subject and manifest.subject.digest not in self.spool.pending.get(name, {}):
            await self._seal(name, digest, digest, None)

    async def hold(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Take a manifest in that a tag or an index is going to claim; return when a pull can have it.

        MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID.
        """
        self._retry_failed(name)
        await self._check(name, manifest)
        await self._hold(name, digest, manifest)
        self.journal.accepted(name, digest, digest, manifest)

    async def put_tagged(self, name: Name, tags: Sequence[Tag], digest: Digest, manifest: Manifest) -> list[Tag]:
        """Take a manifest in under tags, an artifact for each; returns when they are durable, with those that are.

        As `put`; DENIED when the store can keep none of them; StillUnderWay.
        """
        self._retry_failed(name)
        await self.flights.run((name, *tags, digest), partial(self._seal_each, name, tags, digest, manifest))
        return [tag for tag in tags if await self._is_durable(name, tag, digest, manifest)]

    async def _is_durable(self, name: Name, tag: Tag, digest: Digest, manifest: Manifest) -> bool:
        try:
            return await self._answering(name, tag, digest, manifest) is not None
        except Denied:  # it is another job's, and cannot be read
            return False

    def _retry_failed(self, name: Name) -> None:
        """Let what could not be settled before be tried again: a push is the occasion."""
        for digest in self.spool.pending.get(name, {}):
            if (pushed := self._record(name, digest, digest)).state is State.FAILED:
                pushed.advance(Event.HOLD)

    async def _check(self, name: Name, manifest: Manifest) -> None:
        for descriptor in {each.digest: each for each in manifest.blobs}.values():
            blob = await present(self.lookup, name, descriptor)
            if blob and blob.size != descriptor.size:
                raise ManifestInvalid(f"{descriptor.digest} has {blob.size} bytes, not {descriptor.size}")

    async def _hold(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        async with self.lock(name, digest):
            if await self._answering(name, digest, digest, manifest) is None:
                await self.spool.add_pending(name, digest, manifest)
                self._record(name, digest, digest).advance(Event.HOLD)

    def _record(self, name: Name, reference: Tag | Digest, digest: Digest) -> Pushed:
        fresh = Pushed(name, reference, digest, State.UPLOADED)
        return self._pushed.setdefault((name, reference, digest), fresh)

    def restore(self) -> None:
        """Take up the pending manifests that an earlier process left in the spool."""
        for name, pending in self.spool.pending.items():
            for digest in pending:
                self._record(name, digest, digest).advance(Event.HOLD)
            self.touch(name)

    def lock(self, name: Name, reference: Tag | Digest) -> asyncio.Lock:
        """Give the lock under which what a reference answers is changed, in the order of the requests."""
        return self._turns.setdefault((name, reference), asyncio.Lock())

    # Sealing

    async def _seal_each(self, name: Name, tags: Sequence[Tag], digest: Digest, manifest: Manifest) -> None:
        """Seal under one tag after the other: together they may take longer than one request waits."""
        failures = []
        for tag in tags:
            try:
                await self._seal(name, tag, digest, manifest)
            except Denied as error:
                failures.append(error)
        if len(failures) == len(tags):
            raise failures[0]

    async def _seal(self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest | None) -> None:
        """Make an artifact of a manifest; of one that is pending it need not be given."""
        async with self.lock(name, reference):
            if manifest:
                await self._check(name, manifest)  # not before: turns are taken in the order of the requests
                self.journal.accepted(name, reference, digest, manifest)
            elif digest not in self.spool.pending.get(name, {}):
                return  # claimed or deleted while this waited
            pushed = self._record(name, reference, digest)
            pushed.advance(Event.SEAL)
            pushed.takes = frozenset({digest, *(child.digest for child in manifest.children)} if manifest else ())
            try:
                await self._store(name, reference, digest, manifest or await self._read_back(name, digest))
            except _TROUBLES as error:
                problem = trouble(self.spool.root, error) if isinstance(error, OSError) else str(error)
                self._fail(pushed, problem)
                verb = "" if isinstance(error, TagTaken) else "was not stored: "
                raise Denied(f"{label(name, reference)} {verb}{problem}") from error
            except Exception:
                self._fail(pushed, "this is a fault of image-relay; its log says more")
                _log.exception("sealing %s failed", label(name, reference))
                raise
            pushed.advance(Event.STORE)
            self._forget(name, reference)

    async def _read_back(self, name: Name, digest: Digest) -> Manifest:
        held = await self.spool.get_pending(name, digest)
        if held is None:
            raise ManifestUnknown("its manifest is gone from the disk; push it again")
        return await self.lookup.parsed(held)

    def _fail(self, pushed: Pushed, problem: str) -> None:
        if pushed.state is not State.DURABLE:  # else a tag has claimed it meanwhile
            pushed.advance(Event.FAIL, problem)
            self.journal.failed(label(pushed.name, pushed.reference), problem)

    def _forget(self, name: Name, reference: Tag | Digest) -> None:
        """Something is durable under this reference: earlier failures no longer matter."""
        for key in [key for key in self._pushed if key[:2] == (name, reference)]:
            del self._pushed[key]

    async def _store(self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest) -> None:
        for _ in range(_CONTESTS):
            try:
                return await self._store_once(name, reference, digest, manifest)
            except Contested as contested:
                await asyncio.sleep(contested.pause)
                self.catalog.forget_listing()
        raise TagTaken

    async def _store_once(self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest) -> None:
        before, known = await self._standing(name, reference, digest)
        if (
            before is not None
            and answers(before, reference, digest, manifest)
            and await self._stands(name, before, manifest)
        ):
            await self._claim(name, before.index.blobs)
            self.journal.unchanged(label(name, reference), digest)
            return
        claim = NOBODYS
        if isinstance(reference, Tag):
            claim = Claim(await whose(self.lookup, reference, digest, manifest, before), known)
        began = time.monotonic()
        tree = await gather(self.lookup, name, digest, manifest)
        try:
            if before is not None and isinstance(reference, Tag):
                await self.seal_dependents(name, before, tree.contents)
            await self._archive(name, reference, digest, tree, began, claim)
        finally:
            await run_in_thread(tree.blobs.clear)  # closes as many files

    async def _stands(self, name: Name, before: Archive, manifest: Manifest) -> bool:
        """Return whether an archive of this manifest is still there, and has all of it that the repository has."""
        return not await self._has_more(name, before, manifest) and await self.catalog.confirmed(before)

    async def _has_more(self, name: Name, before: Archive, manifest: Manifest) -> bool:
        """Return whether the repository has by now what an archive lacks: an index may come before what it names."""
        waiting = [manifest]
        while waiting:
            parent = waiting.pop()
            for digest in parent.named - before.index.blobs.keys():
                with suppress(MayBeInside):
                    if await self.lookup.find(name, digest):
                        return True
            inner = [blob for child in parent.children if (blob := before.blob(child.digest)) and blob.media_type]
            waiting += [child for each in inner if (child := await self.lookup.parsed(each)).is_index]
        return False

    async def _archive(
        self, name: Name, reference: Tag | Digest, digest: Digest, tree: Tree, began: float, claim: Claim
    ) -> None:
        """Make an artifact of what was gathered, from `began` on (monotonic seconds)."""
        body = await body_of(tree, name, reference, self.public_host, self.lookup, self.memory)
        known = self.catalog.known_of(tree.contents)
        async with self.journal.storing(label(name, reference), body) as archived:
            archive = await self.catalog.put(name, reference, archived, claim)
        archive.findings.verified.update(body.proven())
        self.forerunners.follow(archive)
        await self._claim(name, tree.contents)
        self.journal.stored(archive, known, body.size, time.monotonic() - began)

    async def _answering(
        self, name: Name, reference: Tag | Digest, digest: Digest, manifest: Manifest
    ) -> Archive | None:
        """Give the archive that makes this push durable already, with the media type of this push."""
        current, _ = await self._standing(name, reference, digest)
        return current if current is not None and answers(current, reference, digest, manifest) else None

    async def _standing(
        self, name: Name, reference: Tag | Digest, digest: Digest
    ) -> tuple[Archive | None, frozenset[str]]:
        """Return the archive that answers for a tag, and what was looked at; or one that is known to have a digest."""
        if isinstance(reference, Digest):
            return await self.catalog.find_cached(name, digest), frozenset()
        try:
            return await self.catalog.standing(name, reference)
        except UnreadableArtifact as error:  # that is no reason not to store
            self._check_unreadable(name, reference, error)
            return None, self.catalog.ids(name, reference)

    def _check_unreadable(self, name: Name, tag: Tag, error: UnreadableArtifact) -> None:
        """Refuse to take a tag over from another job whose image just cannot be read; what is none is nobody's."""
        if not error.proven and not self.catalog.may_replace(error.artifact):
            raise Denied(f"{label(name, tag)} belongs to another job of this run, and {error}") from error

    async def _claim(self, name: Name, durable: Collection[Digest]) -> None:
        """Take out of the spool what is in an artifact now."""
        for digest in await self.spool.remove_pending(name, durable):
            self._record(name, digest, digest).advance(Event.STORE)
            self._forget(name, digest)
        needed = self.spool.pending_digests(name)  # by what is still pending, and must outlive this artifact
        await self.spool.unlink(name, [digest for digest in durable if digest not in needed])

    # Settling what was pushed by digest

    async def seal_idle(self) -> None:
        """Seal, for ever, what nothing claims and whose repository is quiet."""
        while True:
            await asyncio.sleep(_TICK)
            self._touched = {name: at for name, at in self._touched.items() if not self._is_quiet(name)}
            for name in [name for name in self.spool.pending if self._is_quiet(name)]:
                await self._settle(name)

    def _is_quiet(self, name: Name) -> bool:
        since = time.monotonic() - self._touched.get(name, float("-inf"))
        sealing = any(each.name == name and each.state is State.SEALING for each in self._pushed.values())
        return since >= self.settle_seconds and not sealing and not self.spool.is_fed(name)

    async def flush(self) -> list[Pushed]:
        """Seal everything that is pending; return what could not be stored.

        What goes into an artifact that a tag is getting right now is stored alone only if that fails.
        """
        under_way = [each for each in self._pushed.values() if each.takes and each.state is State.SEALING]
        await self._settle_all()
        for each in under_way:
            async with self.lock(each.name, each.reference):
                pass  # it is free when the seal is over
        if under_way:
            await self._settle_all()
        await self.forerunners.remove(all_of_them=True)
        return self.pending()

    async def _settle_all(self) -> None:
        found = [(name, digest) for name in self.spool.pending for digest in self._unclaimed(name)]
        for batch in batches(self.spool, found):
            await asyncio.gather(*(self._settle_one(*held) for held in batch))

    def pending(self) -> list[Pushed]:
        """Return what was pushed by digest and is in no artifact yet."""
        return [self._record(name, digest, digest) for name, held in self.spool.pending.items() for digest in held]

    async def _settle(self, name: Name) -> None:
        """Seal what nothing takes along; what failed not before another push."""
        for digest in self._unclaimed(name):
            if self._record(name, digest, digest).state is not State.FAILED:
                await self._settle_one(name, digest)

    def _unclaimed(self, name: Name) -> list[Digest]:
        """Return what is pending in a repository, without what a pending manifest, or a tag on its way, takes along."""
        pending = self.spool.pending.get(name, {})
        claimed = {child for each in pending.values() for child in each.children}
        under_way = (each for each in self._pushed.values() if each.name == name and each.state is State.SEALING)
        claimed.update(*(each.takes for each in under_way))
        return [digest for digest in pending if digest not in claimed]

    async def _settle_one(self, name: Name, digest: Digest) -> bool:
        """Seal a pending manifest alone, unless it was claimed or deleted meanwhile; return whether that went well."""
        work = partial(self._seal, name, digest, digest, None)
        return await self.flights.wait((name, digest, digest), work)

    async def seal_dependents(self, name: Name, going: Archive, claimed: Collection[Digest] = ()) -> None:
        """Seal what is pending and needs content of an archive that is about to go; DENIED if that fails.

        Other repositories may need it too, by a mount.
        """
        held = [(each, *entry) for each, table in self.spool.pending.items() for entry in table.items()]
        for each, digest, pending in held:
            if (each == name and digest in claimed) or pending.named.isdisjoint(going.index.blobs):
                continue
            if not await self._settle_one(each, digest):
                whole = label(going.name, going.reference)
                raise Denied(f"{whole} is still needed by {label(each, digest)}, which could not be stored")

    async def drop_pending(self, name: Name, digest: Digest) -> bool:
        """Drop a pending manifest that was deleted; gives whether there was one."""
        if not await self.spool.remove_pending(name, [digest]):
            return False
        self._record(name, digest, digest).advance(Event.DELETE)
        del self._pushed[name, digest, digest]
        return True

    def pushed(self) -> list[Pushed]:
        """Give what is not durable: pending, being sealed, or failed."""
        return list(self._pushed.values())
