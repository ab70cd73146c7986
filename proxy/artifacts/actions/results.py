"""The results service of a workflow run: create, finalize, list, sign and delete artifacts.

What is sent is what every server accepts: snake case, version 4, no media type; for a bare archive version 7 with one,
once, and version 4 where that is not known.
"""

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import aiohttp
from pydantic import ValidationError
from yarl import URL

from proxy.artifacts.actions.messages import CreateAnswer, Finalized, ListAnswer, Listed, Signed
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
class Created:
    """Where to upload to, and whether a bare archive is expected there instead of a zip."""

    url: URL = field(repr=False)
    raw: bool


class ResultsService:
    """Artifacts of one run, with one session."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        session: Session,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - it is a value
        events: EventBus | None = None,
    ) -> None:
        self.session = session
        self.has_artifacts = False  # as far as this was seen; a run that has some has a listing for ever
        self.falls_over = False  # instead of saying that there is nothing, as act does
        self._twirp = Twirp(http, session, timeouts, events or EventBus())

    def learn(self, other: "ResultsService") -> None:
        """Take over how the service answers, if another session of the same run has found out."""
        if self.session.is_of_the_run_of(other.session):
            self.has_artifacts, self.falls_over = other.has_artifacts, other.falls_over

    def now(self) -> datetime:
        """Return the time by the clock of the service."""
        return self._twirp.now()

    @property
    def timeouts(self) -> Timeouts:
        """How patient calls are."""
        return self._twirp.timeouts

    @property
    def random(self) -> Random:
        """What pauses are drawn from."""
        return self._twirp.random

    def retrying(self) -> None:
        """Note that something is tried again."""
        self._twirp.retrying()

    def waits(self) -> list[float]:
        """Return the waits between tries in seconds, for callers that look in between."""
        return list(self._twirp.timeouts.calls.backoff(self._twirp.random))

    async def listed(self) -> list[Listed]:
        """Return the finished artifacts of the run; also of its earlier attempts, where the service shows them.

        Raise StoreRefused where no answer tells them: what is broken is not believed to be empty.
        """
        faults = 0

        async def attempt() -> list[Listed]:
            nonlocal faults
            try:
                answer = await self._twirp.once("ListArtifacts", self._own())
                return [each.listed() for each in ListAnswer.model_validate(answer).artifacts or []]
            except ValidationError:
                raise Unclear("its list makes no sense") from None
            except Dropped:
                faults += 1
                enough = faults >= (1 if self.falls_over else _PANICS)
                if not enough or self.session.origin.scheme == "https" or self.has_artifacts:
                    raise
                self.falls_over = True
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
            if raw and (url := await self._create_raw(request)):
                return Created(url, raw=True)
            request["version"] = 4
            try:
                answer = await self._twirp.call("CreateArtifact", request)
            except Refused as error:
                if "expires_at" not in error.reason:
                    raise
                _log.warning("this repository does not allow the retention; the artifact is kept as long as usual")
                del request["expires_at"]
                answer = await self._twirp.call("CreateArtifact", request)
        except NoSuchArtifact:
            raise StoreRefused(_NO_SERVICE) from None
        return Created(_url(CreateAnswer.model_validate(answer).signed_upload_url), raw=False)

    async def _create_raw(self, request: dict[str, object]) -> URL | None:
        """Ask for a place for a bare archive; None where the server does not know such."""
        typed = {**request, "version": 7, "mime_type": "application/octet-stream"}

        async def attempt() -> Fields | None:
            try:
                return await self._twirp.once("CreateArtifact", typed)
            except (Unclear, Refused) as error:
                if error.answered in _OLD:
                    return None
                raise

        answer = await self._twirp.retry("CreateArtifact", attempt)
        if answer is None:
            _log.info("this server stores no bare archives: it gets a zip")
            return None
        return _url(CreateAnswer.model_validate(answer).signed_upload_url)

    async def finalize(self, name: str, size: int, sha256: str | None, limit: float) -> str:
        """Finish an artifact, with one try of `limit` seconds; gives its id.

        Unclear if it may have been finished or not.
        """
        request = {**self._own(), "name": name, "size": str(size)}
        if sha256 is not None:
            request["hash"] = f"sha256:{sha256}"
        answer = await self._twirp.once("FinalizeArtifact", request, limit)
        finalized = Finalized.model_validate(answer)
        if not finalized.ok:
            raise Unclear("the service did not finish the artifact")
        self.has_artifacts = True
        return finalized.artifact_id

    async def sign(self, run: str, job: str, name: str) -> URL:
        """Return a URL to read an artifact with, good for some minutes; NoSuchArtifact."""

        async def attempt() -> str:
            answer = await self._twirp.once("GetSignedArtifactURL", _ids(run, job) | {"name": name})
            if url := Signed.model_validate(answer).signed_url:
                return url
            raise Unclear("its answer has no URL")

        return _url(await self._twirp.retry("GetSignedArtifactURL", attempt, name))

    async def delete(self, run: str, job: str, name: str) -> bool:
        """Delete an artifact; gives whether it was there, as far as the service says."""
        try:
            await self._twirp.call("DeleteArtifact", _ids(run, job) | {"name": name})
        except NoSuchArtifact:  # also when the answer to an earlier try was lost
            return False
        return True

    def _own(self) -> dict[str, object]:
        return _ids(self.session.run, self.session.job)


def _ids(run: str, job: str) -> dict[str, object]:
    return {"workflow_run_backend_id": run, "workflow_job_run_backend_id": job}


def _url(text: str) -> URL:
    """Take a signed URL as it is: its signature covers the very spelling."""
    try:
        url = URL(text, encoded=True)
        url.origin().port  # noqa: B018 - it fails where a port is none
    except ValueError:
        raise StoreRefused("the artifact service gave no URL for the bytes") from None
    return url
