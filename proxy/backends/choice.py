"""Which back end fits the settings and the job."""

import re

from yarl import URL

from config.job import Job
from config.settings import Settings
from proxy.artifacts.actions.rest_reader import Run

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class StoreUnusable(Exception):
    """These settings and this job together give no store; the message says what is missing."""


def choose(settings: Settings, job: Job) -> tuple[str, str]:
    """Return which store these settings mean in this job, and why it is that one. Raise StoreUnusable."""
    if settings.run_id and settings.store == "directory":
        raise StoreUnusable("RELAY_RUN_ID reads artifacts: leave it out, or RELAY_STORE=directory")
    if settings.run_id and not (job.github_token and readable_run(settings, job)):
        raise StoreUnusable(
            'RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN, of a job with "permissions: {actions: read}"'
        )
    if settings.store != "auto":
        return settings.store, f"RELAY_STORE={settings.store}"
    if settings.run_id:
        return "actions", "RELAY_RUN_ID is set"
    if job.under_ci:
        return "actions", "GITHUB_ACTIONS=true"
    return "directory", "GITHUB_ACTIONS is not true"


def readable_run(settings: Settings, job: Job) -> Run | None:
    """Return the run that can be read by REST; None if nothing says which that is."""
    run_id = settings.run_id or job.run_id
    if not (_REPOSITORY.fullmatch(job.repository) and run_id.isascii() and run_id.isdigit()):
        return None
    try:
        api = URL(job.api_url)
        api.origin()
    except ValueError:
        return None
    return Run(api, job.repository, run_id)
