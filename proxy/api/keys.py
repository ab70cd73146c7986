"""What handlers find in the application, under typed keys."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.artifacts.actions.handover import Handover
from proxy.registry.deletion import Deletion
from proxy.registry.downloads import Downloads
from proxy.registry.image_export import ImageExport
from proxy.registry.image_import import ImageImport
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.registry.singleflight import SingleFlight
from proxy.reporting.job_summary import JobSummary
from proxy.reporting.metrics import Metrics
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status
from proxy.runtime.memory import MemoryBudget
from proxy.spool.spool import Spool

DELETION = web.AppKey("deletion", Deletion)
DEPARTURES = web.AppKey("departures", PullTracker)
END = web.AppKey[Callable[[], Awaitable[None]]]("end")
FETCHING = web.AppKey("fetching", Downloads)
FLIGHTS = web.AppKey("flights", SingleFlight)
HANDOUT = web.AppKey("handout", ImageExport)
HANDOVER = web.AppKey("handover", Handover)
INTAKE = web.AppKey("intake", ImageImport)
LOOKUP = web.AppKey("lookup", Lookup)
MEMORY = web.AppKey("memory", MemoryBudget)
METRICS = web.AppKey("metrics", Metrics)
PUSH = web.AppKey("push", Push)
REPORT = web.AppKey("report", Status)
SPOOL = web.AppKey("spool", Spool)
SUMMARY = web.AppKey("summary", JobSummary)

MESSAGE = web.RequestKey("message", str)  # what a failure said to the client
UNANSWERED = web.RequestKey("unanswered", bool)  # the answer broke off, or reached nobody
