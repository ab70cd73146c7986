"""What handlers find in the application, under typed keys."""

from aiohttp import web

from proxy.memory import Memory
from proxy.registry.deletion import Deletion
from proxy.registry.fetching import Fetching
from proxy.registry.handover import Handover
from proxy.registry.lookup import Lookup
from proxy.registry.push import Push
from proxy.registry.report import Report
from proxy.registry.transfers import Departures
from proxy.store.spool import Spool

DELETION = web.AppKey("deletion", Deletion)
DEPARTURES = web.AppKey("departures", Departures)
FETCHING = web.AppKey("fetching", Fetching)
HANDOVER = web.AppKey("handover", Handover)
LOOKUP = web.AppKey("lookup", Lookup)
MEMORY = web.AppKey("memory", Memory)
PUSH = web.AppKey("push", Push)
REPORT = web.AppKey("report", Report)
SPOOL = web.AppKey("spool", Spool)
