"""Opens the back end that was chosen, with its connections."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from config.job import Job
from config.settings import Settings
from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.directory import DirectoryStore
from proxy.backends.actions import ActionsBackend
from proxy.backends.backend import Backend
from proxy.backends.choice import choose
from proxy.backends.directory import DirectoryBackend
from proxy.events import EventBus
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_backend(
    settings: Settings,
    job: Job,
    public_host: str,
    memory: MemoryBudget,
    events: EventBus,
    limits: Limits = DEFAULT,
) -> AsyncIterator[Backend]:
    """Open the back end of these settings in this job for the block. Raise StoreUnusable."""
    kind, reason = choose(settings, job)
    _log.info("images are kept in: %s (%s)", kind, reason)
    if kind == "directory":
        directory = DirectoryStore(settings.data)
        await directory.prepare()
        yield DirectoryBackend(directory, settings, public_host, limits)
        return
    connector = aiohttp.TCPConnector(limit=0)  # requests are limited where they are made
    async with aiohttp.ClientSession(
        connector=connector, trust_env=True, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        up, down = settings.upload_concurrency, settings.download_concurrency
        storage = BlobStorage(http, memory, up, down, limits.service, events=events)
        try:
            yield ActionsBackend(settings, job, public_host, storage, limits)
        finally:
            if storage.ranges:
                storage.ranges.close()
