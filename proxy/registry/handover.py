"""The hand-over of a session: how a relay that started without credentials gets those of its job.

Whoever reaches the port may try. A token goes only to a results service of GitHub, or one that was named; a session is
accepted when the service has listed the run with it; another run's is not accepted while the first is good.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.artifacts.actions import ActionsStore
from proxy.artifacts.base import StoreRefused
from proxy.artifacts.results import NoSuchArtifact, ResultsService
from proxy.artifacts.trust import Trust, Untrusted
from proxy.catalog import Catalog
from proxy.errors import Denied, SessionRefused, SessionTaken
from proxy.session import Session, SessionInvalid, read

_log = logging.getLogger(__name__)
_SOON = timedelta(minutes=10)  # before a token expires, from when on it is told
_LIMIT = 64 * 1024  # bytes of a hand-over


class Offer(BaseModel):
    """What `PUT /relay/session` carries. Unknown fields are passed over: an action may be newer than the relay."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    token: str = Field(repr=False, min_length=1, max_length=_LIMIT)
    results_url: str = Field(min_length=1, max_length=2048)
    public_host: str = Field("", max_length=255, pattern=r"^([a-zA-Z0-9.-]+(:\d{1,5})?)?$")
    retention_days: Annotated[int, Field(ge=1, le=400)] | None = None
    access: Literal["", "read", "write"] = ""


@dataclass(slots=True)
class Access:
    """May this relay be changed? A session may close it for writing."""

    writable: bool = True


@dataclass(slots=True)
class Handover:
    """Takes sessions in, one at a time."""

    store: ActionsStore
    catalog: Catalog
    trust: Trust
    access: Access
    connect: Callable[[Session], ResultsService]
    retention_days: int
    guarded: bool = False  # a password keeps strangers from handing over
    session: Session | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def take(self, content: bytes) -> None:
        """Accept a hand-over, or say why not."""
        async with self._turn:
            offer, session = _read(content)
            self._check(session)
            await self._try(session)
            self._use(session, offer)

    def _check(self, session: Session) -> None:
        try:
            self.trust.check_origin(session.origin)
        except Untrusted as error:
            raise Denied(f"the session was not accepted: {error}") from error
        now, current = datetime.now(UTC), self.session
        if session.has_expired(now):
            raise SessionRefused("the session was not accepted: its token has expired")
        if current is None:
            return
        if not self.access.writable:
            raise SessionTaken("this relay only hands out images, with the session that it has")
        same = (current.run, current.origin) == (session.run, session.origin)
        if not (same or self.guarded or current.has_expired(now)):
            raise SessionTaken("this relay works for another run; it takes a new session when that one has expired")

    async def _try(self, session: Session) -> None:
        try:
            await self.connect(session).listed()
        except (StoreRefused, NoSuchArtifact) as error:
            raise SessionRefused(f"the session was not accepted: {error}") from error

    def _use(self, session: Session, offer: Offer) -> None:
        self.access.writable = self.access.writable and offer.access != "read"
        self.adopt(session, offer.retention_days)

    def adopt(self, session: Session, most_days: int | None = None) -> None:
        """Work with a session from now on; `most_days` is how long the repository keeps artifacts at most."""
        days = min(self.retention_days, most_days or self.retention_days)
        self.store.open_with(self.connect(session), timedelta(days=days))
        self.session = session
        self.catalog.forget_listing()
        _log.info("a session is in use: artifacts of this run, kept for %d days, %s", days, self._until())

    def _until(self) -> str:
        expires = self.session.expires if self.session else None
        return f"until {expires:%H:%M} UTC" if expires else "without an end"

    def state(self) -> str:
        """Say in one word how the session is: none, active, expiring, expired."""
        if self.session is None:
            return "none"
        now = datetime.now(UTC)
        if self.session.has_expired(now):
            return "expired"
        return "expiring" if self.session.has_expired(now + _SOON) else "active"


def _read(content: bytes) -> tuple[Offer, Session]:
    if len(content) > _LIMIT:
        raise SessionRefused(f"a hand-over has at most {_LIMIT} bytes")
    try:
        offer = Offer.model_validate_json(content)
        return offer, read(offer.token, offer.results_url)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "the hand-over"
        raise SessionRefused(f"{where}: {first['msg']}") from None  # the cause would show the token
    except SessionInvalid as error:
        raise SessionRefused(str(error)) from None
