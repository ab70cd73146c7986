"""The listing of a store, corrected by what this relay knows: its own changes, and what a remote listing lacks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Container
from contextlib import suppress
from typing import TypeVar

from proxy.artifacts.base import Artifact, ArtifactGone, ArtifactStore, StoreRefused
from proxy.artifacts.naming import meanings, numbered
from proxy.artifacts.ranking import order, ranked
from proxy.catalog.archive import Archive

T = TypeVar("T")

_UNSEEN = 600.0  # seconds for which a listing may lack what this relay has stored
_ASKED = 10.0  # seconds until the store is asked again for what a listing lacks
_LACKED = 60.0  # seconds for which it may lack what an earlier one had
_LOOKS = 3  # before an answer is given although artifacts keep vanishing


class Listing:
    """What is in one store; `renewed` is called after each new listing, which is good for `fresh` seconds.

    What was stored here and is not listed `late` seconds after may be deleted: the store is asked.
    """

    def __init__(self, store: ArtifactStore, renewed: Callable[[], None], fresh: float, late: float) -> None:
        self.listed: dict[str, Artifact] = {}  # by artifact id
        self.foreign: list[Artifact] = []
        self._same: dict[str, dict[str, Artifact]] = {}  # by encoded reference, and by artifact id
        self.version = 0  # of `listed`: another one after each change
        self._store = store
        self._renewed = renewed
        self._fresh, self._late = fresh, late
        self._listed_at = float("-inf")
        self._lock = asyncio.Lock()
        self._changes = 0  # made by this relay so far
        self._stored: dict[str, float] = {}  # by artifact id: when this relay stored what no listing has shown yet
        self._asked: dict[str, float] = {}  # by artifact id: when the store is asked again for those
        self._own: set[str] = set()  # ids of what this relay stored
        self._lacked: dict[str, float] = {}  # by artifact id: since when listings lack what they had
        self._vanished = 0  # artifacts that were listed, and then gone

    async def refresh(self) -> None:
        """List the store, unless that was done a moment ago."""
        async with self._lock:
            if self.is_fresh:
                return
            while True:  # until this relay changed nothing meanwhile, which the listing might lack
                changes, found = self._changes, await self._store.listed()
                if self._store.is_remote:
                    await self._forget_deleted({artifact.id for artifact in found})
                if changes == self._changes:
                    break
            listed = {artifact.id: artifact for artifact in found if not artifact.foreign}
            self.foreign = [artifact for artifact in found if artifact.foreign]
            self._replace(self._lagging(listed) | listed if self._store.is_remote else listed)
            self._listed_at = time.monotonic()
            self._renewed()

    async def _forget_deleted(self, listed: Container[str]) -> None:
        """Ask for what this relay has stored and no listing has shown: it is late, or another job has deleted it."""
        now = time.monotonic()
        for key, at in list(self._stored.items()):
            if key in listed or now < max(at + self._late, self._asked.get(key, 0.0)):
                continue
            self._asked[key] = now + _ASKED
            with suppress(StoreRefused, OSError):
                if not await self._exists(self.listed[key]):
                    self.forget(self.listed[key])

    async def _exists(self, artifact: Artifact) -> bool:
        try:
            await self._store.open(artifact)
        except ArtifactGone:
            return False
        return True

    def _replace(self, listed: dict[str, Artifact]) -> None:
        """Take note of a new listing, and of what it changes."""
        if listed != self.listed or any(each.finalized != self.listed[key].finalized for key, each in listed.items()):
            self.version += 1
            self._same = {}
            for each in listed.values():
                self._note(each)
        self.listed = listed

    def _note(self, artifact: Artifact) -> None:
        for wanted in meanings(artifact.name):
            self._same.setdefault(wanted, {})[artifact.id] = artifact

    @property
    def is_fresh(self) -> bool:
        """Return whether it is not yet time to list again."""
        return time.monotonic() - self._listed_at < self._fresh

    def _lagging(self, listed: Container[str]) -> dict[str, Artifact]:
        """Return what is in the store, as far as this relay knows, but missing in a new listing."""
        now = time.monotonic()
        self._stored = {key: at for key, at in self._stored.items() if key not in listed and at > now - _UNSEEN}
        lacked = {
            key: self._lacked.get(key, now)
            for key, artifact in self.listed.items()
            if artifact.finalized and key not in listed and key not in self._stored
        }
        self._lacked = {key: since for key, since in lacked.items() if since > now - _LACKED}
        return {key: self.listed[key] for key in (*self._stored, *self._lacked)}

    async def looked(self, look: Callable[[], Awaitable[T]]) -> T:
        """Return what `look` finds in a fresh listing; look again if an artifact was gone when it was opened."""
        for _ in range(_LOOKS - 1):
            await self.refresh()
            vanished, found = self._vanished, await look()
            if vanished == self._vanished:
                return found
        await self.refresh()
        return await look()

    async def is_there(self, artifact: Artifact) -> bool:
        """Return whether an artifact that was listed and could not be opened still exists; if not, forget it."""
        if artifact.id not in self._lacked:
            self.expire()
            await self.refresh()
        if artifact.id in self.listed and artifact.id not in self._lacked:
            return True
        self.forget(artifact)
        self._vanished += 1
        return False

    async def confirmed(self, artifact: Artifact) -> bool:
        """Return whether an artifact exists, by a new listing; what that lacks is late, or was deleted by others."""
        self.expire()
        await self.refresh()
        if artifact.id in self.listed:
            is_shown = artifact.id not in self._lacked and artifact.id not in self._stored
            if is_shown or await self._exists(artifact):
                return True
            self.forget(artifact)
        return False

    def has_just_stored(self, wanted: str) -> bool:
        """Return whether this relay stored an encoded reference a moment ago, in a remote store that was listed."""
        if not self._store.is_remote or self._listed_at == float("-inf"):
            return False
        fresh = [self.listed[key] for key, at in self._stored.items() if time.monotonic() - at < self._fresh]
        return any(numbered(each.name).plain == wanted for each in fresh)

    def is_own(self, artifact: Artifact) -> bool:
        """Return whether this relay stored an artifact."""
        return artifact.id in self._own

    def is_settled(self, key: str, archive: Archive | None) -> bool:
        """Return whether what is known of an artifact stays true; if not, it may be gone by now, or finished."""
        listed = self.listed.get(key)
        return listed is not None and key not in self._lacked and (archive is not None or listed.finalized)

    def same(self, wanted: str) -> list[Artifact]:
        """Return the artifacts that, by their names, may be of an encoded reference."""
        return list(self._same.get(wanted, {}).values())

    def up_to(self, newest: Artifact | None, seen: Container[str], wanted: str) -> list[Artifact]:
        """Return what may be of an encoded reference, the oldest first, without what came after a decision about it.

        `newest` answered then, of those with the ids `seen`; what others have stored since is not meant by it.
        """

        def is_meant(each: Artifact) -> bool:
            if newest is None:
                return True
            is_twin = not self._store.overwrites and (each.owner, each.name) == (newest.owner, newest.name)
            return each.id in seen or is_twin or order(each) < order(newest)

        return [each for each in reversed(ranked(self.same(wanted))) if is_meant(each)]

    def add(self, artifact: Artifact) -> None:
        """Add what this relay has stored."""
        self.listed[artifact.id] = artifact
        self._note(artifact)
        self.version += 1
        self._own.add(artifact.id)
        if self._store.is_remote:
            self._stored[artifact.id] = time.monotonic()
        self._changes += 1

    def remove(self, artifact: Artifact) -> None:
        """Remove what this relay has deleted."""
        self.forget(artifact)
        self._changes += 1

    def forget(self, artifact: Artifact) -> None:
        """Forget all about an artifact."""
        self._own.discard(artifact.id)
        self.version += 1
        for wanted in meanings(artifact.name):
            self._same.get(wanted, {}).pop(artifact.id, None)
        for table in (self.listed, self._stored, self._asked, self._lacked):
            table.pop(artifact.id, None)

    def expire(self) -> None:
        """List the store anew before the next answer."""
        self._store.expire()
        self._listed_at = float("-inf")

    def clear(self) -> None:
        """Forget everything: from now on the store is that of another run."""
        self.expire()
        self.foreign = []
        self.version += 1
        for table in (self.listed, self._same, self._stored, self._asked, self._own, self._lacked):
            table.clear()
        self._changes += 1
