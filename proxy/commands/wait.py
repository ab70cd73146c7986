"""`wait`: wait until images are there, for jobs that run beside the one that pushes them."""

import asyncio
import sys
import time
from collections.abc import Sequence
from itertools import chain, repeat

from proxy.commands.relay import CommandFailed, Place, Refused, RelayClient
from proxy.text import counted, sanitize

_FOR_EVER = {400, 401, 405}  # no reference, no password, no image-relay
_LEAST = 2.0  # seconds
_OWN = {"own": ""}  # an older run may have an image of the same name
_PAUSES = (2.0, 4.0, 8.0, 15.0)  # seconds between two questions; the last one is repeated


async def wait(place: Place, references: Sequence[str], seconds: float, least: float = _LEAST) -> None:
    """Return when the relay has all images. Raise CommandFailed, with why unless that was printed, if one is late.

    Each answer may take `least` seconds, even if there is no time left.
    """
    until = time.monotonic() + seconds
    async with RelayClient(place) as relay:
        for reference in references:
            told, pauses = "", chain(_PAUSES, repeat(_PAUSES[-1]))
            while problem := await _problem(relay, reference, place, max(least, until - time.monotonic())):
                left = until - time.monotonic()
                if left <= 0:
                    reason = "" if problem == told else f": {problem}"
                    raise CommandFailed(f"{reference} did not appear within {counted(seconds, 'second')}{reason}")
                if problem != told:
                    print(sanitize(f"waiting for {reference}: {problem}"), file=sys.stderr)
                    told = problem
                await asyncio.sleep(min(next(pauses), left))
            print(sanitize(f"{reference} is there"))


async def _problem(relay: RelayClient, reference: str, place: Place, seconds: float) -> str:
    """Return why an image is not there, or nothing if it is. Raise CommandFailed where waiting does not help."""
    try:
        async with asyncio.timeout(seconds):  # a relay that hangs must not make its clients hang
            try:
                async with relay.tarball("HEAD", reference, _OWN):
                    return ""
            except Refused:  # an answer to HEAD does not say why
                pass
            except CommandFailed as error:  # the relay may be about to start
                return str(error)
            async with relay.tarball("GET", reference, _OWN):
                return ""
    except TimeoutError:  # a relay may take its time where a push has begun, or storage is slow
        return await _health(relay, place, seconds)
    except Refused as error:
        if error.status in _FOR_EVER:
            raise
        return str(error)


async def _health(relay: RelayClient, place: Place, seconds: float) -> str:
    """Return why an image was neither there nor not there in time."""
    try:
        async with asyncio.timeout(min(seconds, _LEAST)), relay.ask("GET", "/relay/health"):
            return "the relay has not found out yet: it may be on its way"
    except (TimeoutError, CommandFailed):
        return f"the relay at {place} does not answer; its log says why"
