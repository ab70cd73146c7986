"""The results service of a workflow run: create, finalize, list, sign and delete artifacts.

GitHub answers in snake case, act, Gitea and Forgejo in camel case, numbers come as strings or numbers, absent keys are
defaults: all are read. Whoever answers in camel case lists what is unfinished, too. What is sent is what every server
accepts: snake case, version 4, no media type; for a bare archive version 7 with one, once, and version 4 where that is
not known.
"""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
from yarl import URL

from proxy.artifacts.actions.session import Session
from proxy.artifacts.actions.twirp import EXPIRED, Dropped, Fields, NameTaken, NoSuchArtifact, Refused, Twirp, Unclear
from proxy.artifacts.base import StoreRefused
from proxy.events import EventBus
from proxy.runtime.limits import Timeouts

__all__ = ["EXPIRED", "Created", "Listed", "NameTaken", "NoSuchArtifact", "Refused", "ResultsService", "Unclear"]

_log = logging.getLogger(__name__)
_NO_SERVICE = "this server has no artifact service of version 4 (GitHub Enterprise Server?)"
_MORE = timedelta(minutes=1)  # Gitea counts whole days, and rounds down
_PANICS = 3  # and we believe a server that does not know it better
_OLD = frozenset({400, 500})  # what servers say to a version that they do not know


@dataclass(frozen=True, slots=True)
class Listed:
    """An artifact as the service lists it: `run` and `job` are the backend ids to sign and delete it with.

    `finished`: this service lists none that is unfinished.
    """

    run: str = field(repr=False)
    job: str = field(repr=False)
    id: str
    name: str
    size: int
    created: datetime
    digest: str
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Created:
    """Where to upload to, and whether a bare archive is expected there instead of a zip."""

    url: URL = field(repr=False)
    raw: bool


class _VersionUnknown(Exception):
    """The server does not know this version of the protocol."""


