"""Signed URLs of the servers that keep the bytes themselves: on their own origin, the signature in raw base64."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_plus, unquote_plus

from aiohttp import web

from tests.fakes.actions.sas import Issued
from tests.fakes.actions.twirp import BASE

UPLOAD = "UploadArtifact"
DOWNLOAD = "DownloadArtifact"


@dataclass(frozen=True, slots=True)
class Target:
    """What a signed URL gives access to."""

    run: str
    job: str
    name: str
    id: int


class LocalUrls:
    """Makes them and takes them back."""

    def __init__(self, issued: Issued) -> None:
        self._issued = issued
        self._key = secrets.token_bytes(32)
        self._targets: dict[str, Target] = {}

    def sign(self, endpoint: str, target: Target, lifetime: float) -> str:
        """Return path and query; the origin is that of whoever asks."""
        expires = str(datetime.now(UTC) + timedelta(seconds=lifetime))
        task = str(len(self._targets) + 1)
        message = "".join((endpoint, expires, target.name, task, str(target.id)))
        signature = base64.urlsafe_b64encode(hmac.digest(self._key, message.encode(), hashlib.sha256)).decode()
        self._targets[endpoint + signature] = target
        self._issued.remember(signature, lifetime)
        fields = {"expires": expires, "artifactName": target.name, "taskID": task, "artifactID": str(target.id)}
        rest = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items())
        return f"{BASE}/{endpoint}?sig={signature}&{rest}"  # its padding stays as it is

    def check(self, endpoint: str, request: web.Request) -> Target:
        """Tell what a URL is for. One that was encoded anew, or without its padding, is no longer the same."""
        given = raw_query(request)
        target = self._targets.get(endpoint + given.get("sig", ""))
        if target is None or unquote_plus(given.get("artifactName", "")) != target.name:
            raise web.HTTPUnauthorized(text="Error unauthorized\n")
        if self._issued.expired(given["sig"]):
            raise web.HTTPUnauthorized(text="Error link expired\n")
        return target


def raw_query(request: web.Request) -> dict[str, str]:
    """Return the query as it came, nothing decoded."""
    parts = (part.partition("=") for part in request.raw_path.partition("?")[2].split("&"))
    return {name: value for name, _, value in parts}
