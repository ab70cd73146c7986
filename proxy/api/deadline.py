"""Answers that would begin later than clients wait: those are told to come again, and wait for the same work."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import uuid4

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.api.services import SERVICES
from proxy.artifacts.outages import CURRENT_READER
from proxy.errors import StillUnderWay

T = TypeVar("T")

_TICKET = "waiting"


@web.middleware
async def tell_at_once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a GET at once where the same thing has just failed, for itself or for others."""
    CURRENT_READER.set(object() if request.method == "GET" else None)
    return await handler(request)


async def within(request: web.Request, work: Callable[[], Coroutine[Any, Any, T]], *, pulls: bool = False) -> T:
    """Do what has to be done before an answer can begin; StillUnderWay if it takes too long, and it goes on.

    Each request does work of its own, and so knows of all that was answered before it came. Only a client that was
    redirected with a ticket joins the work that its first request began. A HEAD that `pulls` is refused at once, as a
    GET is, where the same thing has just failed: any other may be the begin of a push.
    """
    if pulls and request.method == "HEAD":
        CURRENT_READER.set(object())
    ticket = request.query.get(_TICKET) or uuid4().hex
    try:
        asked = (request.method, request.path, request.headers.get("Range"), request.headers.get("Content-Type"))
        return await request.app[SERVICES].flights.run((*asked, ticket), work, keep=True)
    except StillUnderWay as told:
        told.headers["Location"] = str(request.rel_url.update_query({_TICKET: ticket}))
        raise
