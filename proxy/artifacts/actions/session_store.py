"""A store whose credentials end before the relay does: what was listed stays listed, all else is told why not.

Beside that it remembers what only the relay that stored an artifact can know: when the artifact expires.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from proxy.archive.pieces import Piece
from proxy.artifacts.actions.results import EXPIRED
from proxy.artifacts.actions.session import SessionHolder, State
from proxy.artifacts.base import NOBODYS, Ahead, Artifact, ArtifactStore, Body, Claim, SendsAhead, StoreExpired
from proxy.runtime.files import Source
from proxy.runtime.limits import Rereading


class SessionStore:
    """The artifacts of a run, seen through the session that is held."""

    def __init__(self, store: ArtifactStore, sessions: SessionHolder) -> None:
        self.overwrites, self.is_remote = store.overwrites, store.is_remote
        self._store = store
        self._sessions = sessions
        self._known: dict[str, Artifact] = {}
        self._expires: dict[str, datetime] = {}

    @property
    def closed(self) -> str:
        """Why nothing can be stored now; empty where it can."""
        return EXPIRED if self._is_over() else self._store.closed

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted now; empty where it can."""
        return EXPIRED if self._is_over() else self._store.undeletable

    def _is_over(self) -> bool:
        return self._sessions.state is State.EXPIRED

    @property
    def rereading(self) -> Rereading:
        """How often, and when, an artifact is read again whose bytes are not what they have to be."""
        return self._store.rereading

    def may_replace(self, artifact: Artifact) -> bool:
        """Refuse what another job of the same attempt has stored, as the store does."""
        return self._store.may_replace(artifact)

    def forget(self, *, all_of_it: bool = False) -> None:
        """Forget what an earlier session has seen, and for another run when it expires."""
        self._known = {}
        if all_of_it:
            self._expires = {}

    async def listed(self) -> list[Artifact]:
        """Return all finished artifacts; when the session is over, those that were known before."""
        if not self._is_over():
            session = self._sessions.current
            try:
                listed = await self._store.listed()
                if session is not self._sessions.current:  # it may be of another run, which is listed anew
                    return listed
                self._known = {
                    each.id: replace(each, expires=each.expires or self._expires.get(each.id)) for each in listed
                }
            except StoreExpired:  # even before its time
                self._sessions.note_refusal(session)
        return list(self._known.values())

    def expire(self) -> None:
        """Have the next `list` ask anew."""
        self._store.expire()

    def begin(self, name: str, look: Callable[[], Awaitable[frozenset[Piece]]]) -> Ahead | None:
        """Begin an upload that `put` under this name goes on with."""
        return self._store.begin(name, look) if isinstance(self._store, SendsAhead) and not self.closed else None

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store an archive under a name, or `name~N` where that is taken; again if a newer session has come."""
        session = self._sessions.current
        try:
            stored = await self._store.put(name, body, claim)
        except StoreExpired:
            self._sessions.note_refusal(session)
            newer = self._sessions.current
            if newer is session or not (newer and session and newer.is_of_the_run_of(session)):
                raise
            return await self.put(name, body, claim)
        kept = session.retention if session else timedelta()
        self._expires[stored.id] = stored.expires or datetime.now(UTC) + kept
        self._known[stored.id] = replace(stored, expires=self._expires[stored.id])
        return self._known[stored.id]

    def now(self) -> datetime:
        """Return the time by the clock of the store."""
        return self._store.now()

    async def open(self, artifact: Artifact) -> Source:
        """Return access to the bytes; ArtifactGone if they are not there any more."""
        return await self._store.open(artifact)

    async def delete(self, artifact: Artifact) -> bool:
        """Remove an artifact, and return whether this did; one that is gone already is no error."""
        done = await self._store.delete(artifact)
        self._known.pop(artifact.id, None)
        return done
