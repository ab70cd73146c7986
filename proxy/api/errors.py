"""Failures become answers (distribution-spec, "Error Codes"): JSON with a code and one sentence, or a cut connection.

After the first byte of an answer no error can be sent any more. Then the connection is cut, so that no client takes
half a layer for a whole one.
"""

import logging
import socket
import struct
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler

from proxy.api.json_answer import json_answer
from proxy.api.keys import MESSAGE, UNANSWERED
from proxy.errors import RegistryError, StillUnderWay
from proxy.runtime.files import exhaustion
from proxy.text import MESSAGE_LIMIT, safe_text

_log = logging.getLogger(__name__)
_CODES = {  # of failures that aiohttp finds by itself; any other is UNSUPPORTED
    HTTPStatus.NOT_FOUND: "NAME_UNKNOWN",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "SIZE_INVALID",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "RANGE_INVALID",
}
_QUIET = frozenset({401, 404})  # clients ask before they log in or push: nothing is wrong then
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, zero seconds


@web.middleware
async def as_oci_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every failure of a handler in the form of the specification; the first of all middlewares that may fail.

    An unexpected error is logged with its traceback and answered by 500 `UNKNOWN`, without its message.
    """
    try:
        with exhaustion():
            return await handler(request)
    except RegistryError as error:
        again = {"Location": request.path_qs} if isinstance(error, StillUnderWay) else {}
        return _failed(request, error.status, error.code, error.message, again | error.headers)
    except web.HTTPException as error:
        return _refused(request, error)
    except web.RequestPayloadError:
        return _failed(request, 400, "SIZE_INVALID", "the body of the request is malformed", {})
    except Exception as error:  # noqa: BLE001 - the last resort of every handler
        return _unforeseen(request, error)


def _failed(request: web.Request, status: int, code: str, message: str, headers: Mapping[str, str]) -> web.Response:
    """Log what was refused, and answer with it."""
    fields = {"event": "refused", "method": request.method, "path": safe_text(request.path), "status": status}
    more = {"fields": fields | {"code": code, "reason": safe_text(message)}}
    level = logging.DEBUG if status in _QUIET or status < HTTPStatus.BAD_REQUEST else logging.INFO
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.ERROR
    _log.log(level, "%s: %d %s: %s", _what(request), status, code, safe_text(message), extra=more)
    return _answer(request, status, code, message, headers)


def error_answer(
    status: int, code: str, message: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    """Return an error in the form of the specification."""
    errors = [{"code": code, "message": safe_text(message, MESSAGE_LIMIT), "detail": None}]
    return json_answer({"errors": errors}, status=status, headers=headers)


def _answer(request: web.Request, status: int, code: str, message: str, headers: Mapping[str, str]) -> web.Response:
    """Answer with an error, or cut the connection if an answer has begun: no client can take that for the whole."""
    request[MESSAGE] = message
    if not request.writer.output_size:
        return error_answer(status, code, message, headers)
    request[UNANSWERED] = True
    if (transport := request.transport) is not None:
        if request.version < HttpVersion11:  # there the end of the connection may be the end of the body: reset it
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    return web.Response()  # nothing of it is sent


def _refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """Answer an error of aiohttp in our form; raise again what is no error, such as a redirect."""
    if error.status < HTTPStatus.BAD_REQUEST:
        raise error
    message = error.text or error.reason
    if error.status == HTTPStatus.NOT_FOUND:
        message = f"there is nothing at {request.path}"
        if request.path == "/" or request.path.startswith("/relay"):
            message += "; there are /v2/, /relay/images, /relay/summary, /relay/health and /metrics"
    elif error.status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = (
            f"{request.method} is not possible at {request.path}, only {error.headers['Allow'].replace(',', ', ')}"
        )
    allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return _failed(request, error.status, _CODES.get(HTTPStatus(error.status), "UNSUPPORTED"), message, allowed)


def _unforeseen(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
        _log.debug("%s: the client has left", _what(request))
        request[UNANSWERED] = True
        error.__traceback__ = None  # asyncio keeps the error in a cycle, and with it the piece that was being sent
        return web.Response()
    _log.error("%s failed", _what(request), exc_info=error)
    return _answer(request, 500, "UNKNOWN", "this is a fault of image-relay; its log says more", {})


def _what(request: web.Request) -> str:
    return f"{request.method} {safe_text(request.path)}"
