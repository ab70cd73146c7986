"""Where images are kept: which artifact store fits the surroundings, and what it needs to run."""

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from yarl import URL

from config.job import Job
from config.settings import Settings
from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.github_api import GitHubApi
from proxy.artifacts.actions.handover import Access, Handover
from proxy.artifacts.actions.rest_reader import RestReader, Run
from proxy.artifacts.actions.results import ResultsService
from proxy.artifacts.actions.session import Held, Session, SessionInvalid, State, read
from proxy.artifacts.actions.session_store import SessionStore
from proxy.artifacts.actions.store import NO_SESSION, ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.artifacts.base import StoreRefused
from proxy.artifacts.directory import DirectoryStore
from proxy.artifacts.load_command import out_of_folder, out_of_run
from proxy.artifacts.naming import Naming
from proxy.catalog.catalog import Catalog
from proxy.events import EventBus
from proxy.registry.lookup import not_here
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget

_log = logging.getLogger(__name__)
_NOTHING_NEWER = "the session of this job has expired, so newer images are not seen"
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
READ_ONLY = (
    "this relay only hands out images, since its session was handed over for that, or RELAY_ACCESS is set to it; "
    "to push or delete, start it with RELAY_ACCESS=write"
)
READS_ANOTHER_RUN = "this relay hands out the images of another run; push to one without RELAY_RUN_ID"


class StoreUnusable(Exception):
    """These settings and this job together give no store; the message says what is missing."""


