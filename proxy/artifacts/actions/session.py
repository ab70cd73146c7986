"""The session of a job: the runtime token of the artifact service, what it says, and what was handed over with it.

The token is never shown: not in a `repr`, not in an error, not in a log line. It is read without being verified, which
is for the service to do; so nothing that it says is believed before the service has answered to it.
"""

import asyncio
import base64
import json
import logging
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from yarl import URL

from proxy.artifacts.actions.rest_runs import Sources

_log = logging.getLogger(__name__)
_SCOPE = "Actions.Results"
_TOKEN = re.compile(
    r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII
)  # RFC 7515, 7.1; act signs with nothing

SOON = timedelta(minutes=10)  # before a token expires, from when on it is told


def no_session(action: str = "") -> str:
    """Return a sentence: there is no session, and which step hands one over; `action` is how the workflow names it."""
    return f'image-relay has no session: put "- uses: {action or "OWNER/image-relay@v1"}" before this step'


class SessionInvalid(Exception):
    """What was handed over is no session; the message says which part is wrong."""


@dataclass(frozen=True, slots=True)
class Session:
    """Access to the artifacts of one run, and all else that a hand-over brings; it is replaced whole, never changed.

    `origin` is that of the results URL; `run` and `job` are backend ids. New artifacts are kept for `retention`. Under
    `public_host` clients reach this relay; `repository` and `run_id` are GitHub's. All three are empty if unknown.
    `others` are runs to read besides, if any were named.
    """

    token: str = field(repr=False)
    origin: URL
    run: str = field(repr=False)
    job: str = field(repr=False)
    expires: datetime | None
    retention: timedelta = timedelta(days=3)
    access: Literal["read", "write"] = "write"
    public_host: str = ""
    repository: str = ""
    run_id: str = ""
    others: Sources | None = None

    @property
    def owner(self) -> str:
        """Name who stores something with this session: the run's attempt and the job."""
        return f"{self.run}:{self.job}"

    @property
    def is_read_only(self) -> bool:
        """Return whether it was handed over for reading only."""
        return self.access == "read"

    def is_of_the_run_of(self, other: "Session | None") -> bool:
        """Return whether both give access to the artifacts of one run."""
        return other is not None and (self.run, self.origin) == (other.run, other.origin)

    def has_expired(self, now: datetime) -> bool:
        """Return whether the service will refuse the token."""
        return self.expires is not None and self.expires <= now

    def describe_end(self) -> str:
        """Return until when it is good."""
        return f"good until {self.expires:%Y-%m-%d %H:%M} UTC" if self.expires else "without a known end"


def read(token: str, results_url: str, retention: timedelta = timedelta(days=3)) -> Session:
    """Return the session of a token, as it describes itself. Raise SessionInvalid if it or the URL cannot be used."""
    claims = _claims(token.strip())
    scopes = claims.get("scp")
    for scope in scopes.split() if isinstance(scopes, str) else ():
        match scope.split(":"):
            case [kind, run, job] if kind == _SCOPE and run and job:
                return Session(token.strip(), _origin(results_url.strip()), run, job, _expiry(claims), retention)
    raise SessionInvalid("the token gives no access to artifacts: is it ACTIONS_RUNTIME_TOKEN of this job?")


def _origin(results_url: str) -> URL:
    """Return scheme, host and port; whatever path there is, the service is at the root."""
    try:
        url = URL(results_url)
        origin = url.origin()
    except ValueError:
        raise SessionInvalid("the results URL is none: is it ACTIONS_RESULTS_URL of this job?") from None
    if url.scheme not in {"http", "https"} or url.user is not None or url.password is not None:
        raise SessionInvalid("the results URL is not http or https, or has credentials in it")
    return origin


def _claims(token: str) -> dict[str, Any]:
    """Read the middle part; what is no token at all never gets into a header."""
    claims = None
    if _TOKEN.fullmatch(token):
        payload = token.split(".")[1]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (ValueError, RecursionError):  # ValueError: of base64, of UTF-8, of JSON
            claims = None
    if not isinstance(claims, dict):
        raise SessionInvalid("the token is not a JSON Web Token: is it ACTIONS_RUNTIME_TOKEN of this job?")
    return claims


def _expiry(claims: dict[str, Any]) -> datetime | None:
    """Read `exp` (RFC 7519, 4.1.4); None where it is absent, or no time."""
    expires = claims.get("exp")
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return None
    try:
        return datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class State(StrEnum):
    """The state of a session, in the words of `/relay/health`."""

    NONE = "none"
    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class SessionHolder:
    """Holds the session in use; what depends on the session reads it here, and a hand-over changes nothing else."""

    def __init__(self, session: Session | None = None) -> None:
        self._current = session
        self._refused = False

    @property
    def current(self) -> Session | None:
        """The session in use, if there is one."""
        return self._current

    def replace(self, session: Session) -> None:
        """Use a session from now on."""
        self._current, self._refused = session, False

    def note_refusal(self, session: Session | None) -> None:
        """Take a session for expired, whatever its token says: the service has refused it. It may be that of before."""
        if session is self._current:
            self._refused = True

    @property
    def state(self) -> State:
        """The state of the session now."""
        return self.state_at(datetime.now(UTC))

    def state_at(self, now: datetime) -> State:
        """Return the state of the session at a time."""
        if self._current is None:
            return State.NONE
        if self._refused or self._current.has_expired(now):
            return State.EXPIRED
        return State.EXPIRING if self._current.has_expired(now + SOON) else State.ACTIVE

    async def watch(self, poll: float) -> None:
        """Log, for ever, that the session is about to end, or has ended; look every `poll` seconds."""
        told: tuple[Session | None, State] = None, State.NONE
        while True:
            session, state = self._current, self.state
            if session and (session, state) != told:
                if state is State.EXPIRING:
                    text = "the session of this job ends soon (%s): what is pushed after that is refused"
                    _log.warning(text, session.describe_end())
                elif state is State.EXPIRED:
                    _log.warning(
                        "the session of this job has expired: this relay serves what it has, and stores no more"
                    )
            told = session, state
            await asyncio.sleep(poll)
