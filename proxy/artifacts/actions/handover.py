"""The hand-over of a session: how a relay that started without credentials gets those of its job.

Whoever reaches the port may try. A token goes only to a results service of GitHub, or one that was named; a session is
accepted when the service has listed the run with it; another run's is not accepted while the first is good. Nothing
gives a token out again. `docs/actions.md` describes the fields.
"""

import asyncio
import hmac
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from proxy.artifacts.actions.results import NoSuchArtifact, ResultsService
from proxy.artifacts.actions.session import Held, Session, SessionInvalid, State, read
from proxy.artifacts.actions.session_store import SessionStore
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts, Untrusted
from proxy.artifacts.base import StoreRefused
from proxy.errors import Denied, SessionRefused, SessionTaken
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_LIMIT = 64 * 1024  # bytes of a hand-over
_PATIENCE = 100.0  # seconds for the service to answer to a session
_TICK = 1.0  # seconds between two looks at the clock
_HOST = re.compile(r"(\[[0-9a-fA-F:]{2,39}\]|[a-zA-Z0-9.-]{1,253})(:[0-9]{1,5})?")


def _absent_if_empty(value: object) -> object:
    """Pass over an empty text: as that a variable is handed over that the CI never filled."""
    return None if value == "" else value


def _host(value: str) -> str:
    """Refuse what docker would take for a part of the repository, as that of the settings."""
    if value and not (_HOST.fullmatch(value) and (value == "localhost" or "." in value or ":" in value)):
        raise ValueError("should be a host with a dot, or host:port")
    return value


def _text_of_number(value: object) -> object:
    return str(value) if type(value) is int else value


_Days = Annotated[Annotated[int, Field(ge=1, le=400)] | None, BeforeValidator(_absent_if_empty)]
_Number = Annotated[str, BeforeValidator(_text_of_number), Field(pattern=r"^[0-9]{0,20}$")]


class Offer(BaseModel):
    """What `PUT /relay/session` carries. Unknown fields are passed over: an action may be newer than the relay."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    token: str = Field(repr=False, min_length=1, max_length=_LIMIT)
    results_url: str = Field(min_length=1, max_length=2048)
    repository: str = Field("", pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})?$")
    run_id: _Number = ""
    run_attempt: _Number = ""
    public_host: Annotated[str, AfterValidator(_host)] = ""
    retention_days: _Days = None
    access: Literal["", "read", "write"] = ""
    action_version: str = Field("", max_length=100)

    def __str__(self) -> str:
        parts = [self.repository, self.run_id and f"run {self.run_id}", self.run_attempt and f"#{self.run_attempt}"]
        action = f"(action {self.action_version})" if self.action_version else ""
        return safe_text(" ".join(part for part in [*parts, action] if part) or "this job")


@dataclass(slots=True)
class Access:
    """May this relay be changed? A session may close it for writing."""

    writable: bool = True


@dataclass(slots=True)
class Handover:
    """Takes sessions in, one at a time.

    `refusal` is why none is taken at all, if so; `guarded` means that a password keeps strangers from handing over;
    `rename` is told under which host clients reach this relay, `changed` of each session, and whether it is the first
    of its run. `repository` and `run_id` are those of the last hand-over, as far as it told.
    """

    store: ActionsStore
    lasting: SessionStore
    held: Held
    trust: TrustedHosts
    access: Access
    connect: Callable[[Session], ResultsService]
    retention_days: int
    guarded: bool = False
    refusal: str = ""
    rename: Callable[[str], None] = field(default=lambda _: None)
    changed: Callable[[bool], None] = field(default=lambda _: None)
    repository: str = ""
    run_id: str = ""

    async def take(self, content: bytes) -> None:
        """Accept a hand-over, or say why not."""
        offer, session = _read(content)
        if self._is_repeated(session):
            return
        self._check(session)
        await self._try(session)
        self._check(session)  # again: another may have been taken meanwhile
        self.access.writable = self.access.writable and offer.access != "read"
        self.adopt(session, str(offer), offer.retention_days)
        self.repository, self.run_id = offer.repository, offer.run_id
        if offer.public_host:
            self.rename(offer.public_host)

    def _is_repeated(self, session: Session) -> bool:
        """Was this very session taken before, by a relay that would take no other? Its answer may have been lost."""
        current = self.held.session
        if current is None or self.access.writable:
            return False
        return current.origin == session.origin and hmac.compare_digest(current.token, session.token)

    def _check(self, session: Session) -> None:
        if self.refusal:
            raise SessionTaken(self.refusal)
        try:
            self.trust.check_origin(session.origin)
        except Untrusted as error:
            raise Denied(f"the session was not accepted: {error}") from None
        now, current = datetime.now(UTC), self.held.session
        if session.has_expired(now):
            raise SessionRefused("the session was not accepted: its token has expired")
        if current is None:
            return
        if not self.access.writable:
            raise SessionTaken("this relay only hands out images, and keeps the session that it has (access: read)")
        same = (current.run, current.origin) == (session.run, session.origin)
        if not (same or self.guarded or self.held.state(now) is State.EXPIRED):
            raise SessionTaken("this relay works for another run; it takes a new session when that one has expired")

    async def _try(self, session: Session) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self.connect(session).listed()
        except (StoreRefused, NoSuchArtifact) as error:
            raise SessionRefused(f"the session was not accepted: {error}") from error
        except TimeoutError:
            problem = f"the artifact service did not answer within {_PATIENCE:g} seconds; try again"
            raise SessionRefused(f"the session was not accepted: {problem}") from None

    def adopt(self, session: Session, described: str, most_days: int | None = None) -> None:
        """Work with a session from now on; `most_days` is how long the repository keeps artifacts at most."""
        days = min(self.retention_days, most_days or self.retention_days)
        self.store.open_with(self.connect(session), timedelta(days=days))
        self.lasting.begin(timedelta(days=days))
        before = self.held.session
        self.held.take(session)
        self.changed(before is None or (before.run, before.origin) != (session.run, session.origin))
        text = "a session is in use: %s, %s; artifacts are kept for %d days"
        _log.info(text, described, _until(session), days)

    async def watch(self) -> None:
        """Tell, for ever, when the session is about to end, and when it has ended."""
        told: tuple[Session | None, State] = None, State.NONE
        while True:
            session, state = self.held.session, self.held.state(datetime.now(UTC))
            if (session, state) != told and session is not None:
                _tell(session, state)
            told = session, state
            await asyncio.sleep(_TICK)


def _tell(session: Session, state: State) -> None:
    if state is State.EXPIRING:
        _log.warning("the session of this job ends soon (%s): what is pushed after that is refused", _until(session))
    elif state is State.EXPIRED:
        _log.warning("the session of this job has expired: this relay hands out what it has, and stores nothing more")


def _until(session: Session) -> str:
    return f"good until {session.expires:%Y-%m-%d %H:%M} UTC" if session.expires else "without a known end"


def _read(content: bytes) -> tuple[Offer, Session]:
    if len(content) > _LIMIT:
        raise SessionRefused(f"the session was not accepted: a hand-over has at most {_LIMIT} bytes")
    try:
        offer = Offer.model_validate_json(content)
        return offer, read(offer.token, offer.results_url)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"{part}: " for part in first["loc"][:1])
        reason = first["msg"].removeprefix("Value error, ")
        raise SessionRefused(f"the session was not accepted: {where}{reason}") from None  # the cause shows the token
    except SessionInvalid as error:
        raise SessionRefused(f"the session was not accepted: {error}") from None
