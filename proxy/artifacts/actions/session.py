"""Credentials of the artifact service: the runtime token of a job, and what it says of itself.

The token is never shown: not in a `repr`, not in an error, not in a log line. It is read without being verified, which
is for the service to do; so nothing that it says is believed before the service has answered to it.
"""

import base64
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from yarl import URL

_SCOPE = "Actions.Results"
_TOKEN = re.compile(
    r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII
)  # RFC 7515, 7.1; act signs with nothing

SOON = timedelta(minutes=10)  # before a token expires, from when on it is told


class SessionInvalid(Exception):
    """What was handed over is no session; the message says which part is wrong."""


@dataclass(frozen=True, slots=True)
class Session:
    """Access to the artifacts of one run. `origin` is that of the results URL; `run` and `job` are backend ids."""

    token: str = field(repr=False)
    origin: URL
    run: str = field(repr=False)
    job: str = field(repr=False)
    expires: datetime | None

    @property
    def owner(self) -> str:
        """Name who stores something with this session: the run's attempt and the job."""
        return f"{self.run}:{self.job}"

    def has_expired(self, now: datetime) -> bool:
        """Will the service refuse the token?"""
        return self.expires is not None and self.expires <= now


def read(token: str, results_url: str) -> Session:
    """Read what a token says of itself; SessionInvalid if it, or the URL, can not be used."""
    claims = _claims(token.strip())
    scopes = claims.get("scp")
    for scope in scopes.split() if isinstance(scopes, str) else ():
        kind, *ids = scope.split(":")
        if kind == _SCOPE and len(ids) == 2 and all(ids):  # noqa: PLR2004 - run and job
            return Session(token.strip(), _origin(results_url.strip()), ids[0], ids[1], _expiry(claims))
    raise SessionInvalid("the token gives no access to artifacts: is it ACTIONS_RUNTIME_TOKEN of this job?")


def _origin(results_url: str) -> URL:
    """Give scheme, host and port; whatever path there is, the service is at the root."""
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
        raise SessionInvalid("the token is no JSON Web Token: is it ACTIONS_RUNTIME_TOKEN of this job?")
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
    """How a session is, in the words of `/relay/health`."""

    NONE = "none"
    ACTIVE = "active"
    EXPIRING = "expiring"
    EXPIRED = "expired"


@dataclass(slots=True)
class Held:
    """The session in use, if there is one; `refused`: the service takes its token no longer, whatever that says."""

    session: Session | None = None
    refused: bool = False

    def take(self, session: Session) -> None:
        """Use a session from now on."""
        self.session, self.refused = session, False

    def state(self, now: datetime) -> State:
        """Say how the session is at a time."""
        if self.session is None:
            return State.NONE
        if self.refused or self.session.has_expired(now):
            return State.EXPIRED
        return State.EXPIRING if self.session.has_expired(now + SOON) else State.ACTIVE
