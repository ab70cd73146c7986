"""What the CI says of the job in which the relay runs, in variables of its own names; nothing of it is logged."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from config import address

_GITHUB_API = "https://api.github.com"


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


def read(environment: Mapping[str, str] = address.ENVIRONMENT) -> Job:
    """Read the variables that GitHub, act, Gitea and Forgejo set."""
    get = environment.get
    server = get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    return Job(
        under_ci=get("GITHUB_ACTIONS") == "true",
        runtime_token=get("ACTIONS_RUNTIME_TOKEN", ""),
        results_url=get("ACTIONS_RESULTS_URL", ""),
        github_token=get("GITHUB_TOKEN", ""),
        repository=get("GITHUB_REPOSITORY", ""),
        run_id=get("GITHUB_RUN_ID", ""),
        server_is_github=server == "https://github.com" or server.endswith(".ghe.com"),
        api_url=get("GITHUB_API_URL", _GITHUB_API),
    )
