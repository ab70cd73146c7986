"""An event for every request when it is over, whatever became of it."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.api.keys import BEGAN, MESSAGE, UNANSWERED
from proxy.events import Answered, EventBus

_LEFT = "the client left before the answer"
_NO_ROUTE = "none"
_ACTION = "image-relay-action/"


def watch(events: EventBus) -> Middleware:
    """Return the middleware that emits an event for each request; it is the first of all."""

    @web.middleware
    async def watch_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        request[BEGAN] = asyncio.get_running_loop().time()
        try:
            response = await handler(request)
        except web.HTTPException as answer:  # a redirect of aiohttp's
            response = answer
            raise
        except asyncio.CancelledError:
            request[MESSAGE] = "image-relay is stopping"
            raise
        finally:
            events.emit(_answered(request, response))
        return response

    return watch_request


def _answered(request: web.Request, response: web.StreamResponse | None) -> Answered:
    """Return the event of a request; its status is 0 if the client got no answer."""
    resource, message = request.match_info.route.resource, request.get(MESSAGE, "")
    status, sent = 0, request.writer.output_size
    if response is None or UNANSWERED in request:
        message = message or ("" if sent else _LEFT)
    elif not response.prepared and (request.transport is None or request.transport.is_closing()):
        message = message or _LEFT
    else:
        status = response.status
    if isinstance(response, web.Response) and not response.prepared:  # it is sent whole after this
        sent = 0 if request.method == "HEAD" else response.content_length or 0
    return Answered(
        method=request.method,
        route=resource.canonical if resource else _NO_ROUTE,
        path=request.path,
        status=status,
        message=message,
        received=request.content.total_bytes,
        sent=sent,
        credentials="Authorization" in request.headers,
        tells_itself=request.headers.get("User-Agent", "").startswith(_ACTION),
    )
