"""Push: check a manifest, keep it, and seal it with all that it needs into one artifact.

A manifest pushed by tag is sealed before the answer. One pushed by digest is pending, and kept in the spool: the tag or
index that usually follows takes it along. A pending manifest that nothing claims is sealed alone: when its repository
has been quiet for a while, on a flush, and when the process ends.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from proxy.catalog.archive import Archive
from proxy.catalog.catalog import Catalog
from proxy.errors import Denied
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag
from proxy.registry.interim import InterimArchives
from proxy.registry.lookup import Lookup
from proxy.registry.pending_groups import batches
from proxy.registry.push_events import PushEvents
from proxy.registry.push_state import Pushed, PushTable, State, Transition
from proxy.registry.sealer import Sealer
from proxy.registry.singleflight import SingleFlight
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget
from proxy.spool.spool import Spool

_NO_SESSION = "this relay was started again since, and has no session of that run: use the action again in a later step"


@dataclass(slots=True)
class Push:
    """Accepts manifests, and seals them."""

    spool: Spool
    catalog: Catalog
    lookup: Lookup
    flights: SingleFlight
    public_host: Callable[[], str]
    settle_seconds: float
    memory: MemoryBudget
    events: PushEvents = field(default_factory=PushEvents)
    limits: Limits = DEFAULT
    interim: InterimArchives = field(init=False)
    sealer: Sealer = field(init=False)
    _table: PushTable = field(default_factory=PushTable, init=False)
    _touched: dict[Name, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Make its own parts."""
        self.interim = InterimArchives(self.catalog, self.limits)
        self.sealer = Sealer(
            lookup=self.lookup,
            flights=self.flights,
            memory=self.memory,
            events=self.events,
            interim=self.interim,
            public_host=self.public_host,
            table=self._table,
        )

    def touch(self, name: Name) -> None:
        """Note that a repository was requested, and so is not quiet."""
        self._touched[name] = time.monotonic()

    async def put(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Accept a manifest by its digest as `hold` does; if it has a subject, return when it is durable.

        No tag or index follows a signature. But a manifest whose subject is itself pending stays pending, too.
        """
        await self.hold(name, digest, manifest)
        if manifest.subject and manifest.subject.digest not in self.spool.pending.get(name, {}):
            await self.sealer.seal_pending(name, digest)

    async def hold(self, name: Name, digest: Digest, manifest: Manifest) -> None:
        """Accept a manifest that a tag or an index is going to claim; return when it can be pulled by its digest.

        Raise ManifestBlobUnknown, ManifestInvalid.
        """
        self._retry_failed(name)
        await self.sealer.check(name, manifest)
        await self.lookup.keep_lingering(name, [each.digest for each in manifest.blobs])
        async with self.lock(name, digest):  # also where an archive has it: another job may have deleted that
            hold = partial(self._table.hold, name, digest)  # at once: a tag may take it along a moment later
            await self.spool.pending.add(name, digest, manifest, hold)
        self.events.accepted(name, digest, digest, manifest)

    async def put_tagged(
        self, name: Name, tags: Sequence[Tag], digest: Digest, manifest: Manifest, required: Collection[Tag] = ()
    ) -> dict[Tag, Archive]:
        """Accept a manifest under tags, and store an artifact for each; return the archive of each durable tag.

        Raise what `hold` raises, Denied if no tag could be stored, or not all that are `required`. To be run as a
        flight: it has to come to its end also when the client leaves.
        """
        self._retry_failed(name)
        archives, failures = await self._seal_tags(name, tags, digest, manifest)
        if lacking := [failures[tag] for tag in tags if tag in failures and (tag in required or not archives)]:
            raise lacking[0]
        return archives

    async def _seal_tags(
        self, name: Name, tags: Sequence[Tag], digest: Digest, manifest: Manifest
    ) -> tuple[dict[Tag, Archive], dict[Tag, Denied]]:
        """Seal under one tag after the other; return the archives, and why the other tags failed."""
        archives, failures = dict[Tag, Archive](), dict[Tag, Denied]()
        for tag in tags:
            try:
                archives[tag] = await self.sealer.seal_tag(name, tag, digest, manifest)
            except Denied as error:
                failures[tag] = error
        for tag in list(failures):  # an older archive may answer all the same, even if it lacks something
            with suppress(Denied):  # the tag is another job's, whose archive cannot be read
                if archive := await self.sealer.answering(name, tag, digest, manifest):
                    archives[tag] = archive
                    del failures[tag]
        return archives, failures

    def _retry_failed(self, name: Name) -> None:
        """Make the pending manifests that could not be sealed pending again: the next push is the time to retry."""
        for digest in self.spool.pending.get(name, {}):
            if (pushed := self._table.record(name, digest, digest)).state is State.FAILED:
                pushed.advance(Transition.HOLD)

    def forget(self) -> None:
        """Forget all that was pushed: from now on the spool is that of another run."""
        self._table.clear()
        self._touched.clear()
        self.interim.clear()
        self.events.received_blobs.clear()

    def restore(self) -> None:
        """Record the pending manifests that an earlier process left in the spool."""
        for name, pending in self.spool.pending.items():
            for digest in pending:
                self._table.record(name, digest, digest).advance(Transition.HOLD)
            self.touch(name)

    def lock(self, name: Name, reference: Tag | Digest) -> asyncio.Lock:
        """Return the lock under which a reference gets another answer; requests get it in their order."""
        return self._table.lock(name, reference)

    async def drop_pending(self, name: Name, digest: Digest) -> bool:
        """Drop a pending manifest that is deleted; return whether there was one."""
        if not await self.spool.pending.remove(name, [digest]):
            return False
        self._table.record(name, digest, digest).advance(Transition.DELETE)
        self._table.forget(name, digest)
        return True

    def forget_refused(self, name: Name, reference: Tag | Digest) -> None:
        """Forget what was refused under a tag that is deleted."""
        if isinstance(reference, Tag):
            self._table.forget(name, reference)

    def pending(self) -> list[Pushed]:
        """Return what was pushed by digest and is in no artifact yet."""
        held = [(name, digest) for name, table in self.spool.pending.items() for digest in table]
        return [self._table.record(name, digest, digest) for name, digest in held] + self._set_aside()

    def pushed(self) -> list[Pushed]:
        """Return what is not durable: pending, being sealed, or failed."""
        return self._table.records() + self._set_aside()

    def _set_aside(self) -> list[Pushed]:
        """Return what an earlier process has accepted, and waits for the session of its run."""
        left = self.spool.pending.set_aside
        return [Pushed(name, digest, digest, State.FAILED, _NO_SESSION) for name, digest in left]

    # Sealing what was pushed by digest

    async def seal_idle(self) -> None:
        """Seal, again and again, what nothing claims in quiet repositories; what failed waits for another push."""
        while True:
            await asyncio.sleep(self.limits.idle_poll)
            self._touched = {name: at for name, at in self._touched.items() if not self._is_quiet(name)}
            for name in [name for name in self.spool.pending if self._is_quiet(name)]:
                for digest in self._unclaimed(name):
                    is_pending = digest in self.spool.pending.get(name, {})  # still, after others were sealed
                    if is_pending and self._table.record(name, digest, digest).state is not State.FAILED:
                        await self.sealer.try_pending(name, digest)

    def _is_quiet(self, name: Name) -> bool:
        since = time.monotonic() - self._touched.get(name, float("-inf"))
        return since >= self.settle_seconds and not self._table.sealing(name) and not self.spool.sessions.is_fed(name)

    async def flush(self) -> list[Pushed]:
        """Seal everything that is pending; return what of it could not be stored.

        What a tag is taking along right now is stored alone only if that fails.
        """
        under_way, wanted = [each for each in self._table.sealing() if each.takes], self.pending()
        await self._seal_unclaimed()
        for each in under_way:
            async with self.lock(each.name, each.reference):
                pass  # it is free once the seal has ended
        if under_way:
            await self._seal_unclaimed()
        await self.interim.remove(all_of_them=True)
        return [each for each in self.pending() if each in wanted or each.problem]

    async def _seal_unclaimed(self) -> None:
        found = [(name, digest) for name in self.spool.pending for digest in self._unclaimed(name)]
        for batch in batches(self.spool, found):
            await asyncio.gather(*(self.sealer.try_pending(*held) for held in batch))

    def _unclaimed(self, name: Name) -> list[Digest]:
        """Return what is pending in a repository, except what a pending index, or a tag being sealed, takes along."""
        pending = self.spool.pending.get(name, {})
        claimed = {child for each in pending.values() for child in each.children}
        claimed.update(*(each.takes for each in self._table.sealing(name)))
        return [digest for digest in pending if digest not in claimed]
