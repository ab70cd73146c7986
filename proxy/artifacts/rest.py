"""Artifacts of a run through GitHub's REST API, read-only: what `GITHUB_TOKEN` with `actions: read` gives.

The redirect to the bytes is followed by hand, without the token: storage refuses it, and should not have it.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
from yarl import URL

from proxy.artifacts.base import Artifact, StoreRefused
from proxy.artifacts.results import NoSuchArtifact
from proxy.artifacts.retry import CALLS, Policy, asked_wait, is_worth_another

_PAGE = 100  # artifacts; the most that one request gives
_PAGES = 100
_PATIENCE = 60.0  # seconds; a rate limit that ends later is told, not waited for
_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=15)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow run of a repository (`owner/name`), and the token that may read it."""

    api: URL
    repository: str
    run_id: str
    token: str = field(repr=False)

    def path(self, *parts: str) -> URL:
        """Give a URL below the repository."""
        return self.api.joinpath("repos", *self.repository.split("/"), "actions", *parts)


@dataclass(slots=True)
class RestReader:
    """Lists and signs the artifacts of one run."""

    http: aiohttp.ClientSession
    run: Run
    policy: Policy = CALLS
    _chance: random.Random = field(default_factory=random.Random)

    async def listed(self) -> list[Artifact]:
        """Give the artifacts of the run that have not expired, of all its attempts."""
        found: list[Artifact] = []
        for page in range(1, _PAGES + 1):
            query = {"per_page": str(_PAGE), "page": str(page)}
            answer = await self._json(self.run.path("runs", self.run.run_id, "artifacts").with_query(query))
            entries = answer.get("artifacts") or []
            found += [_artifact(each) for each in entries if not each.get("expired")]
            if len(entries) < _PAGE:
                break
        return found

    async def head_repository(self) -> tuple[str, str, str]:
        """Give the repository, commit and event that the run was made of."""
        answer = await self._json(self.run.path("runs", self.run.run_id))
        head = answer.get("head_repository") or {}
        return str(head.get("full_name", "")), str(answer.get("head_sha", "")), str(answer.get("event", ""))

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for a minute."""
        status, headers, _ = await self._get(self.run.path("artifacts", artifact.id, "zip"))
        if status not in _REDIRECTS or "Location" not in headers:
            raise StoreRefused(f"GitHub gave no address for the bytes of an artifact ({status})")
        return URL(headers["Location"], encoded=True)

    async def _json(self, url: URL) -> dict[str, Any]:
        _, _, body = await self._get(url)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise StoreRefused("GitHub's API did not answer with JSON; try again later")
        return answer

    async def _get(self, url: URL) -> tuple[int, Mapping[str, str], bytes]:
        problem = ""
        for wait in [*self.policy.waits(self._chance), None]:
            try:
                async with self.http.get(
                    url, headers=self._headers(), timeout=_TIMEOUT, allow_redirects=False
                ) as response:
                    status, headers, body = response.status, response.headers, await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = type(error).__name__
            else:
                pause = _limited(headers)
                if pause is None and (status < 400 or not is_worth_another(status)):  # noqa: PLR2004 - HTTP
                    return self._checked(status), headers, body
                problem = f"it answered {status}"
                await asyncio.sleep(pause or asked_wait(headers) or 0)
            if wait is not None:
                await asyncio.sleep(wait)
        raise StoreRefused(f"GitHub's API failed ({problem}); try again later")

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.run.token}",
            "User-Agent": "image-relay",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    def _checked(self, status: int) -> int:
        if status in {401, 403}:
            raise StoreRefused('GITHUB_TOKEN may not read artifacts: give the job "permissions: {actions: read}"')
        if status in {404, 410}:
            raise NoSuchArtifact(f"run {self.run.run_id} of {self.run.repository}")
        if status >= 400:  # noqa: PLR2004 - HTTP
            raise StoreRefused(f"GitHub's API refused ({status})")
        return status


def _artifact(fields: dict[str, Any]) -> Artifact:
    created = datetime.fromisoformat(str(fields["created_at"]))
    return Artifact(str(fields["name"]), str(fields["id"]), created, int(fields["size_in_bytes"]))


def _limited(headers: Mapping[str, str]) -> float | None:
    """Give the seconds until a rate limit ends; StoreRefused if that is too long."""
    if headers.get("x-ratelimit-remaining") != "0" or not headers.get("x-ratelimit-reset", "").isdigit():
        return None
    seconds = int(headers["x-ratelimit-reset"]) - time.time()
    if seconds > _PATIENCE:
        raise StoreRefused(f"GitHub's API takes no more requests of this repository for {seconds / 60:.0f} minutes")
    return max(seconds, 1.0)