@dataclass(slots=True)
class Stores:
    """The store that was chosen, its catalog, and how a session reaches it."""

    kind: str
    reason: str
    catalog: Catalog
    access: Access
    folder: Path
    directory: DirectoryStore | None = None
    actions: "Actions | None" = None

    def closed(self) -> str:
        """Why nothing can be pushed or deleted now; empty where it can."""
        return self.catalog.closed if self.access.writable else READ_ONLY

    def standing(self) -> dict[str, object]:
        """Say for `/relay/health` whether the store can be used, and by which session."""
        return self.actions.standing() if self.actions else {"ready": True}

    @property
    def absence(self) -> Callable[[str, str], str]:
        """Give the words for a reference that is not there."""
        return self.actions.absence if self.actions else not_here

    @property
    def place(self) -> str:
        """Say where images are, in words of our own."""
        return self.actions.place if self.actions else "the folder of the relay"

    def load(self, artifact: str) -> str:
        """Give the command that loads an artifact by hand, if there is one."""
        return self.actions.load(artifact) if self.actions else out_of_folder(artifact, self.folder)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have what the store works with ready."""
        if self.directory:
            await self.directory.prepare()
        async with self.actions.connected() if self.actions else nullcontext():
            yield


class Actions:
    """The Actions store with its connections."""

    def __init__(
        self, settings: Settings, job: Job, memory: MemoryBudget, access: Access, ledger: EventBus, limits: Limits
    ) -> None:
        self._settings = settings
        self._job = job
        self._reader: RestReader | None = None
        self._ledger = ledger
        self._storage = BlobStorage(memory, settings.upload_concurrency, settings.download_concurrency, ledger=ledger)
        trust = TrustedHosts(frozenset(_trusted(settings, job)), settings.trusted_hosts or ())
        folder = settings.data / "spool" / "uploads"
        any_job, form = settings.overwrite == "run", settings.artifact_format
        reserved = settings.data / "spool" / "reserved.json"
        self.store = ActionsStore(self._storage, trust, folder, any_job=any_job, form=form, reserved=reserved)
        self.held = Held()
        lasting = SessionStore(self.store, self.held)
        self.catalog = Catalog(lasting, Naming(settings.artifact_prefix), folder, limits)
        self.handover = Handover(
            self.store,
            lasting,
            self.held,
            trust,
            access,
            self._connect,
            settings.retention_days,
            guarded=settings.password is not None,
            refusal=READS_ANOTHER_RUN if settings.run_id else "",
            changed=self._changed,
        )

    def _connect(self, session: Session) -> ResultsService:
        return ResultsService(self._storage.http, session, self._storage.tempo, self._ledger)

    def _changed(self, another_run: bool) -> None:
        if another_run:
            self.catalog.forget_all()
        else:
            self.catalog.forget_listing()

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Hold connections open; use what the environment has of a session."""
        connector = aiohttp.TCPConnector(limit=0)  # requests are limited where they are made
        async with aiohttp.ClientSession(
            connector=connector, trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as http:
            self._storage.http = http
            self._read_with_token(http)
            self._begin()
            yield

    def _read_with_token(self, http: aiohttp.ClientSession) -> None:
        """Read by REST until there is a session, and another run for ever."""
        job, another = self._job, bool(self._settings.run_id)
        run = _run(self._settings, job)
        if not job.github_token:
            return
        if run is None:
            _log.warning("GITHUB_TOKEN is not used: GITHUB_REPOSITORY and GITHUB_RUN_ID do not say what to read")
            return
        api = GitHubApi(http, job.github_token, ledger=self._ledger)
        self._reader = RestReader(api, run, another=another, trust_forks=self._settings.trust_forks)
        self.store.read_with(self._reader, READS_ANOTHER_RUN if another else self.store.closed)
        _log.info("GITHUB_TOKEN reads the images of %s", run)

    def _begin(self) -> None:
        """Use the session of the environment: whoever set that vouches for its results service."""
        job = self._job
        if not (job.runtime_token and job.results_url) or self._settings.run_id:
            return
        try:
            session = read(job.runtime_token, job.results_url)
        except SessionInvalid as error:
            _log.warning("the session of the environment is not used: %s", error)
        else:
            self.handover.adopt(session, "of the environment")

    async def watch(self) -> None:
        """Tell of which run images are read, and then, for ever, how the session is."""
        if self._reader:
            try:
                await self._reader.introduce()
            except StoreRefused as error:
                _log.warning("%s", error)
        await self.handover.watch()

    # What is told

    def standing(self) -> dict[str, object]:
        """Say in which state session and reader are; nothing of this is a secret."""
        session, state = self.held.session, self.held.state(datetime.now(UTC))
        told: dict[str, object] = {"ready": state in {State.ACTIVE, State.EXPIRING}, "session": state.value}
        if session and session.expires:
            told["session_expires"] = session.expires.isoformat(timespec="seconds").replace("+00:00", "Z")
        if self._reader and state is State.NONE:
            head = self._reader.head
            told |= {"ready": not self._reader.refusal, "run": self._reader.run.run_id}
            told |= {"head": head.repository, "commit": head.commit, "event": head.event} if head else {}
        return told

    @property
    def place(self) -> str:
        """Say where images are, in words of our own."""
        return f"artifacts of run {self._settings.run_id}" if self._settings.run_id else "artifacts of this run"

    def load(self, artifact: str) -> str:
        """Give the command that loads an artifact by hand; none for a bare archive, which `gh` does not unpack."""
        settings, job, handover = self._settings, self._job, self.handover
        run_id, repository = handover.run_id or job.run_id, handover.repository or job.repository
        return "" if settings.artifact_format == "raw" else out_of_run(artifact, settings.run_id or run_id, repository)

    def absence(self, wanted: str, there: str) -> str:
        """Say that a reference is not in the run, and why that may be."""
        state = self.held.state(datetime.now(UTC))
        if state is State.EXPIRED:
            return f"{wanted} is not known here (known: {there or 'nothing'}): {_NOTHING_NEWER}"
        if state is State.NONE and not self._reader:
            return f"{wanted} is not here: {NO_SESSION.replace('push', 'pull')}"
        if self._reader and self._reader.another:
            return f"{wanted} is not in {self._reader.run} (it has: {there or 'nothing'}); another tag?"
        return (
            f'{wanted} is not in this run (it has: {there or "nothing yet"}). Missing "needs: build", or another tag?'
        )


def choose(settings: Settings, job: Job, memory: MemoryBudget, ledger: EventBus, limits: Limits = DEFAULT) -> Stores:
    """Make the store of these settings; StoreUnusable."""
    access = Access(writable=settings.access == "write")
    chosen, reason = _chosen(settings, job)
    _check(chosen, settings, job)
    if chosen == "actions":
        actions = Actions(settings, job, memory, access, ledger, limits)
        return Stores(chosen, reason, actions.catalog, access, settings.data, actions=actions)
    directory = DirectoryStore(settings.data)
    folder = settings.data / "spool" / "uploads"
    catalog = Catalog(directory, Naming(settings.artifact_prefix), folder, limits)
    return Stores(chosen, reason, catalog, access, settings.data, directory=directory)


def _chosen(settings: Settings, job: Job) -> tuple[str, str]:
    """Name the store, and why it is that one."""
    if settings.store != "auto":
        return settings.store, f"RELAY_STORE={settings.store}"
    if settings.run_id:
        return "actions", "RELAY_RUN_ID is set"
    if job.under_ci:
        return "actions", "GITHUB_ACTIONS=true"
    return "directory", "GITHUB_ACTIONS is not true"


def _check(chosen: str, settings: Settings, job: Job) -> None:
    if settings.run_id and chosen == "directory":
        raise StoreUnusable("RELAY_RUN_ID reads artifacts: leave it out, or RELAY_STORE=directory")
    if settings.run_id and not (job.github_token and _run(settings, job)):
        raise StoreUnusable(
            'RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN, of a job with "permissions: {actions: read}"'
        )


def _run(settings: Settings, job: Job) -> Run | None:
    """Give the run that can be read by REST, if it is told which that is."""
    run_id = settings.run_id or job.run_id
    if not (_REPOSITORY.fullmatch(job.repository) and run_id.isascii() and run_id.isdigit()):
        return None
    try:
        api = URL(job.api_url)
        api.origin()
    except ValueError:
        return None
    return Run(api, job.repository, run_id)


def _trusted(settings: Settings, job: Job) -> tuple[str, ...]:
    if settings.trusted_hosts is not None:
        return settings.trusted_hosts
    return () if job.under_ci and job.server_is_github else _LOOPBACK
