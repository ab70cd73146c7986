"""What handlers find in the application, under typed keys."""

from aiohttp import web

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
from proxy.store.spool import Spool

DELETION = web.AppKey("deletion", Deletion)
FETCHING = web.AppKey("fetching", Fetching)
FLIGHTS = web.AppKey("flights", Flights)
HANDOUT = web.AppKey("handout", Handout)
HANDOVER = web.AppKey("handover", Handover)
INTAKE = web.AppKey("intake", Intake)
LOOKUP = web.AppKey("lookup", Lookup)
MEMORY = web.AppKey("memory", Memory)
PUSH = web.AppKey("push", Push)
REPORT = web.AppKey("report", Report)
SPOOL = web.AppKey("spool", Spool)
