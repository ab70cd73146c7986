"""The composition root: joins the parts, and sees to their life."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Middleware

from config.settings import Settings
from proxy.artifacts.directory import DirectoryStore
from proxy.artifacts.naming import Naming
from proxy.catalog import Catalog
from proxy.files import locked, trouble
from proxy.front import gate, keys
from proxy.front.errors import as_oci_errors
from proxy.front.listening import listen, stopped
from proxy.front.routes import ROUTES
from proxy.memory import Memory, share_arenas
from proxy.oci.manifest import LIMIT
from proxy.offload import Crew
from proxy.registry.deletion import Deletion
from proxy.registry.flights import PATIENCE, Flights
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.registry.report import Report
from proxy.store.spool import Spool

_log = logging.getLogger(__name__)
_SWEEP = 60.0  # seconds between two looks at what the spool may give up


def build(settings: Settings, patience: float = PATIENCE) -> web.Application:
    """Make the service of these settings; nothing is opened before it starts.

    `patience` is how many seconds a request waits for an artifact until its client is told to come again.
    """
    store = DirectoryStore(settings.data)
    memory = Memory(settings.memory_budget)
    spool = Spool(settings.data / "spool", level=settings.compression_level, memory=memory)
    catalog = Catalog(store, Naming(settings.artifact_prefix))
    lookup = Lookup(spool, catalog, settings.compression_level)
    crew = Crew()
    push = Push(spool, catalog, lookup, Flights(crew, patience), settings.public_host, settings.settle_seconds, memory)

    async def life(_: web.Application) -> AsyncIterator[None]:
        await store.prepare()
        await spool.open()
        push.restore()
        background = [crew.start(push.settle()), crew.start(_sweep(spool))]
        yield
        for failed in await push.flush():
            _log.error("%s@%s is not durable: %s", failed.name, failed.digest, failed.problem)
        for task in background:
            task.cancel()
        await crew.dismiss()

    app = web.Application(middlewares=_middlewares(settings, push), client_max_size=LIMIT)
    app[keys.LOOKUP], app[keys.MEMORY], app[keys.PUSH], app[keys.SPOOL] = lookup, memory, push, spool
    app[keys.DELETION] = Deletion(lookup, push)
    app[keys.REPORT] = Report(lookup, push, "directory")
    app.add_routes(ROUTES)
    app.cleanup_ctx.append(life)
    return app


async def _sweep(spool: Spool) -> None:
    while True:
        await asyncio.sleep(_SWEEP)
        try:
            await spool.sweep()
        except OSError as error:  # the next sweep may go better
            _log.warning("%s", trouble(spool.root, error))


def _middlewares(settings: Settings, push: Push) -> list[Middleware]:
    chosen = [as_oci_errors, gate.hosts(settings.public_host)]
    if settings.password is not None:
        chosen.append(gate.password(settings.password.get_secret_value(), lambda: push.public_host))
    if settings.access == "read":
        chosen.append(gate.read_only())
    return chosen


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then make durable what is pending."""
    share_arenas()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a blob or archive that is being read is an open file
    with locked(settings.data):
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    app = build(settings)
    async with listen(app, settings.host, settings.port) as port:
        if settings.port != port and "public_host" not in settings.model_fields_set:
            app[keys.PUSH].public_host = f"localhost:{port}"
        _log.info("image-relay serves %s, images in %s", app[keys.PUSH].public_host, settings.data)
        await stopped()
        _log.info("stopping: what is pending is stored first")
    _log.info("stopped")
