"""The hand-over of a session: how a relay that started without credentials gets those of its job.

Whoever reaches the port may try. A token goes only to a results service of GitHub, or one that was named; a session is
accepted when the service has listed the run with it; another run's is not accepted while the first is good. Nothing
gives a token out again. `docs/actions.md` describes the fields.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yarl import URL

from proxy.artifacts.actions.rest_runs import Sources
from proxy.artifacts.actions.results import NoSuchArtifact, ResultsService
from proxy.artifacts.actions.session import Session, SessionHolder, SessionInvalid, State, read
from proxy.artifacts.actions.trusted_hosts import TrustedHosts, Untrusted
from proxy.artifacts.base import StoreRefused
from proxy.errors import Denied, SessionRefused, SessionTaken
from proxy.text import counted, safe_text

_LIMIT = 64 * 1024  # bytes of a hand-over
_LAST_PORT = 65535  # of TCP
_HOST = re.compile(r"(\[[0-9a-fA-F:]{2,39}\]|[a-zA-Z0-9.-]{1,253})(:[0-9]{1,5})?")


def _absent_if_empty(value: object) -> object:
    """Pass over an empty text: as that a variable is handed over that the CI never filled."""
    return None if value == "" else value


def _host(value: str) -> str:
    """Refuse what docker would take for a part of the repository, as that of the settings."""
    if value and not (_HOST.fullmatch(value) and (value == "localhost" or "." in value or ":" in value)):
        raise ValueError("should be a host with a dot, or host:port")
    port = re.search(r":([0-9]+)$", value.rpartition("]")[2])
    if port and int(port[1]) > _LAST_PORT:
        raise ValueError(f"should have a port up to {_LAST_PORT}")
    return value


def _text_of_number(value: object) -> object:
    return str(value) if type(value) is int else value


_Days = Annotated[Annotated[int, Field(ge=1, le=400)] | None, BeforeValidator(_absent_if_empty)]
_Source = Annotated[str, BeforeValidator(_text_of_number)]
_Number = Annotated[str, BeforeValidator(_text_of_number), Field(pattern=r"^[0-9]{0,20}$")]


class SessionRequest(BaseModel):
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
    sources: tuple[_Source, ...] = Field((), alias="from", max_length=20)
    github_token: str = Field("", repr=False, max_length=_LIMIT, pattern=r"^[!-~]*$")
    api_url: str = Field("", max_length=2048)

    def __str__(self) -> str:
        parts = [self.repository, self.run_id and f"run {self.run_id}", self.run_attempt and f"#{self.run_attempt}"]
        action = f"(action {self.action_version})" if self.action_version else ""
        return safe_text(" ".join(part for part in [*parts, action] if part) or "this job")


@dataclass(frozen=True, slots=True)
class Handover:
    """Checks the sessions that are handed over.

    `refusal` is why none is taken at all, if so; `writable`: nothing closes this relay for writing but a session;
    `guarded`: a password keeps strangers from handing over; the service has `patience` seconds to answer.
    """

    sessions: SessionHolder
    trust: TrustedHosts
    connect: Callable[[Session], ResultsService]
    retention_days: int
    patience: float
    writable: bool = True
    guarded: bool = False
    refusal: str = ""

    @property
    def is_read_only(self) -> bool:
        """Is this relay closed for writing, by a setting or its session? Such a session is kept to its end."""
        return not self.writable or bool(self.sessions.current and self.sessions.current.is_read_only)

    async def accept(self, content: bytes) -> tuple[Session, str] | None:
        """Return the session of a request and a description of it; None if it is the one in use, which is kept.

        Raise SessionRefused, SessionTaken, Denied.
        """
        request, session = _read(content)
        if self._is_repeated(session):
            return None
        self._check(session)
        others = self._others(request)
        try:
            async with asyncio.timeout(self.patience):
                await self.connect(session).listed()
        except (StoreRefused, NoSuchArtifact) as error:
            raise SessionRefused(f"the session was not accepted: {error}") from error
        except TimeoutError:
            problem = f"the artifact service did not answer within {counted(self.patience, 'second')}; try again"
            raise SessionRefused(f"the session was not accepted: {problem}") from None
        self._check(session)  # again: another may have been taken meanwhile
        before = self.sessions.current
        session = replace(
            session,
            retention=timedelta(days=min(self.retention_days, request.retention_days or self.retention_days)),
            access="read" if request.access == "read" else "write",
            public_host=request.public_host
            or (before.public_host if before and session.is_of_the_run_of(before) else ""),
            repository=request.repository,
            run_id=request.run_id,
            others=others,
        )
        return session, str(request)

    def _others(self, request: SessionRequest) -> Sources | None:
        """Return the other runs that a request names; its token goes only to GitHub. Raise SessionRefused, Denied."""
        if not request.sources:
            return None
        if not (request.repository and request.github_token and request.api_url):
            raise SessionRefused("the session was not accepted: from needs repository, github_token and api_url")
        try:
            api = URL(request.api_url)
            self.trust.check_api(api)
            return Sources.parse(api, request.repository, request.github_token, request.sources)
        except Untrusted as error:
            raise Denied(f"the session was not accepted: {error}") from None
        except ValueError as error:
            raise SessionRefused(f"the session was not accepted: from: {error}") from None

    def _is_repeated(self, session: Session) -> bool:
        """Has this job handed over a session before, to a relay that keeps the first? A later step may do so again."""
        current = self.sessions.current
        if current is None or not self.is_read_only:
            return False
        return (current.origin, current.owner) == (session.origin, session.owner)

    def _check(self, session: Session) -> None:
        if self.refusal:
            raise SessionTaken(self.refusal)
        try:
            self.trust.check_origin(session.origin)
        except Untrusted as error:
            raise Denied(f"the session was not accepted: {error}") from None
        current = self.sessions.current
        if session.has_expired(datetime.now(UTC)):
            raise SessionRefused("the session was not accepted: its token has expired")
        if current is None:
            return
        if self.is_read_only:
            raise SessionTaken(
                "this relay only serves images (access: read, or RELAY_ACCESS=read), and keeps the session that it has"
            )
        if not (session.is_of_the_run_of(current) or self.guarded or self.sessions.state is State.EXPIRED):
            raise SessionTaken("this relay works for another run; it accepts a new session once that one has expired")


def _read(content: bytes) -> tuple[SessionRequest, Session]:
    if len(content) > _LIMIT:
        raise SessionRefused(f"the session was not accepted: a hand-over has at most {_LIMIT} bytes")
    try:
        request = SessionRequest.model_validate_json(content)
        return request, read(request.token, request.results_url)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"{part}: " for part in first["loc"][:1])
        reason = first["msg"].removeprefix("Value error, ")
        raise SessionRefused(f"the session was not accepted: {where}{reason}") from None  # the cause shows the token
    except SessionInvalid as error:
        raise SessionRefused(f"the session was not accepted: {error}") from None
