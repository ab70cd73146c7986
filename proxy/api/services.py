"""The parts of a running relay, as request handlers find them in the application: `request.app[SERVICES]`."""

from dataclasses import dataclass

from aiohttp import web

from proxy.api.requests import Requests
from proxy.api.run_change import RunChange
from proxy.backends.backend import Backend
from proxy.events import EventBus
from proxy.registry.cleanup import Cleanup
from proxy.registry.deletion import Deletion
from proxy.registry.downloads import Downloads
from proxy.registry.image_export import ImageExport
from proxy.registry.image_import import ImageImport
from proxy.registry.keeping import Keeping
from proxy.registry.lookup import Lookup
from proxy.registry.manifest_cache import ManifestCache
from proxy.registry.mirror import Mirror
from proxy.registry.push import Push
from proxy.registry.singleflight import SingleFlight
from proxy.registry.waiting import PullWait
from proxy.reporting.job_summary import JobSummary
from proxy.reporting.metrics import Metrics
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status
from proxy.runtime.limits import Limits
from proxy.runtime.memory import MemoryBudget
from proxy.runtime.tasks import TaskSet
from proxy.spool.spool import Spool


@dataclass(frozen=True, slots=True)
class Services:
    """What `proxy.app.assemble` has put together."""

    limits: Limits
    backend: Backend
    events: EventBus
    memory: MemoryBudget
    tasks: TaskSet
    spool: Spool
    lookup: Lookup
    manifest_cache: ManifestCache
    pull_wait: PullWait
    mirror: Mirror
    keeping: Keeping
    push: Push
    deletion: Deletion
    cleanup: Cleanup
    downloads: Downloads
    image_import: ImageImport
    image_export: ImageExport
    flights: SingleFlight
    pulls: PullTracker
    metrics: Metrics
    status: Status
    summary: JobSummary
    requests: Requests
    run_change: RunChange


SERVICES = web.AppKey("services", Services)
NONCE = web.AppKey("nonce", bytes)  # known to whoever started the relay; empty where nobody needs a proof
