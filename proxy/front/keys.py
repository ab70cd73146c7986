"""What handlers find in the application, under typed keys."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.front.metrics import Metrics
from proxy.memory import Memory
from proxy.registry.deletion import Deletion
from proxy.registry.fetching import Fetching
from proxy.registry.flights import Flights
from proxy.registry.handout import Handout
from proxy.registry.handover import Handover
from proxy.registry.intake import Intake
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.registry.report import Report
from proxy.registry.summary import Summary
from proxy.registry.transfers import Departures
from proxy.store.spool import Spool

DELETION = web.AppKey("deletion", Deletion)
DEPARTURES = web.AppKey("departures", Departures)
END = web.AppKey[Callable[[], Awaitable[None]]]("end")
FETCHING = web.AppKey("fetching", Fetching)
FLIGHTS = web.AppKey("flights", Flights)
HANDOUT = web.AppKey("handout", Handout)
HANDOVER = web.AppKey("handover", Handover)
INTAKE = web.AppKey("intake", Intake)
LOOKUP = web.AppKey("lookup", Lookup)
MEMORY = web.AppKey("memory", Memory)
METRICS = web.AppKey("metrics", Metrics)
PUSH = web.AppKey("push", Push)
REPORT = web.AppKey("report", Report)
SPOOL = web.AppKey("spool", Spool)
SUMMARY = web.AppKey("summary", Summary)

MESSAGE = web.RequestKey("message", str)  # what a failure said to the client
UNANSWERED = web.RequestKey("unanswered", bool)  # the answer broke off, or reached nobody
