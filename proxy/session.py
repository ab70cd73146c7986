"""Credentials of the artifact service: the runtime token of a job, and what it says of itself.

The token is never shown: not in a `repr`, not in an error, not in a log line.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from yarl import URL

_SCOPE = "Actions.Results"


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
    """Read what a token says of itself, without verifying it: the service will."""
    claims = _claims(token)
    for scope in str(claims.get("scp", "")).split():
        kind, *ids = scope.split(":")
        if kind == _SCOPE and len(ids) == 2:  # noqa: PLR2004 - run and job
            return Session(token, _origin(results_url), ids[0], ids[1], _expiry(claims))
    raise SessionInvalid("the token gives no access to artifacts: is it ACTIONS_RUNTIME_TOKEN of this job?")


def _origin(results_url: str) -> URL:
    try:
        url = URL(results_url)
        origin = url.origin()
    except ValueError as error:
        raise SessionInvalid("the results URL is none: is it ACTIONS_RESULTS_URL of this job?") from error
    if url.scheme not in {"http", "https"} or url.user or url.password:
        raise SessionInvalid("the results URL is not http or https, or has credentials in it")
    return origin


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (IndexError, ValueError, binascii.Error, RecursionError):
        claims = None
    if not isinstance(claims, dict):
        raise SessionInvalid("the token is no JSON Web Token: is it ACTIONS_RUNTIME_TOKEN of this job?")
    return claims


def _expiry(claims: dict[str, Any]) -> datetime | None:
    expires = claims.get("exp")
    if not isinstance(expires, int | float):
        return None
    try:
        return datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return None