class ResultsService:
    """Artifacts of one run, with one session."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        session: Session,
        tempo: Timeouts = Timeouts(),  # noqa: B008 - it is a value
        ledger: EventBus | None = None,
    ) -> None:
        self.session = session
        self.has_artifacts = False  # as far as this was seen; a run that has some has a listing for ever
        self._twirp = Twirp(http, session, tempo, ledger or EventBus())

    def now(self) -> datetime:
        """Give the time by the clock of the service."""
        return self._twirp.now()

    @property
    def tempo(self) -> Timeouts:
        """How patient calls are."""
        return self._twirp.tempo

    @property
    def chance(self) -> random.Random:
        """What pauses are drawn from."""
        return self._twirp.chance

    def retrying(self) -> None:
        """Note that something is tried again."""
        self._twirp.retrying()

    def waits(self) -> list[float]:
        """Give the waits between tries in seconds, for callers that look in between."""
        return list(self._twirp.tempo.calls.backoff(self._twirp.chance))

    async def listed(self) -> list[Listed]:
        """Return the finished artifacts of the run; also of its earlier attempts, where the service shows them.

        Raise StoreRefused where no answer tells them: what is broken is not believed to be empty.
        """
        faults = 0

        async def attempt() -> list[Listed]:
            nonlocal faults
            try:
                return _all_listed(await self._twirp.once("ListArtifacts", self._own()))
            except Dropped:
                faults += 1
                if faults < _PANICS or self.session.origin.scheme == "https" or self.has_artifacts:
                    raise
                return []  # act falls over when it is asked for the artifacts of a run that has none
            except NoSuchArtifact as error:
                if error.words:  # Gitea: nothing there yet
                    return []
                faults += 1
                raise (Unclear("it answered 404") if faults < _PANICS else StoreRefused(_NO_SERVICE)) from None

        found = await self._twirp.retry("ListArtifacts", attempt)
        self.has_artifacts = self.has_artifacts or bool(found)
        return found

    async def create(self, name: str, *, raw: bool = False) -> Created:
        """Reserve a name, and return the URL to upload to. Raise NameTaken."""
        expires = (
            (self.now() + self.session.retention + _MORE).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        request = {**self._own(), "name": name, "expires_at": expires}
        try:
            if raw and (url := await self._bare(request)):
                return Created(url, raw=True)
            return Created(_upload_url(await self._created({**request, "version": 4})), raw=False)
        except NoSuchArtifact:
            raise StoreRefused(_NO_SERVICE) from None

    async def _bare(self, request: Fields) -> URL | None:
        """Ask for a place for a bare archive; None where the server does not know such."""
        typed = {**request, "version": 7, "mime_type": "application/octet-stream"}

        async def attempt() -> Fields:
            try:
                return await self._twirp.once("CreateArtifact", typed)
            except (Unclear, Refused) as error:
                if error.answered in _OLD:
                    raise _VersionUnknown from None
                raise

        try:
            return _upload_url(await self._twirp.retry("CreateArtifact", attempt))
        except _VersionUnknown:
            _log.info("this server stores no bare archives: it gets a zip")
            return None

    async def _created(self, request: Fields) -> Fields:
        try:
            return await self._twirp.call("CreateArtifact", request)
        except Refused as error:
            if "expires_at" not in error.reason:
                raise
        _log.warning("the retention is not one that this repository allows; the artifact is kept as long as usual")
        return await self._twirp.call("CreateArtifact", {k: v for k, v in request.items() if k != "expires_at"})

    async def finalize(self, name: str, size: int, sha256: str | None) -> str:
        """Finish an artifact, with one try; gives its id. Unclear if it may have been finished or not."""
        request = {**self._own(), "name": name, "size": str(size)}
        if sha256 is not None:
            request["hash"] = f"sha256:{sha256}"
        answer = await self._twirp.once("FinalizeArtifact", request, self._twirp.tempo.finalize)
        if not answer.get("ok"):
            raise Unclear("the service did not finish the artifact")
        self.has_artifacts = True
        return _text(answer, "artifact_id")

    async def sign(self, run: str, job: str, name: str) -> URL:
        """Give a URL to read an artifact with, good for some minutes; NoSuchArtifact."""

        async def attempt() -> str:
            answer = await self._twirp.once("GetSignedArtifactURL", _ids(run, job) | {"name": name})
            if url := _text(answer, "signed_url"):
                return url
            raise Unclear("its answer has no URL")

        return _url(await self._twirp.retry("GetSignedArtifactURL", attempt))

    async def delete(self, run: str, job: str, name: str) -> bool:
        """Delete an artifact; gives whether it was there, as far as the service says."""
        try:
            await self._twirp.call("DeleteArtifact", _ids(run, job) | {"name": name})
        except NoSuchArtifact:  # also when the answer to an earlier try was lost
            return False
        return True

    def _own(self) -> Fields:
        return _ids(self.session.run, self.session.job)


def _ids(run: str, job: str) -> Fields:
    return {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}


def _text(fields: Mapping[str, object], key: str) -> str:
    """Read a field in either spelling, a string or a number; empty where it is absent."""
    first, *others = key.split("_")
    camel = first + "".join(map(str.capitalize, others))
    value = fields.get(key, fields.get(camel))
    return str(value) if isinstance(value, str | int) else ""


def _all_listed(answer: Fields) -> list[Listed]:
    """Read a listing; Unclear if a part of it makes no sense: what it speaks of may be what is asked for."""
    found = answer.get("artifacts")
    if found is None:
        return []
    if not isinstance(found, list):
        raise Unclear("its list is none")
    return [_listed(each) for each in found]


def _listed(fields: object) -> Listed:
    if not isinstance(fields, dict):
        raise Unclear("its list has an entry that is none")
    number, name, run = (_text(fields, key) for key in ("database_id", "name", "workflow_run_backend_id"))
    size, created, digest = _text(fields, "size") or "0", _time(_text(fields, "created_at")), _text(fields, "digest")
    is_size = size.isascii() and size.isdigit() and (size != "0" or not digest)
    if not (number and name and run and is_size) or created is None:
        raise Unclear("its list has an entry that lacks something")
    job, finished = _text(fields, "workflow_job_run_backend_id"), bool(digest) or "database_id" in fields
    return Listed(run, job, number, name, int(size), created, digest, finished)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _upload_url(answer: Fields) -> URL:
    return _url(_text(answer, "signed_upload_url"))


def _url(text: str) -> URL:
    """Take a signed URL as it is: its signature covers the very spelling."""
    try:
        url = URL(text, encoded=True)
        url.origin().port  # noqa: B018 - it fails where a port is none
    except ValueError:
        raise StoreRefused("the artifact service gave no URL for the bytes") from None
    return url
