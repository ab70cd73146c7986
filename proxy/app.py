"""The composition root: joins the parts, and sees to their life."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Middleware

from config.job import Job
from config.settings import Settings
from proxy.api import access, keys
from proxy.api.access_log import watch
from proxy.api.errors import as_oci_errors
from proxy.api.routes import ROUTES
from proxy.api.server import listen, signalled
from proxy.api.shutdown import Shutdown
from proxy.backends import Stores, choose
from proxy.events import EventBus
from proxy.oci.manifest import LIMIT
from proxy.oci.names import Tag, label
from proxy.registry.deletion import Deletion
from proxy.registry.downloads import Downloads
from proxy.registry.external_artifacts import ExternalArtifacts
from proxy.registry.image_export import ImageExport
from proxy.registry.image_import import ImageImport
from proxy.registry.lookup import Lookup
from proxy.registry.prefetch import Prefetch
from proxy.registry.push import Push
from proxy.registry.push_events import PushEvents
from proxy.registry.push_state import State
from proxy.registry.singleflight import SingleFlight
from proxy.reporting.event_log import log_event
from proxy.reporting.history import History
from proxy.reporting.job_summary import JobSummary
from proxy.reporting.metrics import Metrics
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status
from proxy.runtime.files import locked, trouble
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget, share_arenas
from proxy.runtime.tasks import TaskSet
from proxy.spool.spool import Spool
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_SWEEP = 60.0  # seconds between two looks at what the spool may give up
_END = 7.0  # seconds for all that is under way or pending when the relay is stopped; `docker stop` kills after 10


def build(settings: Settings, job: Job | None = None, limits: Limits = DEFAULT) -> web.Application:
    """Make the service of these settings in this job; nothing is opened before it starts."""
    memory, history, metrics = MemoryBudget(settings.memory_budget), History(), Metrics()
    ledger = EventBus(log_event, history.handle, metrics.handle)
    stores = choose(settings, job or Job(), memory, ledger, limits)
    spool = Spool(
        settings.data / "spool",
        level=settings.compression_level,
        memory=memory,
        cache_limit=settings.spool_limit if stores.actions else 0,
        limits=limits,
    )
    crew, departures = TaskSet(), PullTracker(ledger)
    flights = SingleFlight(crew, limits)
    foreign = ExternalArtifacts(stores.catalog, spool, flights, memory, ledger)
    warming, level = Prefetch(stores.catalog, crew, limits), settings.compression_level
    lookup = Lookup(spool, stores.catalog, foreign, level, warming, stores.absence, limits)
    journal, pace = PushEvents(ledger), settings.settle_seconds
    push = Push(spool, stores.catalog, lookup, flights, settings.public_host, pace, memory, journal, limits)
    report = Status(lookup, push, stores.kind, stores.standing, history)
    hosts, ending = [settings.public_host], Shutdown()
    middlewares = [watch(ledger), as_oci_errors, ending.middleware, *_middlewares(settings, stores, push, hosts)]
    app = web.Application(middlewares=middlewares, client_max_size=LIMIT)
    app[keys.LOOKUP], app[keys.MEMORY], app[keys.PUSH], app[keys.SPOOL] = lookup, memory, push, spool
    app[keys.DELETION] = Deletion(lookup, push)
    app[keys.DEPARTURES] = departures
    app[keys.FETCHING] = fetching = Downloads(spool, memory, crew, ledger)
    app[keys.INTAKE], app[keys.HANDOUT] = ImageImport(spool, push), ImageExport(lookup, fetching)
    app[keys.END] = lambda: _end(ending, flights, push)
    app[keys.FLIGHTS], app[keys.METRICS], app[keys.REPORT] = flights, metrics, report
    another = settings.run_id is not None
    app[keys.SUMMARY] = JobSummary(report, history, departures, stores.place, stores.load, another=another)
    if stores.actions:
        app[keys.HANDOVER] = stores.actions.handover
        stores.actions.handover.rename = _renaming(push, hosts, by_hand="public_host" in settings.model_fields_set)
    app.add_routes(ROUTES)
    app.cleanup_ctx.append(lambda _: _life(stores, push, departures, crew))
    return app


def _renaming(push: Push, hosts: list[str], *, by_hand: bool) -> Callable[[str], None]:
    """Give what a hand-over tells under which host clients reach this relay; what was set `by_hand` stays in names."""

    def rename(host: str) -> None:
        hosts[1:] = [host]
        if not by_hand:
            push.public_host = host

    return rename


async def _life(stores: Stores, push: Push, departures: PullTracker, crew: TaskSet) -> AsyncIterator[None]:
    """Open what the service works with; at its end give up what is not over by then, and say what that is."""
    _log.info("images are kept in: %s (%s)", stores.kind, stores.reason)
    async with stores.opened():
        await push.spool.open()
        push.restore()
        background = [
            crew.spawn(work)
            for work in (push.seal_idle(), push.superseded.watch(), departures.watch(), _sweep(push.spool))
        ]
        if stores.actions:
            background.append(crew.spawn(stores.actions.watch()))
        yield
        departures.end()
        for task in background:
            task.cancel()
        await crew.cancel_all()
        _tell_what_is_left(push)


async def _end(ending: Shutdown, flights: SingleFlight, push: Push) -> None:
    """Make durable what is pending, at once, and let requests under way end, all within the time that there is."""
    flights.hold()
    changing, under_way = ending.begin(_END)
    with suppress(TimeoutError):
        async with asyncio.timeout(_END):
            await asyncio.gather(push.flush(), *(asyncio.wait([each]) for each in changing))
            await push.flush()  # what those requests have left pending
            await asyncio.gather(*(asyncio.wait([each]) for each in under_way))


def _tell_what_is_left(push: Push) -> None:
    """Name what was accepted, or was about to be, and is in no artifact."""
    for each in push.pushed():
        if each.state is State.SEALING and isinstance(each.reference, Tag):
            _log.error("%s was not stored before the end; push it again", label(each.name, each.reference))
    for each in push.pending():
        why = each.problem or "there was no time to store it"
        kept = f"a relay over the same data folder ({push.spool.root.parent}) has it again"
        _log.error("%s is not durable: %s; %s", label(each.name, each.reference), safe_text(why), kept)


async def _sweep(spool: Spool) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        try:
            await spool.sweep()
        except OSError as error:  # the next sweep may go better
            _log.warning("%s", trouble(spool.root, error))


def _middlewares(settings: Settings, stores: Stores, push: Push, hosts: Collection[str]) -> list[Middleware]:
    chosen = [access.hosts(hosts), access.no_pages]
    if settings.password is not None:
        chosen.append(access.password(settings.password.get_secret_value(), lambda: push.public_host))
    chosen.append(access.open_for(stores.closed))
    return chosen


def run(settings: Settings, job: Job) -> bool:
    """Serve until SIGTERM or SIGINT, then make durable what is pending; return whether all of it is."""
    share_arenas()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a blob or archive that is being read is an open file
    with locked(settings.data):
        return asyncio.run(_serve(settings, job))


async def _serve(settings: Settings, job: Job) -> bool:
    app, asked = build(settings, job), signalled()
    async with listen(app, settings.host, settings.port) as port:
        if settings.port != port and "public_host" not in settings.model_fields_set:
            app[keys.PUSH].public_host = f"localhost:{port}"
        where = settings.data if app[keys.REPORT].store == "directory" else "artifacts of the run"
        _log.info("image-relay serves %s, images in %s", app[keys.PUSH].public_host, where)
        await asked.wait()
        _log.info("stopping: what is pending is stored first")
    left = app[keys.PUSH].pending()
    _log.info("stopped")
    return not left
