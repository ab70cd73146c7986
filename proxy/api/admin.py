"""What is no registry's: health, flush, what there is, and what happened."""

import hmac
import re
from dataclasses import asdict
from http import HTTPStatus

from aiohttp import web

from proxy.api.json_answer import json_answer
from proxy.api.keys import STRANGER
from proxy.api.params import content_of, parameters
from proxy.api.services import NONCE, SERVICES
from proxy.oci.names import label
from proxy.reporting.metrics import MEDIA_TYPE

_CHALLENGE = re.compile("[0-9a-f]{32,64}")


async def health(request: web.Request) -> web.Response:
    """Return that the relay is alive, what is not durable yet, and what was refused; always 200.

    Who does not know the password, where there is one, learns no name.
    """
    status, is_stranger = request.app[SERVICES].status, request.get(STRANGER, False)
    return json_answer(status.life() if is_stranger else status.health())


@parameters("challenge")
async def prove(request: web.Request) -> web.Response:
    """Prove to whoever knows the nonce of this relay that it is this one: with the HMAC of a challenge of theirs."""
    nonce, challenge = request.app[NONCE], request.query.get("challenge", "")
    if not (nonce and _CHALLENGE.fullmatch(challenge)):
        raise web.HTTPNotFound
    return web.Response(text=hmac.new(nonce, challenge.encode(), "sha256").hexdigest())


async def take_session(request: web.Request) -> web.Response:
    """Take a session in; there is no way to get it out again. 200 with a list if something of another run was lost."""
    lost = await request.app[SERVICES].run_change.take_session(await content_of(request))
    return json_answer({"lost": list(map(asdict, lost))}) if lost else web.Response(status=HTTPStatus.NO_CONTENT)


async def flush(request: web.Request) -> web.Response:
    """Make durable what is pending; 503 with the list if something cannot be."""
    failed = await request.app[SERVICES].push.flush()
    problems = [{"reference": label(each.name, each.reference), "problem": each.problem} for each in failed]
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    return json_answer({"failed": problems}, status=status)


async def summary(request: web.Request) -> web.Response:
    """Return in Markdown what this relay has done; nothing where that is nothing."""
    return web.Response(text=await request.app[SERVICES].summary.text(), content_type="text/markdown")


async def metrics(request: web.Request) -> web.Response:
    """Return figures for Prometheus."""
    status = request.app[SERVICES].status
    text = request.app[SERVICES].metrics.text(status.info, status.gauges())
    return web.Response(body=text, headers={"Content-Type": MEDIA_TYPE})


@parameters()
async def images(request: web.Request) -> web.Response:
    """List the images."""
    return json_answer({"images": await request.app[SERVICES].status.images()})
