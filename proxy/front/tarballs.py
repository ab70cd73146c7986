"""Tarballs of images: PUT takes in what `docker save` wrote, GET hands out what `docker load` reads."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from proxy.errors import RegistryError, TagInvalid, Unsupported
from proxy.front.asked import chunks_of, image_in
from proxy.front.keys import DEPARTURES, HANDOUT, INTAKE, PUSH
from proxy.front.sending import write
from proxy.oci.names import Name, Tag
from proxy.offload import Crew
from proxy.printing import printable
from proxy.registry.handout import Compression
from proxy.registry.intake import Progress, Taken

_TICK = 1.0  # seconds between two lines for who watches
_MIB = 2**20
_COMPRESSIONS = {each.name.lower(): each for each in Compression}
_TYPES = {
    Compression.NONE: "application/x-tar",
    Compression.GZIP: "application/gzip",
    Compression.ZSTD: "application/zstd",
}


async def put(request: web.Request) -> web.StreamResponse:
    """Take a tarball in, under the reference in the path, or under the names in it.

    `?progress` answers at once, with lines for a terminal; when something fails, that answer is cut.
    """
    progress = Progress()
    work = request.app[INTAKE].take(chunks_of(request), _wanted(request), progress)
    if "progress" in request.query:
        return await _watched(request, work, progress)
    taken = [
        {"reference": each.reference, "digest": str(each.digest), "size": each.size, "stored": each.stored}
        for each in await work
    ]
    return web.json_response({"images": taken}, status=HTTPStatus.CREATED)


def _wanted(request: web.Request) -> tuple[Name, Tag] | None:
    if not (text := request.match_info.get("image", "")):
        return None
    name, tag = image_in(text)
    if isinstance(tag, Tag):
        return name, tag
    raise TagInvalid(f"a tarball is taken in under a tag, such as {name}:latest")


async def _watched(
    request: web.Request, work: Coroutine[None, None, list[Taken]], progress: Progress
) -> web.StreamResponse:
    """Tell once a second how far it is, and at the end what came of it."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    crew = Crew()
    task = crew.start(work)
    try:
        while not (await asyncio.wait({task}, timeout=_TICK))[0]:
            await _tell(response, f"received {progress.received / _MIB:.0f} MiB", *progress.storing)
        for each in task.result():
            sizes = f"{each.size / _MIB:.1f} MiB, stored in {each.stored / _MIB:.1f} MiB"
            await _tell(response, f"{each.reference} {each.digest}: {sizes}")
    except RegistryError as error:
        await _tell(response, f"error: {error.message}")
        raise
    finally:
        await crew.dismiss()
    return response


async def _tell(response: web.StreamResponse, *parts: str) -> None:
    await response.write((printable(", ".join(parts)) + "\n").encode())


async def get(request: web.Request) -> web.StreamResponse:
    """Hand out one image, or several with commas between them: `?compression=`, and of an index `?platform=`."""
    references = list(dict.fromkeys(image_in(text) for text in request.match_info["images"].split(",")))
    compression = _COMPRESSIONS.get(request.query.get("compression", "zstd"))
    if compression is None:
        raise Unsupported(f"?compression= is one of {', '.join(_COMPRESSIONS)}")
    for name, _ in references:
        request.app[PUSH].touch(name)
    public_host, platform = request.app[PUSH].public_host, request.query.get("platform", "")
    tarball = await request.app[HANDOUT].tarball(references, compression, platform, public_host)
    headers = {
        "Content-Type": _TYPES[compression],
        "Content-Disposition": f'attachment; filename="{tarball.file}"',
    }
    if tarball.size is not None:
        headers["Content-Length"] = str(tarball.size)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    response, began = web.StreamResponse(headers=headers), time.monotonic()
    async with request.app[HANDOUT].turns, aclosing(tarball.parts()) as parts:
        async for part in parts:
            if not response.prepared:
                await response.prepare(request)
            await write(response, part)
    await response.write_eof()
    request.app[DEPARTURES].tarball(tarball.images, time.monotonic() - began)
    return response
