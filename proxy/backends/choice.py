"""Which back end fits the settings and the job."""

import re

from yarl import URL

from config.job import Job
from config.settings import TRIGGERING, Settings
from proxy.artifacts.actions.rest_runs import Sources, WorkflowRun

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class StoreUnusable(Exception):
    """These settings and this job together give no store; the message says what is missing."""


def choose(settings: Settings, job: Job) -> tuple[str, str]:
    """Return which store these settings mean in this job, and why it is that one. Raise StoreUnusable."""
    reasons = []
    for setting, given, is_readable in (
        ("RELAY_RUN_ID", settings.run_id, readable_run(settings, job) is not None),
        ("RELAY_FROM", settings.from_, bool(_REPOSITORY.fullmatch(job.repository))),
    ):
        if not given:
            continue
        if settings.store == "directory":
            raise StoreUnusable(f"{setting} reads artifacts, which RELAY_STORE=directory has none of: leave one out")
        if not (job.github_token and is_readable):
            raise StoreUnusable(
                f'{setting} needs GITHUB_REPOSITORY and GITHUB_TOKEN, of a job with "permissions: {{actions: read}}"'
            )
        reasons.append(f"{setting} is set")
    sources_of(settings, job)
    if settings.store != "auto":
        return settings.store, f"RELAY_STORE={settings.store}"
    if job.under_ci and not settings.run_id:
        return "actions", "GITHUB_ACTIONS=true"
    if reasons:
        return "actions", reasons[0]
    return "directory", "GITHUB_ACTIONS is not true"


def readable_run(settings: Settings, job: Job) -> WorkflowRun | None:
    """Return the run that can be read by REST; None if nothing says which that is."""
    run_id = settings.run_id or job.run_id
    if not (_REPOSITORY.fullmatch(job.repository) and run_id.isascii() and run_id.isdigit()):
        return None
    api = _api(job)
    return WorkflowRun(api, job.repository, run_id) if api else None


def sources_of(settings: Settings, job: Job) -> Sources | None:
    """Return the other runs that the settings name; None if they name none. Raise StoreUnusable."""
    if not settings.from_:
        return None
    if TRIGGERING in settings.from_ and not job.triggering_run:
        raise StoreUnusable(f"RELAY_FROM={TRIGGERING} needs a job of a workflow with on: workflow_run")
    api = _api(job)
    if api is None:
        raise StoreUnusable("RELAY_FROM needs GITHUB_API_URL to be the address of GitHub's REST API")
    texts = tuple(job.triggering_run if text == TRIGGERING else text for text in settings.from_)
    try:
        return Sources.parse(api, job.repository, job.github_token, texts)
    except ValueError as error:
        raise StoreUnusable(f"RELAY_FROM: {error}") from None


def _api(job: Job) -> URL | None:
    try:
        api = URL(job.api_url)
        api.origin()
    except ValueError:
        return None
    return api
