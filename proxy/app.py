"""The composition root: joins the parts of a relay, and runs them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial

from aiohttp import web

from config.job import Job
from config.settings import Settings
from proxy.api import access
from proxy.api.access_log import watch
from proxy.api.deadline import tell_at_once
from proxy.api.errors import as_oci_errors
from proxy.api.params import read_repository
from proxy.api.requests import Requests
from proxy.api.routes import ROUTES
from proxy.api.run_change import RunChange
from proxy.api.server import bind_all, listen, signalled
from proxy.api.services import NONCE, SERVICES, Services
from proxy.artifacts.naming import Naming
from proxy.backends.backend import Backend
from proxy.backends.opening import open_backend
from proxy.events import Event, EventBus
from proxy.oci.manifest import LIMIT
from proxy.oci.names import Tag, label
from proxy.registry.cleanup import Cleanup
from proxy.registry.deletion import Deletion
from proxy.registry.downloads import Downloads
from proxy.registry.elsewhere import Elsewhere
from proxy.registry.external_artifacts import ExternalArtifacts
from proxy.registry.image_export import ImageExport
from proxy.registry.image_import import ImageImport
from proxy.registry.keeping import Keeping
from proxy.registry.lookup import Lookup
from proxy.registry.manifest_cache import ManifestCache
from proxy.registry.mirror import Mirror
from proxy.registry.prefetch import Prefetch
from proxy.registry.push import Push
from proxy.registry.push_events import PushEvents
from proxy.registry.push_state import State
from proxy.registry.singleflight import SingleFlight
from proxy.registry.upstream_transfers import UpstreamTransfers
from proxy.registry.waiting import PullWait
from proxy.reporting.event_log import log_event
from proxy.reporting.history import History
from proxy.reporting.job_summary import JobSummary
from proxy.reporting.metrics import Metrics
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status
from proxy.runtime.files import locked, raise_open_files, trouble
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget, give_back_freed_memory, keep_freed_memory
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.spool.spool import Spool
from proxy.text import safe_text
from proxy.upstreams.client import UpstreamClient
from proxy.upstreams.hosts import Upstreams

Serving = Callable[[Services, int], Awaitable[None]]

_log = logging.getLogger(__name__)
_SWEEP = 60.0  # seconds between two looks at what the spool may give up
_IDLE = 5.0  # seconds between two looks whether freed memory is of no use for now
_END = 7.0  # seconds for all that is under way or pending when the relay is stopped; `docker stop` kills after 10


async def _nothing(_services: Services, _port: int) -> None:
    pass


def run(settings: Settings, job: Job, serving: Serving = _nothing, nonce: bytes = b"") -> bool:
    """Serve until SIGTERM or SIGINT, then make durable what is pending; return whether all of it is.

    `serving` is called once requests are answered; whoever asks for it gets a proof that this relay has the `nonce`.
    """
    keep_freed_memory()
    raise_open_files()  # a blob or archive that is being read is an open file
    with locked(settings.data):
        return asyncio.run(_run(settings, job, serving, nonce))


async def _run(settings: Settings, job: Job, serving: Serving, nonce: bytes) -> bool:
    asked = signalled()
    async with serve(settings, job, nonce=nonce) as (services, port):
        await serving(services, port)
        backend = services.backend
        _log.info("image-relay serves %s, images in %s", backend.public_host, backend.location)
        if closed := backend.closed():
            _log.info("nothing can be pushed now: %s", closed)
        else:
            image = f"{backend.public_host}/app:v1"
            first = f"docker login {backend.public_host} && " if settings.password else ""
            _log.info("to push to it: %sdocker tag app:v1 %s && docker push %s", first, image, image)
        await asked.wait()
        _log.info("stopping: what is pending is stored first")
    _log.info("stopped")
    return not services.push.pending()


@asynccontextmanager
async def serve(
    settings: Settings, job: Job, limits: Limits = DEFAULT, nonce: bytes = b""
) -> AsyncIterator[tuple[Services, int]]:
    """Serve until the block ends; yield the parts, and the port. Raise CannotListen, StoreUnusable, OSError."""
    with ExitStack() as bound:
        sockets = [bound.enter_context(each) for each in bind_all(settings.host, settings.port)]
        port = int(sockets[0].getsockname()[1])
        async with (
            wire(settings, job, port, limits) as services,
            listen(make_app(settings, services, nonce), sockets, partial(_end, services)),
        ):
            yield services, port


class Reports:
    """What reads the events, and the bus that hands them on, to `more` readers too."""

    def __init__(self, *more: Callable[[Event], None]) -> None:
        self.history = History()
        self.metrics = Metrics()
        self.events = EventBus(log_event, self.history.handle, self.metrics.handle, *more)


@asynccontextmanager
async def wire(settings: Settings, job: Job, port: int, limits: Limits = DEFAULT) -> AsyncIterator[Services]:
    """Put the parts together and let them work for the block. Raise StoreUnusable, OSError."""
    memory, reports = MemoryBudget(settings.memory_budget), Reports()
    public_host = settings.public_host if "public_host" in settings.model_fields_set else f"localhost:{port}"
    async with open_backend(settings, job, public_host, memory, reports.events, limits) as backend:
        services = assemble(settings, backend, memory, reports, limits)
        async with _at_work(services):
            yield services


def assemble(
    settings: Settings, backend: Backend, memory: MemoryBudget, reports: Reports, limits: Limits = DEFAULT
) -> Services:
    """Put the parts together; nothing is opened yet."""
    events = reports.events
    tasks, catalog, level = TaskSet(), backend.catalog, settings.compression_level
    spool = Spool(
        settings.data / "spool",
        level=level,
        memory=memory,
        cache_limit=settings.spool_limit if catalog.is_remote or settings.upstreams else 0,
        limits=limits,
    )
    flights, pulls = SingleFlight(tasks, limits), PullTracker(events)
    external = ExternalArtifacts(catalog, spool, flights, memory, Naming(settings.artifact_prefix), events)
    elsewhere = Elsewhere(lambda: backend.others)
    prefetch = Prefetch(catalog, tasks, limits, elsewhere)
    lookup = Lookup(spool, catalog, external, level, prefetch, backend.missing_message, elsewhere, limits)
    push = Push(
        spool,
        catalog,
        lookup,
        flights,
        lambda: backend.public_host,
        settings.settle_seconds,
        memory,
        PushEvents(events),
        limits,
    )
    downloads = Downloads(spool, memory, tasks, events)
    mirror = Mirror(
        Upstreams(settings.upstreams or (), settings.logins),
        UpstreamClient(events, limits.upstream, limits.upstream_stall, limits.upstream_patience),
        UpstreamTransfers(spool, tasks, limits, level, events),
        flights,
        limits,
        level,
        lookup if settings.upstream_keep else None,
    )
    status, requests = Status(lookup, push, backend, reports.history), Requests()
    keeping = Keeping(mirror, push, backend.closed, is_wanted=settings.upstream_keep)
    pull_wait = PullWait(lookup, settings.wait, limits.wait_pauses)
    return Services(
        limits=limits,
        backend=backend,
        events=events,
        memory=memory,
        tasks=tasks,
        spool=spool,
        lookup=lookup,
        manifest_cache=ManifestCache(catalog),
        mirror=mirror,
        keeping=keeping,
        pull_wait=pull_wait,
        push=push,
        deletion=Deletion(lookup, push),
        cleanup=Cleanup(lookup, push),
        downloads=downloads,
        image_import=ImageImport(spool, push),
        image_export=ImageExport(lookup, downloads),
        flights=flights,
        pulls=pulls,
        metrics=reports.metrics,
        status=status,
        summary=JobSummary(status, pulls),
        requests=requests,
        run_change=RunChange(backend, push, keeping, pull_wait, pulls, requests, limits.between_runs),
    )


def make_app(settings: Settings, services: Services, nonce: bytes = b"") -> web.Application:
    """Make the web application: routes, middlewares, and the parts under one key."""
    backend = services.backend
    guards = [access.hosts(lambda: backend.public_hosts), access.no_pages]
    if settings.password is not None:
        guards.append(access.password(settings.password.get_secret_value(), lambda: backend.public_host))
    middlewares = [
        watch(services.events),
        as_oci_errors,
        services.requests.middleware,
        *guards,
        access.open_for(backend.closed, backend.undeletable),
        tell_at_once,
        read_repository,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=LIMIT)
    app[SERVICES] = services
    app[NONCE] = nonce
    app.add_routes(ROUTES)
    return app


@asynccontextmanager
async def _at_work(services: Services) -> AsyncIterator[None]:
    """Open the spool and run what works by itself; at the end give up what is not over, and say what that is."""
    push, tasks = services.push, services.tasks
    services.run_change.log_lost(*await services.spool.open(services.backend.run))
    push.restore()
    background = [
        tasks.spawn(work)
        for work in (
            push.seal_idle(),
            push.interim.watch(),
            push.catalog.lingering.watch(),
            services.pulls.watch(),
            services.keeping.watch(),
            services.backend.watch(),
            _sweep(services.spool),
            _give_back(services.requests),
        )
    ]
    try:
        yield
    finally:
        services.pulls.end()
        for task in background:
            task.cancel()
        await tasks.cancel_all()
        await services.mirror.client.close()
        _log_what_is_left(push)


async def _sweep(spool: Spool) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        try:
            await spool.sweep()
        except OSError as error:  # the next sweep may go better
            _log.warning("%s", trouble(spool.root, error))


async def _give_back(requests: Requests) -> None:
    """Give freed memory back to the system once the relay is idle again; while it works, it soon needs it."""
    seen = 0
    while True:
        await asyncio.sleep(_IDLE)
        if requests.is_idle and requests.served > seen:
            seen = requests.served
            await run_in_thread(give_back_freed_memory)


async def _end(services: Services) -> None:
    """Make durable what is pending, at once, and let requests under way end, all within the time that there is."""
    services.flights.stop_redirecting()
    changing, under_way = services.requests.begin(_END)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END):
            await asyncio.gather(services.push.flush(), *(asyncio.wait([each]) for each in changing))
            await services.push.flush()  # what those requests have left pending
            await asyncio.gather(*(asyncio.wait([each]) for each in under_way))


def _log_what_is_left(push: Push) -> None:
    """Name what was accepted, or was about to be, and is in no artifact."""
    for each in push.pushed():
        if each.state is State.SEALING and isinstance(each.reference, Tag):
            _log.error("%s was not stored before the end; push it again", label(each.name, each.reference))
    for each in push.pending():
        why = each.problem or "there was no time to store it"
        kept = f"a relay with the same data folder ({push.spool.root.parent}) will have it again"
        _log.error("%s is not durable: %s; %s", label(each.name, each.reference), safe_text(why), kept)
