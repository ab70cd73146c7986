"""Artifacts of a run through GitHub's REST API, read-only: what `GITHUB_TOKEN` with `actions: read` gives.

The redirect to the bytes is followed by hand, without the token: storage refuses it, and should not have it. Answers
come from outside: what is missing in them, or of another kind than documented, is told, never believed.
A thousand requests an hour are all that the jobs of a repository have together, so a listing is kept for some seconds.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from yarl import URL

from proxy.artifacts.actions.github_api import Answer, GitHubApi
from proxy.artifacts.actions.http import json_object
from proxy.artifacts.actions.results import NoSuchArtifact
from proxy.artifacts.base import Artifact, StoreRefused
from proxy.text import safe_text

T = TypeVar("T", bound=BaseModel)

_log = logging.getLogger(__name__)
_LISTINGS = 3  # of a run whose artifacts change while its pages are read
_ABSENT = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_NO_SENSE = "GitHub's API listed artifacts in a way that makes no sense; try again later"
_PERMISSION = 'give the job "permissions: {actions: read}"'


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow run of a repository (`owner/name`), at the address of an API."""

    api: URL
    repository: str
    run_id: str

    def path(self, *parts: str) -> URL:
        """Give a URL below the repository."""
        return self.api.joinpath("repos", *self.repository.split("/"), "actions", *parts)

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.repository}"


@dataclass(frozen=True, slots=True)
class Head:
    """What a run was made of, as GitHub tells it; each is empty where it does not."""

    repository: str
    commit: str
    event: str

    def __str__(self) -> str:
        what = f"{self.repository or 'a repository that is gone'} at {self.commit[:12] or 'an unknown commit'}"
        return safe_text(f"{what} ({self.event or 'unknown event'})")


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _or_none(value: object, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


_Text = Annotated[str, BeforeValidator(_as_text)]  # empty where it is absent, or something else
_Time = Annotated[datetime, BeforeValidator(_as_text), AfterValidator(_with_zone)]


class _Repository(BaseModel):
    full_name: _Text = ""


class _RunAnswer(BaseModel):
    """`GET /repos/{owner}/{repo}/actions/runs/{run_id}`."""

    head_repository: Annotated[_Repository | None, WrapValidator(_or_none)] = None
    head_sha: _Text = ""
    event: _Text = ""


class _Entry(BaseModel):
    """An artifact in a listing; what is needed to read it has to be there."""

    id: Annotated[StrictInt, Field(ge=0)]
    size_in_bytes: Annotated[StrictInt, Field(ge=0)]
    name: Annotated[_Text, Field(min_length=1)]
    created_at: _Time
    expires_at: Annotated[_Time | None, WrapValidator(_or_none)] = None
    digest: _Text = ""

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
    unless `trust_forks`: whoever opens a pull request can make a run. `kept`: the seconds for which one listing is
    good; of at most `pages` pages, of `page` artifacts each.
    """

    api: GitHubApi
    run: Run
    another: bool = False
    trust_forks: bool = False
    head: Head | None = None
    kept: float = field(default=10.0, kw_only=True)
    page: int = field(default=100, kw_only=True)  # the most that one request gives
    pages: int = field(default=100, kw_only=True)
    _listed: list[Artifact] = field(default_factory=list)
    _listed_at: float = float("-inf")
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listed(self) -> list[Artifact]:
        """Give the artifacts of the run that have not expired, of all its attempts; StoreRefused."""
        await self.introduce()
        async with self._turn:
            if time.monotonic() - self._listed_at >= self.kept:
                for _ in range(_LISTINGS):  # again if one was added or removed meanwhile: then a page may lack one
                    self._listed, is_consistent = await self._pages()
                    if is_consistent:
                        break
                self._listed_at = time.monotonic()
            return list(self._listed)

    async def introduce(self) -> None:
        """Find out what another run was made of; StoreRefused if it is not to be read."""
        if not self.another:
            return
        async with self._turn:
            if self.head is None:
                run = await self._document(_RunAnswer, self.run.path("runs", self.run.run_id))
                named = run.head_repository.full_name if run.head_repository else ""
                self.head = Head(named, run.head_sha, run.event)
                _log.info("images come from %s, made of %s", self.run, self.head)
        if self.refusal:
            raise StoreRefused(self.refusal)

    @property
    def refusal(self) -> str:
        """Why this run is not to be read; empty where it is, or where that is not known yet."""
        head = self.head
        if head is None or self.trust_forks or head.repository.casefold() == self.run.repository.casefold():
            return ""
        return f"{self.run} comes from {head}; if you trust whoever made that, set RELAY_TRUST_FORKS=true"

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for a minute; NoSuchArtifact, StoreRefused."""
        await self.introduce()
        answer = await self.api.get(self.run.path("artifacts", artifact.id, "zip"))
        if answer.status in _ABSENT:
            raise NoSuchArtifact(artifact.name)
        _check(answer)
        try:
            url = URL(answer.headers.get("Location", ""), encoded=True)
            url.origin().port  # noqa: B018 - it fails where a port is none
        except ValueError:
            raise StoreRefused(f"GitHub gave no address for the bytes of an artifact ({answer.status})") from None
        return url

    async def _pages(self) -> tuple[list[Artifact], bool]:
        """Return the artifacts, and whether all pages speak of as many."""
        found: dict[str, Artifact] = {}
        totals: set[str] = set()
        for number in range(1, self.pages + 1):
            query = {"per_page": str(self.page), "page": str(number)}
            page = await self._document(_Page, self.run.path("runs", self.run.run_id, "artifacts").with_query(query))
            found |= {each.id: each for each in page.found}
            totals.add(str(page.total_count))
            if len(page.artifacts) < self.page:
                break
        return list(found.values()), len(totals) == 1

    async def _document(self, kind: type[T], url: URL) -> T:
        answer = await self.api.get(url)
        if answer.status in _ABSENT:
            raise StoreRefused(f"GitHub knows no {self.run}, or GITHUB_TOKEN cannot see it: {_PERMISSION}")
        _check(answer)
        fields = json_object(answer.body)
        if answer.status != HTTPStatus.OK or fields is None:
            raise StoreRefused(
                f"GitHub's API did not answer with a document ({answer.status}): "
                "are GITHUB_API_URL and GITHUB_REPOSITORY right?"
            )
        try:
            return kind.model_validate(fields)
        except ValidationError:  # left out it would be taken for absent
            raise StoreRefused(_NO_SENSE) from None


def _check(answer: Answer) -> None:
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise StoreRefused("GitHub does not accept GITHUB_TOKEN, or no longer does: it expires with its job")
    if answer.status == HTTPStatus.FORBIDDEN:
        raise StoreRefused(f"GITHUB_TOKEN cannot read artifacts: {_PERMISSION}")
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise StoreRefused(f"GitHub's API refused ({answer.status})")
