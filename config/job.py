"""What the CI says of the job in which the relay runs, in variables of its own names."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from config import address

_GITHUB = "https://github.com"
_GITHUB_API = "https://api.github.com"
_SECRET = frozenset({"ACTIONS_RUNTIME_TOKEN", "GITHUB_TOKEN"})
_ACTION = re.compile(r"(\./[\w./-]*|[\w.-]+(/[\w.-]+)+@[\w./-]+)", re.ASCII)
_VARIABLES = (
    "GITHUB_ACTIONS",
    "ACTIONS_RUNTIME_TOKEN",
    "ACTIONS_RESULTS_URL",
    "GITHUB_TOKEN",
    "GITHUB_REPOSITORY",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    "GITHUB_API_URL",
    "GITHUB_EVENT_PATH",
)


@dataclass(frozen=True, slots=True)
class Job:
    """The job's credentials and coordinates; empty where the CI says nothing."""

    under_ci: bool = False
    runtime_token: str = field(default="", repr=False)
    results_url: str = ""
    github_token: str = field(default="", repr=False)
    repository: str = ""
    run_id: str = ""
    server_is_github: bool = True
    api_url: str = _GITHUB_API
    triggering_run: str = ""  # the number of the run that triggered this one
    action: str = ""  # how a workflow names the action that belongs to this relay, such as team/image-relay@v1


def read(environment: Mapping[str, str] = address.ENVIRONMENT) -> Job:
    """Read the variables that GitHub, act, Gitea and Forgejo set, and the one of the image; an empty one is none."""
    given = {name: environment.get(name, "").strip() for name in _VARIABLES}
    action = environment.get("IMAGE_RELAY_ACTION", "")
    server = (given["GITHUB_SERVER_URL"] or _GITHUB).rstrip("/").lower()
    return Job(
        under_ci=given["GITHUB_ACTIONS"] == "true",
        runtime_token=given["ACTIONS_RUNTIME_TOKEN"],
        results_url=given["ACTIONS_RESULTS_URL"],
        github_token=given["GITHUB_TOKEN"],
        repository=given["GITHUB_REPOSITORY"],
        run_id=given["GITHUB_RUN_ID"],
        server_is_github=server == _GITHUB or (server.startswith("https://") and server.endswith(".ghe.com")),
        api_url=given["GITHUB_API_URL"] or _GITHUB_API,
        triggering_run=_triggering_run(given["GITHUB_EVENT_PATH"]),
        action=action if _ACTION.fullmatch(action) else "",
    )


def _triggering_run(event: str) -> str:
    """Return the run that the event of this job, a file, is about; nothing where it is about none."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        number = int(json.loads(Path(event).read_bytes())["workflow_run"]["id"]) if event else 0
        return str(number) if 0 < number < 10**20 else ""
    return ""


def describe(environment: Mapping[str, str] = address.ENVIRONMENT) -> list[tuple[str, str]]:
    """Return name and value of the variables that say more than the defaults, for the log; a token shows as `set`."""
    given = [(name, environment.get(name, "").strip()) for name in _VARIABLES]
    return [
        (name, "set" if name in _SECRET else value) for name, value in given if value not in {"", _GITHUB, _GITHUB_API}
    ]
