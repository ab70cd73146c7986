"""What identifies a run: the ids in a token, and GitHub's number of it, which all attempts of the run share."""

from config.job import Job
from proxy.artifacts.actions.rest_runs import WorkflowRun
from proxy.artifacts.actions.session import Session
from proxy.spool.run import Run


def run_of(session: Session, job: Job) -> Run:
    """Return the run of a session; where it is that of the job in which the relay runs, it can be read by REST, too."""
    origin, numbered = str(session.origin), (session.repository.lower(), session.run_id)
    identities: list[tuple[str, ...]] = [("token", origin, session.run)]
    if not all(numbered):
        return Run.of("a run without a number", *identities)
    identities.append(("session", origin, *numbered))
    if numbered == (job.repository.lower(), job.run_id):
        identities.append(("api", job.api_url.rstrip("/"), *numbered))
    return Run.of(f"run {session.run_id} of {session.repository}", *identities)


def run_read_of(run: WorkflowRun) -> Run:
    """Return the run that is read by REST."""
    return Run.of(str(run), ("api", str(run.api).rstrip("/"), run.repository.lower(), run.run_id))
