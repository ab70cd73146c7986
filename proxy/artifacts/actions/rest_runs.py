"""Workflow runs through GitHub's REST API: what a run was made of, and which run of a workflow is the newest good one.

Whoever opens a pull request can make a run, and a branch in a fork can be called `main`: a run counts as this
repository's only if its commit comes from there.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, WrapValidator
from yarl import URL

from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.rest_answers import Text, document, or_none
from proxy.artifacts.base import StoreRefused
from proxy.text import safe_text

_NUMBER = re.compile(r"[0-9]{1,20}")
_NEWEST = re.compile(r"(?P<workflow>[^\s@,/]+\.ya?ml)@(?P<branch>[^\s,]{1,255})", re.ASCII)
_PAGE = 100  # runs, the most that one request gives
_PAGES = 10  # GitHub lists no more than a thousand


class NoRun(StoreRefused):
    """There is no run yet that was asked for."""


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """A workflow run of a repository (`owner/name`), at the address of an API."""

    api: URL
    repository: str
    run_id: str

    def path(self, *parts: str) -> URL:
        """Return a URL below the repository."""
        return _path(self.api, self.repository, *parts)

    def __str__(self) -> str:
        return f"run {self.run_id} of {self.repository}"


@dataclass(frozen=True, slots=True)
class NewestRun:
    """The newest successful run of a workflow on a branch of a repository."""

    api: URL
    repository: str
    workflow: str
    branch: str

    @property
    def run_id(self) -> str:
        """Its number is not known yet."""
        return ""

    def __str__(self) -> str:
        return f"{self.workflow}@{self.branch}"


@dataclass(frozen=True, slots=True)
class Sources:
    """Other runs of a repository, and the token that reads them."""

    api: URL
    token: str = field(repr=False)
    runs: tuple[WorkflowRun | NewestRun, ...]

    @classmethod
    def parse(cls, api: URL, repository: str, token: str, texts: tuple[str, ...]) -> "Sources":
        """Return the runs that texts name: numbers, or `workflow.yml@branch`. Raise ValueError."""
        runs = list[WorkflowRun | NewestRun]()
        for text in texts:
            if _NUMBER.fullmatch(text):
                runs.append(WorkflowRun(api, repository, text))
            elif match := _NEWEST.fullmatch(text):
                runs.append(NewestRun(api, repository, match["workflow"], match["branch"]))
            else:
                raise ValueError(f"{safe_text(text[:60])!r} is not a run; write its number, or workflow.yml@branch")
        return cls(api, token, tuple(runs))


@dataclass(frozen=True, slots=True)
class Head:
    """What a run was made of, as GitHub tells it; each is empty where it does not."""

    repository: str
    commit: str
    event: str

    def is_of(self, repository: str) -> bool:
        """Return whether the commit comes from this repository, and not from a fork."""
        return self.repository.casefold() == repository.casefold()

    def __str__(self) -> str:
        what = f"{self.repository or 'a repository that is gone'} at {self.commit[:12] or 'an unknown commit'}"
        return safe_text(f"{what} ({self.event or 'unknown event'})")


class _Repository(BaseModel):
    full_name: Text = ""


class _RunAnswer(BaseModel):
    """`GET /repos/{owner}/{repo}/actions/runs/{run_id}`, and an entry of a list of runs."""

    id: object = None
    head_repository: Annotated[_Repository | None, WrapValidator(or_none)] = None
    head_branch: Text = ""
    head_sha: Text = ""
    event: Text = ""
    conclusion: Text = ""

    @property
    def head(self) -> Head:
        return Head(self.head_repository.full_name if self.head_repository else "", self.head_sha, self.event)


class _RunsAnswer(BaseModel):
    """`GET /repos/{owner}/{repo}/actions/workflows/{file}/runs`."""

    workflow_runs: list[_RunAnswer]


async def head_of(api: GitHubApi, run: WorkflowRun) -> Head:
    """Return what a run was made of. Raise StoreRefused."""
    return (await document(api, _RunAnswer, run.path("runs", run.run_id), run)).head


async def newest(api: GitHubApi, wanted: NewestRun) -> tuple[WorkflowRun, Head]:
    """Return the newest successful run that is not of a fork, and what it was made of. Raise NoRun, StoreRefused."""
    workflow = f"workflow {wanted.workflow} of {wanted.repository}"
    path = _path(wanted.api, wanted.repository, "workflows", wanted.workflow, "runs")
    for page in range(1, _PAGES + 1):
        query = {"branch": wanted.branch, "status": "success", "per_page": str(_PAGE), "page": str(page)}
        runs = (await document(api, _RunsAnswer, path.with_query(query), workflow)).workflow_runs
        for run in runs:  # GitHub lists the newest first
            is_meant = (run.head_branch, run.conclusion) == (wanted.branch, "success")
            if is_meant and type(run.id) is int and run.head.is_of(wanted.repository):
                return WorkflowRun(wanted.api, wanted.repository, str(run.id)), run.head
        if len(runs) < _PAGE:
            break
    raise NoRun(f"there is no successful run of {wanted.workflow} on {wanted.branch} in {wanted.repository}")


def _path(api: URL, repository: str, *parts: str) -> URL:
    return api.joinpath("repos", *repository.split("/"), "actions", *parts)
