"""Runtime tokens as a runner hands them out: a JWT whose `scp` names the run and the job.

They are signed with a key that everybody knows, so that a test can also make a forged one with another key.
"""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

KEY = b"the emulator's key, which is no secret"
_SCOPE = "Actions.Results"


class TokenRefused(Exception):
    """The text says what is wrong with the token, and never shows it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks: the backend ids of a run's attempt and of one of its jobs."""

    run: str
    job: str


def mint(run: str, job: str, expires_in: float = 6 * 3600.0, *, key: bytes = KEY) -> str:
    """Make the runtime token of a job; a negative `expires_in` makes one that has expired."""
    now = int(time.time())
    claims = {
        "iss": "https://token.actions.example",
        "scp": f"Actions.ExampleScope:1 {_SCOPE}:{run}:{job} Actions.UploadArtifacts:{run}:{job}",
        "nbf": now - 300,
        "iat": now,
        "exp": int(now + expires_in),
    }
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{signed}.{_signature(signed, key)}"


def read(token: str) -> Identity:
    """Check a token as a server does, and tell whose it is."""
    signed, _, signature = token.rpartition(".")
    if signed.count(".") != 1:
        raise TokenRefused("not a token of three parts")
    if not hmac.compare_digest(signature, _signature(signed, KEY)):
        raise TokenRefused("the token's signature is wrong")
    claims = json.loads(_decode(signed.partition(".")[2]))
    if claims["exp"] <= time.time():
        raise TokenRefused("the token has expired")
    for scope in claims["scp"].split():
        match scope.split(":"):
            case [name, run, job] if name == _SCOPE:
                return Identity(run, job)
    raise TokenRefused("the token has no scope for results")


def _encode(part: dict[str, Any]) -> str:
    return _unpadded(json.dumps(part).encode())


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _signature(signed: str, key: bytes) -> str:
    return _unpadded(hmac.digest(key, signed.encode(), hashlib.sha256))


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
