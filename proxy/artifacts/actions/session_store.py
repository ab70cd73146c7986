"""A store whose credentials end before the relay does: what was listed stays listed, all else is told why not.

Beside that it remembers what only the relay that stored an artifact can know: when the artifact expires.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from proxy.artifacts.actions.results import EXPIRED
from proxy.artifacts.actions.session import Held, State
from proxy.artifacts.base import NOBODYS, Artifact, ArtifactStore, Body, Claim, StoreExpired
from proxy.artifacts.retry import Rereading
from proxy.runtime.files import Source


class SessionStore:
    """The artifacts of a run, seen through the session that is held."""

    def __init__(self, store: ArtifactStore, held: Held) -> None:
        self.overwrites, self.is_remote = store.overwrites, store.is_remote
        self.retention = timedelta(days=3)
        self._store = store
        self._held = held
        self._known: dict[str, Artifact] = {}
        self._expires: dict[str, datetime] = {}

    @property
    def closed(self) -> str:
        """Why nothing can be stored or deleted now; empty where it can."""
        return EXPIRED if self._is_over() else self._store.closed

    def _is_over(self) -> bool:
        return self._held.state(datetime.now(UTC)) is State.EXPIRED

    @property
    def rereading(self) -> Rereading:
        """How often, and when, an artifact is read again whose bytes are not what they have to be."""
        return self._store.rereading

    def may_replace(self, artifact: Artifact) -> bool:
        """Refuse what another job of the same attempt has stored, as the store does."""
        return self._store.may_replace(artifact)

    def begin(self, retention: timedelta) -> None:
        """Forget what another session has seen; what is stored from now on is kept for so long."""
        self.retention = retention
        self._known = {}

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts; when the session is over, those that were known before."""
        if not self._is_over():
            try:
                self._remember(await self._store.listed())
            except StoreExpired:  # even before its time
                self._held.refused = True
        return list(self._known.values())

    def _remember(self, listed: list[Artifact]) -> None:
        self._known = {each.id: replace(each, expires=each.expires or self._expires.get(each.id)) for each in listed}

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store an archive under a name, or `name~N` where that is taken."""
        try:
            stored = await self._store.put(name, body, claim)
        except StoreExpired:
            self._held.refused = True
            raise
        self._expires[stored.id] = stored.expires or datetime.now(UTC) + self.retention
        self._known[stored.id] = replace(stored, expires=self._expires[stored.id])
        return self._known[stored.id]

    def now(self) -> datetime:
        """Return the time by the clock of the store."""
        return self._store.now()

    async def open(self, artifact: Artifact) -> Source:
        """Give access to the bytes; ArtifactGone if they are not there any more."""
        return await self._store.open(artifact)

    async def delete(self, artifact: Artifact) -> None:
        """Remove an artifact; one that is not there any more is no error."""
        await self._store.delete(artifact)
        self._known.pop(artifact.id, None)
