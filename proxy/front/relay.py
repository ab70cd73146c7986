"""What is no registry's: health, flush, and what there is."""

from http import HTTPStatus

from aiohttp import web

from proxy.front.keys import PUSH, REPORT
from proxy.oci.names import label


async def health(request: web.Request) -> web.Response:
    """Tell that the relay is alive, and what is not durable yet; always 200."""
    return web.json_response(request.app[REPORT].health())


async def flush(request: web.Request) -> web.Response:
    """Make durable what is pending; 503 with the list if something cannot be."""
    failed = await request.app[PUSH].flush()
    problems = [{"reference": label(each.name, each.reference), "problem": each.problem} for each in failed]
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    return web.json_response({"failed": problems}, status=status)


async def images(request: web.Request) -> web.Response:
    """List the images."""
    return web.json_response({"images": await request.app[REPORT].images()})
