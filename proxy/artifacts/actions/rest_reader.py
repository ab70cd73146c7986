"""Artifacts of a run through GitHub's REST API, with `GITHUB_TOKEN`: read with `actions: read`, deleted with `write`.

The redirect to the bytes is followed by hand, without the token: storage refuses it, and should not have it. Answers
come from outside: what is missing in them, or of another kind than documented, is told, never believed.
A thousand requests an hour are all that the jobs of a repository have together, so a listing is kept for some seconds.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StrictInt, WrapValidator
from yarl import URL

from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.rest_answers import ABSENT, UNDELETABLE, Text, as_text, check, document, or_none
from proxy.artifacts.actions.rest_runs import Head, NewestRun, NoRun, WorkflowRun, head_of, newest
from proxy.artifacts.actions.results import NoSuchArtifact
from proxy.artifacts.base import Artifact, StoreRefused, refuse
from proxy.text import as_utc

_log = logging.getLogger(__name__)
_REFUSED = 10.0  # seconds for which a refusal to delete holds for all
_BETWEEN_DELETIONS = 1.0  # seconds; GitHub asks for it where there are many
_LISTINGS = 3  # of a run whose artifacts change while its pages are read


_Time = Annotated[datetime, BeforeValidator(as_text), AfterValidator(as_utc)]


class _Entry(BaseModel):
    """An artifact in a listing; what is needed to read it has to be there."""

    id: Annotated[StrictInt, Field(ge=0)]
    size_in_bytes: Annotated[StrictInt, Field(ge=0)]
    name: Annotated[Text, Field(min_length=1)]
    created_at: _Time
    expires_at: Annotated[_Time | None, WrapValidator(or_none)] = None
    digest: Text = ""

    @property
    def artifact(self) -> Artifact:
        number, size = str(self.id), self.size_in_bytes
        return Artifact(self.name, number, self.created_at, size, expires=self.expires_at, digest=self.digest)


class _Expired(BaseModel):
    """An artifact in a listing that cannot be read any more."""

    expired: Literal[True]


class _Page(BaseModel):
    """`GET /repos/{owner}/{repo}/actions/runs/{run_id}/artifacts`."""

    artifacts: list[Annotated[_Expired | _Entry, Field(union_mode="left_to_right")]]
    total_count: object = None

    @property
    def found(self) -> list[Artifact]:
        return [each.artifact for each in self.artifacts if isinstance(each, _Entry)]


@dataclass(slots=True)
class RestReader:
    """Lists and signs the artifacts of one run.

    `another`: the run is not ours. Then nothing is read before it is known to be made of this repository's own code,
    unless `trust_forks`: whoever opens a pull request can make a run. A newest run is looked for once, and then stays
    the same. `closed`: why nothing is ever deleted here. `kept`: the seconds for which one listing is good; of at most
    `pages` pages, of `page` artifacts each.
    """

    by_name: ClassVar[bool] = False
    api: GitHubApi
    run: WorkflowRun | NewestRun
    another: bool = False
    trust_forks: bool = False
    head: Head | None = None
    closed: str = field(default="", kw_only=True)
    kept: float = field(default=10.0, kw_only=True)
    page: int = field(default=100, kw_only=True)  # the most that one request gives
    pages: int = field(default=100, kw_only=True)
    _listed: list[Artifact] = field(default_factory=list)
    _listed_at: float = float("-inf")
    _no_run: str = ""  # why there was no run
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _deleting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _next_deletion: float = float("-inf")
    _refusal: str = ""  # of a deletion
    _refused_until: float = float("-inf")

    async def listed(self) -> list[Artifact]:
        """Return the artifacts of the run that have not expired, of all its attempts; StoreRefused."""
        run = await self.introduce()
        async with self._turn:
            if time.monotonic() - self._listed_at >= self.kept:
                for _ in range(_LISTINGS):  # again if one was added or removed meanwhile: then a page may lack one
                    self._listed, is_consistent = await self._pages(run)
                    if is_consistent:
                        break
                self._listed_at = time.monotonic()
            return list(self._listed)

    def expire(self) -> None:
        """Have the next `list` ask anew."""
        self._listed_at = float("-inf")

    async def introduce(self) -> WorkflowRun:
        """Return the run, once it is known what another one was made of; StoreRefused if it is not to be read."""
        async with self._turn:
            run = self.run
            if isinstance(run, NewestRun):
                run = await self._newest(run)
            elif self.another and self.head is None:
                self.head = await head_of(self.api, run)
                _log.info("images come from %s, made of %s", run, self.head)
        refuse(self.refusal)
        return run

    async def _newest(self, wanted: NewestRun) -> WorkflowRun:
        if self._no_run and time.monotonic() - self._listed_at < self.kept:
            raise NoRun(self._no_run)
        try:
            run, self.head = await newest(self.api, wanted)
        except NoRun as error:
            self._no_run, self._listed_at = str(error), time.monotonic()
            raise
        self.run = run
        _log.info("%s is %s, made of %s", wanted, run, self.head)
        return run

    @property
    def refusal(self) -> str:
        """Why this run is not to be read; empty where it is, or where that is not known yet."""
        if self.head is None or self.trust_forks or self.head.is_of(self.run.repository):
            return ""
        return f"{self.run} comes from {self.head}; if you trust whoever made that, set RELAY_TRUST_FORKS=true"

    async def sign(self, artifact: Artifact) -> URL:
        """Return a URL that is good for a minute; NoSuchArtifact, StoreRefused."""
        run = await self.introduce()
        answer = await self.api.get(run.path("artifacts", artifact.id, "zip"))
        if answer.status in ABSENT:
            self._listed_at = float("-inf")  # it was deleted, or has expired
            raise NoSuchArtifact(artifact.name)
        check(answer)
        try:
            url = URL(answer.headers.get("Location", ""), encoded=True)
            url.origin().port  # noqa: B018 - it fails where a port is none
        except ValueError:
            raise StoreRefused(f"GitHub gave no address for the bytes of an artifact ({answer.status})") from None
        return url

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, which takes `actions: write`, and return whether it was there; StoreRefused."""
        run = await self.introduce()
        async with self._deleting:
            refuse(self.undeletable)
            await asyncio.sleep(self._next_deletion - time.monotonic())
            try:
                done = await self._delete(run.path("artifacts", artifact.id))
            except StoreRefused as error:  # most probably the next one would be refused, too
                self._refusal, self._refused_until = str(error), time.monotonic() + _REFUSED
                raise
            finally:
                self._next_deletion = time.monotonic() + _BETWEEN_DELETIONS
        self._listed = [each for each in self._listed if each.id != artifact.id]
        return done

    async def _delete(self, url: URL) -> bool:
        answer = await self.api.delete(url)
        if answer.status in ABSENT:  # it is gone, or hidden from who may not change it
            refuse(UNDELETABLE if (await self.api.get(url)).status == HTTPStatus.OK else "")
            return False
        check(answer, of_deletion=True)
        return True

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted: for ever, or for a moment since a deletion was refused."""
        return self.closed or (self._refusal if time.monotonic() < self._refused_until else "")

    async def _pages(self, run: WorkflowRun) -> tuple[list[Artifact], bool]:
        """Return the artifacts, and whether all pages speak of as many."""
        found: dict[str, Artifact] = {}
        totals: set[str] = set()
        for number in range(1, self.pages + 1):
            query = {"per_page": str(self.page), "page": str(number)}
            page = await document(self.api, _Page, run.path("runs", run.run_id, "artifacts").with_query(query), run)
            found |= {each.id: each for each in page.found}
            totals.add(str(page.total_count))
            if len(page.artifacts) < self.page:
                break
        return list(found.values()), len(totals) == 1
