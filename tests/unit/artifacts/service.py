"""A results service and a store over an emulator, as an open session gives them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from proxy.artifacts.actions.azure import BlobStorage
from proxy.artifacts.actions.results import ResultsService
from proxy.artifacts.actions.session import read
from proxy.artifacts.actions.store import ActionsStore
from proxy.artifacts.actions.trusted_hosts import TrustedHosts
from proxy.runtime.memory import MemoryBudget
from tests.actions_store.relays import HASTY
from tests.fakes.actions.emulator import Emulator, Job

MIB = 1024 * 1024


@asynccontextmanager
async def connected() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        yield http


def service(
    http: aiohttp.ClientSession,
    actions: Emulator,
    job: Job | None = None,
    retention: timedelta = timedelta(days=1),
) -> ResultsService:
    return ResultsService(http, read((job or actions.job()).token, actions.origin, retention), HASTY)


@asynccontextmanager
async def opened(
    actions: Emulator, folder: Path, job: Job | None = None, trusted: str | None = None, **settings: Any
) -> AsyncIterator[ActionsStore]:
    """Open a store with a session of a job, of `build` where none is named; the emulator is trusted unless told."""
    async with connected() as http:
        hosts = (actions.trusted_hosts if trusted is None else trusted).split(",")
        storage = BlobStorage(http, MemoryBudget(64 * MIB), timeouts=HASTY)
        store = ActionsStore(storage, TrustedHosts(frozenset(hosts)), folder, **settings)
        store.open_with(service(http, actions, job))
        yield store
