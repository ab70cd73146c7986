"""Every request is noted in the ledger when it is over, whatever became of it."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from proxy.api.keys import MESSAGE, UNANSWERED
from proxy.events import Answered, EventBus

_LEFT = "the client left before the answer"
_NO_ROUTE = "none"


def watch(ledger: EventBus) -> Middleware:
    """Note the requests; the first of all middlewares."""

    @web.middleware
    async def watch_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            response = await handler(request)
        except web.HTTPException as answer:  # a redirect of aiohttp's
            response = answer
            raise
        except asyncio.CancelledError:
            request[MESSAGE] = "image-relay is stopping"
            raise
        finally:
            ledger.emit(_answered(request, response))
        return response

    return watch_request


def _answered(request: web.Request, response: web.StreamResponse | None) -> Answered:
    status, message = _outcome(request, response)
    return Answered(
        method=request.method,
        route=_route(request),
        path=request.path,
        status=status,
        message=message,
        received=request.content.total_bytes,
        sent=_sent(request, response),
        credentials="Authorization" in request.headers,
    )


def _outcome(request: web.Request, response: web.StreamResponse | None) -> tuple[int, str]:
    """Give the status, 0 for no answer, and what the client was or would have been told."""
    message = request.get(MESSAGE, "")
    if response is None or UNANSWERED in request:
        return 0, message or ("" if request.writer.output_size else _LEFT)
    if not response.prepared and (request.transport is None or request.transport.is_closing()):
        return 0, message or _LEFT
    return response.status, message


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else _NO_ROUTE


def _sent(request: web.Request, response: web.StreamResponse | None) -> int:
    """Tell how many bytes of a body go out: all of one that is made already, or what was written."""
    if isinstance(response, web.Response) and not response.prepared:
        return 0 if request.method == "HEAD" else response.content_length or 0
    return request.writer.output_size
