"""Artifacts of a run through GitHub's REST API, read-only: what `GITHUB_TOKEN` with `actions: read` gives.

The redirect to the bytes is followed by hand, without the token: storage refuses it, and should not have it. Answers
come from outside: what is missing in them, or of another kind than documented, is told, never believed.
A thousand requests an hour are all that the jobs of a repository have together, so a listing is kept for some seconds.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from yarl import URL

from proxy.artifacts.actions.github_api import Answer, GitHubApi
from proxy.artifacts.actions.results import NoSuchArtifact
from proxy.artifacts.base import Artifact, StoreRefused
from proxy.text import safe_text

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
                self._listed = await self._list()
                self._listed_at = time.monotonic()
            return list(self._listed)

    async def introduce(self) -> None:
        """Find out what another run was made of; StoreRefused if it is not to be read."""
        if not self.another:
            return
        async with self._turn:
            if self.head is None:
                self.head = _head(await self._document(self.run.path("runs", self.run.run_id)))
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

    async def _list(self) -> list[Artifact]:
        """Read all pages; again if one was added or removed meanwhile, since then a page may lack one."""
        found: dict[str, Artifact] = {}
        for _ in range(_LISTINGS):
            found, same = await self._pages()
            if same:
                break
        return list(found.values())

    async def _pages(self) -> tuple[dict[str, Artifact], bool]:
        """Give the artifacts by id, and whether all pages speak of as many."""
        found: dict[str, Artifact] = {}
        totals: set[str] = set()
        for page in range(1, self.pages + 1):
            query = {"per_page": str(self.page), "page": str(page)}
            answer = await self._document(self.run.path("runs", self.run.run_id, "artifacts").with_query(query))
            entries = answer.get("artifacts")
            if not isinstance(entries, list):
                raise StoreRefused(_NO_SENSE)
            found |= {each.id: each for entry in entries if (each := _artifact(entry))}
            totals.add(str(answer.get("total_count")))
            if len(entries) < self.page:
                break
        return found, len(totals) == 1

    async def _document(self, url: URL) -> dict[str, Any]:
        answer = await self.api.get(url)
        if answer.status in _ABSENT:
            raise StoreRefused(f"GitHub knows no {self.run}, or GITHUB_TOKEN cannot see it: {_PERMISSION}")
        _check(answer)
        try:
            fields = json.loads(answer.body)
        except (ValueError, RecursionError):
            fields = None
        if answer.status != HTTPStatus.OK or not isinstance(fields, dict):
            raise StoreRefused(
                f"GitHub's API did not answer with a document ({answer.status}): "
                "are GITHUB_API_URL and GITHUB_REPOSITORY right?"
            )
        return fields


def _check(answer: Answer) -> None:
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise StoreRefused("GitHub does not accept GITHUB_TOKEN, or no longer does: it expires with its job")
    if answer.status == HTTPStatus.FORBIDDEN:
        raise StoreRefused(f"GITHUB_TOKEN cannot read artifacts: {_PERMISSION}")
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise StoreRefused(f"GitHub's API refused ({answer.status})")


def _head(fields: Mapping[str, Any]) -> Head:
    repository = fields.get("head_repository")
    named = repository.get("full_name") if isinstance(repository, dict) else None
    return Head(_text(named), _text(fields.get("head_sha")), _text(fields.get("event")))


def _artifact(entry: object) -> Artifact | None:
    """Read an entry of a listing; None for one that has expired.

    Raise StoreRefused where it lacks what is needed to read it: left out it would be taken for absent.
    """
    if not isinstance(entry, dict):
        raise StoreRefused(_NO_SENSE)
    if entry.get("expired"):
        return None
    number, size, name = entry.get("id"), entry.get("size_in_bytes"), _text(entry.get("name"))
    created = _time(entry.get("created_at"))
    if type(number) is not int or type(size) is not int or min(number, size) < 0 or not name or created is None:
        raise StoreRefused(_NO_SENSE)
    expires, digest = _time(entry.get("expires_at")), _text(entry.get("digest"))
    return Artifact(name, str(number), created, size, expires=expires, digest=digest)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
