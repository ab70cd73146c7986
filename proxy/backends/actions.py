"""The back end whose images are artifacts of a workflow run."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

from config.job import Job
from config.settings import Settings
from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.handover import Handover
from proxy.artifacts.actions.rest_reader import RestReader
from proxy.artifacts.actions.rest_runs import WorkflowRun
from proxy.artifacts.actions.results import ResultsService
from proxy.artifacts.actions.session import Session, SessionHolder, SessionInvalid, State, no_session, read
from proxy.artifacts.actions.session_store import SessionStore
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.base import StoreRefused
from proxy.artifacts.by_hand import FileByHand, out_of_run
from proxy.artifacts.naming import Naming
from proxy.backends.backend import READ_ONLY, BackendStatus, NewSession, unpack_folder
from proxy.backends.choice import readable_run, sources_of
from proxy.backends.identity import run_of, run_read_of
from proxy.backends.other_runs import OtherRuns
from proxy.catalog.catalog import Catalog
from proxy.catalog.other_run import OtherRun
from proxy.runtime.limits import DEFAULT, Limits
from proxy.spool.run import Run
from proxy.text import counted

_log = logging.getLogger(__name__)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NOTHING_NEWER = "the session of this job has expired, so newer images are not seen"
_READ_BY_ACTION = (
    'this relay only serves images: this job uses the action with "access: read"; leave that input out in a job that '
    "pushes or deletes"
)
_READS_ANOTHER_RUN = "this relay serves the images of another run; push to one without RELAY_RUN_ID"


class ActionsBackend:
    """Images are artifacts of a workflow run: of the session's, or of the one that `GITHUB_TOKEN` reads."""

    kind = "actions"
    has_artifact_ids = True

    def __init__(
        self, settings: Settings, job: Job, public_host: str, storage: BlobStorage, limits: Limits = DEFAULT
    ) -> None:
        self.place = f"artifacts of run {settings.run_id}" if settings.run_id else "artifacts of this run"
        self.readers = "From this relay" if settings.run_id else "In a later job of this run"
        self.location = "artifacts of the run"
        self._settings = settings
        self._job = job
        self._own_host = public_host
        self._storage = storage
        self._session_poll = limits.session_poll
        trust = TrustedHosts(frozenset(_trusted(settings, job)), settings.trusted_hosts or ())
        self._sessions = SessionHolder()
        self._connected: ResultsService | None = None
        self._store = ActionsStore(
            storage,
            trust,
            unpack_folder(settings),
            any_job=settings.overwrite == "run",
            form=settings.artifact_format,
            reserved=settings.data / "spool" / "reserved.json",
        )
        self._session_store = SessionStore(self._store, self._sessions)
        self.catalog = Catalog(self._session_store, Naming(settings.artifact_prefix), unpack_folder(settings), limits)
        self._handover = Handover(
            self._sessions,
            trust,
            self._connect,
            settings.retention_days,
            limits.session_check,
            writable=settings.access == "write",
            guarded=settings.password is not None,
            refusal=_READS_ANOTHER_RUN if settings.run_id else "",
        )
        self._others = OtherRuns(
            storage, trust, Naming(settings.artifact_prefix), unpack_folder(settings), limits, settings.trust_forks
        )
        self._set_others = sources_of(settings, job)
        self._others.read(self._set_others)
        self._read_run = readable_run(settings, job) if job.github_token else None
        self._reader = self._read_by_rest(self._read_run)
        if job.runtime_token and job.results_url and not settings.run_id:
            try:  # whoever set the environment vouches for its results service
                session = read(job.runtime_token, job.results_url, timedelta(days=settings.retention_days))
            except SessionInvalid as error:
                _log.warning("the session of the environment is not used: %s", error)
            else:
                self._use(replace(session, repository=job.repository, run_id=job.run_id), "of the environment")

    def _connect(self, session: Session) -> ResultsService:
        service = ResultsService(self._storage.http, session, self._storage.timeouts, self._storage.events)
        if self._connected is not None:
            service.learn(self._connected)
        self._connected = service
        return service

    def _read_by_rest(self, run: WorkflowRun | None) -> RestReader | None:
        """Read with GITHUB_TOKEN until there is a session, and another run for ever."""
        job, another = self._job, bool(self._settings.run_id)
        if not job.github_token:
            return None
        if run is None:
            if self._set_others is None:
                _log.warning("GITHUB_TOKEN is not used: GITHUB_REPOSITORY and GITHUB_RUN_ID do not say what to read")
            return None
        api = GitHubApi(self._storage.http, job.github_token, self._storage.timeouts, self._storage.events)
        closed = "" if another else self._store.undeletable
        reader = RestReader(api, run, another, self._settings.trust_forks, closed=closed)
        self._store.read_with(reader, _READS_ANOTHER_RUN if another else self._store.closed)
        _log.info("GITHUB_TOKEN reads the images of %s", run)
        return reader

    @property
    def run(self) -> Run | None:
        """The run of the session, or the one that `GITHUB_TOKEN` reads."""
        if session := self._sessions.current:
            return run_of(session, self._job)
        return run_read_of(self._read_run) if self._read_run else None

    async def accept(self, content: bytes) -> NewSession | None:
        """Return the session of a request. Raise SessionRefused, SessionTaken, Denied."""
        if accepted := await self._handover.accept(content):
            return NewSession(run_of(accepted[0], self._job), partial(self._use, *accepted))
        return None

    def _use(self, session: Session, description: str) -> None:
        """Work with a session from now on: all that a hand-over changes, in one step."""
        before, run = self._sessions.current, self.run
        self._sessions.replace(session)
        is_another_run = run is not None and not run.is_same(run_of(session, self._job))
        self._store.open_with(self._connect(session), is_another_run=is_another_run)
        self._session_store.forget(all_of_it=is_another_run)
        if session.is_of_the_run_of(before):
            self.catalog.forget_listing()
            if session.others:  # a later hand-over need not name them again
                self._others.read(session.others)
        else:  # what another run has named is not for this one, which may be of another repository
            self.catalog.forget_all()
            self._others.read(session.others or self._set_others, anew=is_another_run)
        text = "a session is in use: %s, %s; artifacts are kept for %s"
        _log.info(text, description, session.describe_end(), counted(session.retention.days, "day"))

    @property
    def others(self) -> Sequence[OtherRun]:
        """The other runs to read from, in their order."""
        return self._others.runs

    @property
    def public_host(self) -> str:
        """Under which host clients reach this relay: as it was set, else as the hand-over said."""
        session = self._sessions.current
        told = "" if "public_host" in self._settings.model_fields_set else session.public_host if session else ""
        return told or self._own_host

    @property
    def public_hosts(self) -> set[str]:
        """The host of the settings, and that of the hand-over."""
        session = self._sessions.current
        return {self._own_host, session.public_host} if session and session.public_host else {self._own_host}

    def status(self) -> BackendStatus:
        """Return in which state session and reader are."""
        session, state = self._sessions.current, self._sessions.state
        others = tuple(run.describe() for run in self.others)
        if self._reader and session is None:
            return BackendStatus(
                not self._reader.refusal,
                state,
                run=self._reader.run.run_id,
                head=self._reader.head,
                is_another_run=self._reader.another,
                others=others,
            )
        ready = state in {State.ACTIVE, State.EXPIRING}
        return BackendStatus(ready, state, session.expires if session else None, others=others)

    def closed(self) -> str:
        """Return why nothing can be pushed now; empty where it can."""
        return self._refusal() or self.catalog.closed

    def undeletable(self) -> str:
        """Return why nothing can be deleted now; empty where it can."""
        return self._refusal() or self.catalog.undeletable

    def _refusal(self) -> str:
        """Return why this relay only serves images."""
        if self._settings.access == "read":
            return READ_ONLY
        if self._handover.is_read_only:
            return _READ_BY_ACTION
        has_none = self._sessions.current is None and not self._settings.run_id
        return no_session(self._job.action) if has_none else ""

    def missing_message(self, wanted: str, there: str) -> str:
        """Return a sentence: a reference is not in the run, and why that may be."""
        state = self._sessions.state
        if state is State.EXPIRED:
            return f"{wanted} is not known here (known: {there or 'nothing'}): {_NOTHING_NEWER}"
        if state is State.NONE and not self._reader:
            return f"{wanted} is not here: {no_session(self._job.action)}"
        if self._reader and self._reader.another:
            return f"{wanted} is not in {self._reader.run} (it has: {there or 'nothing'}); another tag?"
        return (
            f'{wanted} is not in this run (it has: {there or "nothing yet"}). Missing "needs: build", or another tag?'
        )

    def by_hand(self, artifact: str) -> FileByHand | None:
        """Return how to download the file of an artifact; None for a bare archive, which `gh` does not unpack."""
        settings, job, session = self._settings, self._job, self._sessions.current
        if settings.artifact_format == "raw":
            return None
        run_id = settings.run_id or (session and session.run_id) or job.run_id
        return out_of_run(artifact, run_id, (session and session.repository) or job.repository)

    async def watch(self) -> None:
        """Log of which run images are read, and then, until it is cancelled, how the session is."""
        if self._reader:
            try:
                await self._reader.introduce()
            except StoreRefused as error:
                _log.warning("%s", error)
        await self._sessions.watch(self._session_poll)


def _trusted(settings: Settings, job: Job) -> tuple[str, ...]:
    if settings.trusted_hosts is not None:
        return settings.trusted_hosts
    return () if job.under_ci and job.server_is_github else _LOOPBACK
