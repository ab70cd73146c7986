"""The results service of a workflow run: create, finalize, list, sign and delete artifacts (Twirp over JSON).

GitHub answers in snake case, act, Gitea and Forgejo in camel case, numbers come as strings or numbers, absent keys are
defaults: all are read. What is sent is what every server accepts: snake case, version 4, no media type. Bodies of
upstream answers never reach a message: they may hold signed URLs.
"""

import asyncio
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from proxy.artifacts.base import StoreRefused
from proxy.artifacts.retry import CALLS, Policy, asked_wait, is_worth_another
from proxy.printing import printable
from proxy.session import Session

_log = logging.getLogger(__name__)
_SERVICE = "twirp/github.actions.results.api.v1.ArtifactService"
_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=15)
_FINALIZE_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=15)  # seconds; large blobs take minutes
_ANSWER_LIMIT = 16 * 1024 * 1024  # bytes; a thousand artifacts have about half a megabyte


class NameTaken(Exception):
    """An artifact of this name exists in the run, or its name is reserved by an unfinished one."""


class NoSuchArtifact(Exception):
    """There is no such artifact, or not any more."""


class Unclear(Exception):
    """The service did not answer in a way that tells whether it did what it was asked."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An artifact as the service lists it: `run` and `job` are the backend ids to sign and delete it with."""

    run: str
    job: str
    id: str
    name: str
    size: int
    created: datetime
    digest: str


class ResultsService:
    """Calls the service with one session; every call is tried until its outcome is clear, or patience ends."""

    def __init__(self, http: aiohttp.ClientSession, session: Session, policy: Policy = CALLS) -> None:
        self.session = session
        self._http = http
        self._policy = policy
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing

    async def listed(self) -> list[Listed]:
        """Give the finished artifacts of the run; also of its earlier attempts, where the service shows them."""
        try:
            answer = await self._call("ListArtifacts", self._ids())
        except NoSuchArtifact:  # Gitea: nothing there yet
            return []
        found = answer.get("artifacts") or []
        return [_listed(each) for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    async def create(self, name: str, expires: datetime | None) -> URL:
        """Reserve a name, and give the URL to upload to; NameTaken."""
        request: dict[str, object] = {**self._ids(), "name": name, "version": 4}
        if expires is not None:
            request["expires_at"] = expires.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            answer = await self._call("CreateArtifact", request)
        except NoSuchArtifact as error:
            raise StoreRefused(
                "this server has no artifact service of version 4 (GitHub Enterprise Server?)"
            ) from error
        return _url(_text(answer, "signed_upload_url"))

    async def finalize(self, name: str, size: int, sha256: str) -> str:
        """Finish an artifact, with one try; gives its id. Unclear if it may have been finished or not."""
        request = {**self._ids(), "name": name, "size": str(size), "hash": f"sha256:{sha256}"}
        answer = await self._once("FinalizeArtifact", request, _FINALIZE_TIMEOUT)
        if not answer.get("ok"):
            raise Unclear("the service did not finish the artifact")
        return _text(answer, "artifact_id")

    async def sign(self, artifact: Listed) -> URL:
        """Give a URL to read an artifact with, good for some minutes; NoSuchArtifact."""
        request = _ids(artifact.run, artifact.job) | {"name": artifact.name}
        return _url(_text(await self._call("GetSignedArtifactURL", request), "signed_url"))

    async def delete(self, artifact: Listed) -> None:
        """Delete an artifact; one that is gone is no error."""
        request = _ids(artifact.run, artifact.job) | {"name": artifact.name}
        try:
            await self._call("DeleteArtifact", request)
        except NoSuchArtifact:
            return

    def _ids(self) -> dict[str, object]:
        return _ids(self.session.run, self.session.job)

    def waits(self) -> list[float]:
        """Give the waits between tries, for callers that look in between."""
        return list(self._policy.waits(self._chance))

    async def _call(self, method: str, request: Mapping[str, object]) -> dict[str, object]:
        for wait in [*self.waits(), None]:
            try:
                return await self._once(method, request, _TIMEOUT)
            except Unclear as error:
                if wait is None:
                    raise StoreRefused(f"the artifact service failed ({method}: {error}); try again later") from error
                _log.info("%s: %s; trying again", method, error)
                await asyncio.sleep(wait)
        raise AssertionError  # the last try returns or raises

    async def _once(
        self, method: str, request: Mapping[str, object], limit: aiohttp.ClientTimeout
    ) -> dict[str, object]:
        if self.session.has_expired(datetime.now(UTC)):
            raise StoreRefused(EXPIRED)
        url = self.session.origin.with_path(f"/{_SERVICE}/{method}")
        headers = {"Authorization": f"Bearer {self.session.token}", "Content-Type": "application/json"}
        data = json.dumps(request).encode()
        try:
            async with self._http.post(
                url, data=data, headers=headers, timeout=limit, allow_redirects=False
            ) as response:
                body = await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unclear(type(error).__name__) from None  # the cause may name a URL
        if wait := asked_wait(response.headers) if is_worth_another(response.status) else None:
            await asyncio.sleep(wait)
        return _outcome(method, response.status, body)


EXPIRED = "the session of this job has expired; push earlier in the job, or split it"


def _outcome(method: str, status: int, body: bytes) -> dict[str, object]:
    """Give the answer, or what went wrong."""
    answer = _json(body)
    message = str(answer.get("msg", "")) if answer is not None else ""
    if status == 200 and answer is not None:  # noqa: PLR2004 - HTTP
        return answer
    if status == 401:  # noqa: PLR2004
        raise StoreRefused(EXPIRED)
    if status == 404:  # noqa: PLR2004
        raise NoSuchArtifact(method)
    if status == 409:  # noqa: PLR2004
        raise NameTaken(method)
    if status == 403 and not is_worth_another(status, message):  # noqa: PLR2004
        raise StoreRefused("the storage for artifacts is used up (billing: Actions storage); delete some, or wait")
    if answer is None or is_worth_another(status, message):
        raise Unclear(f"it answered {status}")
    raise StoreRefused(f"the artifact service refused ({method}: {status} {printable(message)})")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _ANSWER_LIMIT:
            raise Unclear("it answered with more than it should")
    return bytes(body)


def _ids(run: str, job: str) -> dict[str, object]:
    return {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}


def _json(body: bytes) -> dict[str, object] | None:
    """Read a JSON object; None for anything else, such as a page of HTML."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _text(fields: Mapping[str, object], key: str) -> str:
    """Read a field in either spelling, a string or a number; empty where it is absent."""
    first, *others = key.split("_")
    camel = first + "".join(map(str.capitalize, others))
    value = fields.get(key, fields.get(camel))
    return str(value) if isinstance(value, str | int) else ""


def _listed(fields: Mapping[str, object]) -> Listed:
    size = _text(fields, "size")
    return Listed(
        run=_text(fields, "workflow_run_backend_id"),
        job=_text(fields, "workflow_job_run_backend_id"),
        id=_text(fields, "database_id"),
        name=_text(fields, "name"),
        size=int(size) if size.isascii() and size.isdigit() else 0,
        created=_time(_text(fields, "created_at")),
        digest=_text(fields, "digest"),
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _url(text: str) -> URL:
    """Take a signed URL as it is: its signature covers the very spelling."""
    try:
        url = URL(text, encoded=True)
        url.origin()
    except ValueError:
        raise StoreRefused("the artifact service gave no URL for the bytes") from None
    return url
