"""All of it together: results service, REST and blob storage, on free ports of one event loop.

async with serving(Options(), folder, azurite) as actions:
    job = actions.job("build")
    ...                     # a client with `job.environment()`
    assert actions.traffic.results_calls == 4
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.fakes.actions import blob_proxy, kinds, tokens
from tests.fakes.actions.act import ActResults
from tests.fakes.actions.blob_proxy import BlobProxy
from tests.fakes.actions.faults import Plan
from tests.fakes.actions.gitea import GiteaResults
from tests.fakes.actions.github import GitHubResults
from tests.fakes.actions.ledger import Ledger
from tests.fakes.actions.local_urls import DOWNLOAD, UPLOAD, LocalUrls
from tests.fakes.actions.options import Flavour, Options
from tests.fakes.actions.playing import player
from tests.fakes.actions.rest import READ_TOKEN, Rest
from tests.fakes.actions.runs import Run, Runs
from tests.fakes.actions.sas import Issued
from tests.fakes.actions.storage import BlobStorage, elsewhere
from tests.fakes.actions.traffic import Traffic
from tests.fakes.actions.twirp import BASE, Twirp
from tests.fakes.actions.violations import Violations

_RUN = 1001  # the number of the run whose jobs are asked for without one
_CUT_AFTER = 0.1  # seconds; at the end nobody waits for stalled requests
_LARGEST_BODY = 16 * 1024 * 1024  # bytes; of block lists, which are read whole


@dataclass(frozen=True, slots=True)
class Job:
    """One job of one attempt of a run."""

    name: str
    run: Run
    id: str
    token: str = field(repr=False)


class Emulator:
    """What a test holds in its hand; see `Options`, `Plan` and `Traffic` for what it can turn and read."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.plan = Plan()
        self.traffic = Traffic()
        self.violations = Violations()
        self.issued = Issued()
        self.runs = Runs(options)
        self.ledger = Ledger(options, self.runs)
        self.origin = ""
        self.blob_origin = ""
        self.ended_jobs: set[str] = set()

    def job(self, name: str = "build", *, run: int = _RUN, attempt: int = 1, expires_in: float = 6 * 3600.0) -> Job:
        """Return a job with a fresh token."""
        made = self.runs.attempt_of(run, attempt)
        job_id = self.runs.job_id(made, name)
        return Job(name, made, job_id, tokens.mint(made.backend_id, job_id, expires_in))

    def environment(self, job: Job) -> dict[str, str]:
        """Return what a relay of this job finds in its environment."""
        return {
            "ACTIONS_RESULTS_URL": f"{self.origin}/",
            "ACTIONS_RUNTIME_TOKEN": job.token,
            "GITHUB_API_URL": self.origin,
            "GITHUB_REPOSITORY": self.options.repository,
            "GITHUB_RUN_ATTEMPT": str(job.run.attempt),
            "GITHUB_RUN_ID": str(job.run.number),
            "GITHUB_TOKEN": READ_TOKEN,
            "RELAY_TRUSTED_HOSTS": self.trusted_hosts,
        }

    @property
    def trusted_hosts(self) -> str:
        """The hosts of the results service and of the signed URLs."""
        origins = (self.origin, self.blob_origin, elsewhere(self.blob_origin))
        hosts = [origin.partition("://")[2] for origin in origins if origin]
        return ",".join(dict.fromkeys(hosts))

    def expire_urls(self) -> None:
        """End every signed URL that was issued up to now."""
        self.issued.expire_all()

    def expire_artifact(self, name: str) -> None:
        """Let the retention of every artifact of this name be over."""
        for record in self.ledger.records:
            record.expired = record.expired or record.name == name


@asynccontextmanager
async def serving(
    options: Options, folder: Path, azurite: str | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Emulator]:
    """Serve until the end of the `with`; Azurite's origin is needed for the flavour github alone."""
    emulator = Emulator(options, folder)
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        application = _application(emulator)
        if options.flavour is Flavour.GITHUB:
            assert azurite, "the flavour github needs Azurite"
            storage = await _add_github(emulator, application, azurite, stack)
            if not options.direct:
                storage.public_origin = await _serve_blobs(emulator, azurite, host, stack)
            elif options.direct_origin:
                storage.public_origin = options.direct_origin
            emulator.blob_origin = storage.public_origin
        else:
            _add_local(emulator, application)
        emulator.origin = await _listen(application, host, port, stack)
        yield emulator


def _application(emulator: Emulator) -> web.Application:
    play = player(emulator.plan, emulator.traffic, emulator.violations, _kind_of)
    return web.Application(middlewares=[play], client_max_size=_LARGEST_BODY)


def _kind_of(request: web.Request) -> str:
    """Name a request to the results service, REST, or the bytes of a server that keeps them itself."""
    method = request.match_info.get("method")
    if method is not None:
        return method if method in kinds.RESULTS else kinds.UNKNOWN
    if request.path in {f"{BASE}/{UPLOAD}", f"{BASE}/{DOWNLOAD}"}:
        return blob_proxy.kind_of(request)
    kind = getattr(request.match_info.handler, "__name__", "")
    return kind if kind in kinds.REST else kinds.UNKNOWN


async def _add_github(
    emulator: Emulator, application: web.Application, azurite: str, stack: AsyncExitStack
) -> BlobStorage:
    session = await stack.enter_async_context(_session())
    storage = BlobStorage(emulator.options, session, azurite, emulator.issued)
    await storage.create()
    stack.push_async_callback(storage.drop)
    results = GitHubResults(emulator.options, emulator.ledger, storage)
    rest = Rest(emulator.options, emulator.runs, emulator.ledger, results)
    application.router.add_routes(rest.routes())
    application.router.add_post(BASE + "/{method}", Twirp(emulator.options, results).handle)

    async def tell_time(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("Date", formatdate(time.time() + emulator.options.ahead, usegmt=True))

    application.on_response_prepare.append(tell_time)
    return storage


async def _serve_blobs(emulator: Emulator, azurite: str, host: str, stack: AsyncExitStack) -> str:
    session = await stack.enter_async_context(_session())
    proxy = BlobProxy(emulator.options, session, azurite, emulator.issued, emulator.violations)
    play = player(emulator.plan, emulator.traffic, emulator.violations, blob_proxy.kind_of)
    application = web.Application(middlewares=[play])
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    return await _listen(application, host, 0, stack)


def _add_local(emulator: Emulator, application: web.Application) -> None:
    urls = LocalUrls(emulator.issued)
    kind = ActResults if emulator.options.flavour is Flavour.ACT else GiteaResults
    results = kind(emulator.options, urls, emulator.folder, emulator.violations)
    if isinstance(results, GiteaResults):
        results.ended_jobs = emulator.ended_jobs
    application.router.add_put(f"{BASE}/{UPLOAD}", results.upload)
    application.router.add_get(f"{BASE}/{DOWNLOAD}", results.download, allow_head=False)
    application.router.add_post(BASE + "/{method}", Twirp(emulator.options, results).handle)


def _session() -> aiohttp.ClientSession:
    # Azurite closes idle connections at moments of its own, so none is used twice.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)


async def _listen(application: web.Application, host: str, port: int, stack: AsyncExitStack) -> str:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_CUT_AFTER)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, host, port).start()
    return f"http://{host}:{runner.addresses[0][1]}"
