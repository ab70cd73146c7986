"""Where images are kept: which artifact store fits the surroundings, and what it needs to run."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

import aiohttp
from yarl import URL

from config.job import Job
from config.settings import Settings
from proxy.artifacts.actions import ActionsStore
from proxy.artifacts.blobs import BlobStorage
from proxy.artifacts.directory import DirectoryStore
from proxy.artifacts.naming import Naming
from proxy.artifacts.rest import RestReader, Run
from proxy.artifacts.results import ResultsService
from proxy.artifacts.trust import Trust
from proxy.catalog import Catalog
from proxy.memory import Memory
from proxy.registry.handover import Access, Handover
from proxy.session import Session, SessionInvalid, read

_log = logging.getLogger(__name__)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
READ_ONLY = "this relay only hands out images; to push or delete, start it with RELAY_ACCESS=write"
READS_ANOTHER_RUN = "this relay hands out the images of another run; push to one without RELAY_RUN_ID"


@dataclass(slots=True)
class Stores:
    """The store that was chosen, its catalog, and how a session reaches it."""

    kind: str
    reason: str
    catalog: Catalog
    access: Access
    directory: DirectoryStore | None = None
    actions: "Actions | None" = None

    def closed(self) -> str:
        """Why nothing can be pushed or deleted now; empty where it can."""
        return self.catalog.closed if self.access.writable else READ_ONLY

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have what the store works with ready."""
        if self.directory:
            await self.directory.prepare()
        async with self.actions.connected() if self.actions else nullcontext():
            yield


class Actions:
    """The Actions store with its connections."""

    def __init__(self, settings: Settings, job: Job, memory: Memory, access: Access) -> None:
        self._settings = settings
        self._job = job
        self._storage = BlobStorage(memory, settings.upload_concurrency, settings.download_concurrency)
        trust = Trust(frozenset(_trusted(settings, job)))
        folder = settings.data / "spool" / "uploads"
        self.store = ActionsStore(self._storage, trust, folder, any_job=settings.overwrite == "run")
        self.catalog = Catalog(self.store, Naming(settings.artifact_prefix))
        self.handover = Handover(self.store, self.catalog, trust, access, self._connect, settings.retention_days)

    def _connect(self, session: Session) -> ResultsService:
        return ResultsService(self._storage.http, session)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Hold connections open; use what the environment has of a session."""
        connector = aiohttp.TCPConnector(limit=0)  # requests are limited where they are made
        async with aiohttp.ClientSession(
            connector=connector, trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        ) as http:
            self._storage.http = http
            self._begin(http)
            yield

    def _begin(self, http: aiohttp.ClientSession) -> None:
        job, settings = self._job, self._settings
        if job.github_token and job.repository and (run_id := settings.run_id or job.run_id):
            run = Run(URL(job.api_url), job.repository, run_id, job.github_token)
            reader = RestReader(http, run)
            self.store.read_with(reader, READS_ANOTHER_RUN if settings.run_id else self.store.closed)
        if job.runtime_token and job.results_url and not settings.run_id:
            try:
                session = read(job.runtime_token, job.results_url)
            except SessionInvalid as error:
                _log.warning("the session of the environment is not used: %s", error)
            else:
                self.handover.adopt(session)


def choose(settings: Settings, job: Job, memory: Memory) -> Stores:
    """Make the store of these settings."""
    access = Access(writable=settings.access == "write")
    chosen, reason = settings.store, "as set"
    if chosen == "auto":
        chosen = "actions" if job.under_ci else "directory"
        reason = "GITHUB_ACTIONS=true" if job.under_ci else "not in a workflow"
    if chosen == "actions":
        actions = Actions(settings, job, memory, access)
        return Stores(chosen, reason, actions.catalog, access, actions=actions)
    directory = DirectoryStore(settings.data)
    catalog = Catalog(directory, Naming(settings.artifact_prefix))
    return Stores(chosen, reason, catalog, access, directory=directory)


def _trusted(settings: Settings, job: Job) -> tuple[str, ...]:
    if settings.trusted_hosts is not None:
        return settings.trusted_hosts
    return () if job.under_ci and job.server_is_github else _LOOPBACK
