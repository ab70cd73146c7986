"""Tarballs of images: PUT takes in what `docker save` wrote, GET serves what `docker load` reads."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from http import HTTPStatus

from aiohttp import web

from proxy.api.blob_response import write
from proxy.api.client_line import has_left
from proxy.api.json_answer import json_answer
from proxy.api.params import ORIGIN, chunks_of, is_own_alone, is_set, parameters
from proxy.api.services import SERVICES
from proxy.errors import NameInvalid, ParameterInvalid, RegistryError, TagInvalid
from proxy.oci.names import Name, Tag
from proxy.oci.references import Reference, is_file
from proxy.registry.image_export import Compression, ExportRequest, Tarball
from proxy.registry.image_import import ImportedImage, Progress
from proxy.registry.platforms import PlatformChoice
from proxy.runtime.tasks import TaskSet
from proxy.text import safe_text

_MIB = 2**20
_COMPRESSIONS = {each.name.lower(): each for each in Compression}
_TYPES = {
    Compression.NONE: "application/x-tar",
    Compression.GZIP: "application/gzip",
    Compression.ZSTD: "application/zstd",
}


@parameters("progress")
async def put(request: web.Request) -> web.StreamResponse:
    """Take a tarball in, under the reference in the path, or under the names in it.

    `?progress` answers at once, with lines for a terminal; that answer is cut when something fails.
    """
    wanted: tuple[Name, Tag] | None = None
    if text := request.match_info.get("image", ""):
        if is_file(text):
            raise NameInvalid(
                f"{text[:80]} is the name of a file, which curl -T appends to an address that ends in a slash: "
                "write an image name, such as /relay/images/app:v1, or leave out the last slash"
            )
        reference = Reference.parse(text)
        name, tag = reference.name(request.app[SERVICES].backend.public_host), reference.wanted
        if not isinstance(tag, Tag):
            raise TagInvalid(f"a tarball needs a tag, not a digest: write {name}:latest")
        wanted = name, tag
    progress, is_watched = Progress(), is_set(request, "progress")
    work = request.app[SERVICES].image_import.take(chunks_of(request), wanted, progress)
    if is_watched:
        return await _watched(request, work, progress)

    async def check_client() -> None:
        if has_left(request):
            raise ConnectionResetError("the client has left")

    taken = [
        {"reference": each.reference, "digest": str(each.digest), "size": each.size, "stored": each.stored}
        for each in await _taken(request, work, check_client)
    ]
    return json_answer({"images": taken}, status=HTTPStatus.CREATED)


async def _taken(
    request: web.Request, work: Coroutine[None, None, list[ImportedImage]], meanwhile: Callable[[], Awaitable[None]]
) -> list[ImportedImage]:
    """Return what was taken in. Each second `meanwhile` is called; if that fails, so does the work."""
    tasks = TaskSet()
    task = tasks.spawn(work)
    try:
        while not (await asyncio.wait({task}, timeout=request.app[SERVICES].limits.progress_poll))[0]:
            await meanwhile()
    finally:
        await tasks.cancel_all()
    return task.result()


async def _watched(
    request: web.Request, work: Coroutine[None, None, list[ImportedImage]], progress: Progress
) -> web.StreamResponse:
    """Answer with a line of progress each second, and at the end with what was taken in, or the error."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)

    async def tell_progress() -> None:
        await _tell(response, f"received {progress.received / _MIB:.0f} MiB", *progress.storing)

    try:
        for each in await _taken(request, work, tell_progress):
            sizes = f"{each.size / _MIB:.1f} MiB, stored in {each.stored / _MIB:.1f} MiB"
            await _tell(response, f"{each.reference} {each.digest}: {sizes}")
    except RegistryError as error:
        await _tell(response, f"error: {error.message}")
        raise
    return response


async def _tell(response: web.StreamResponse, *parts: str) -> None:
    await response.write((safe_text(", ".join(parts)) + "\n").encode())


@parameters("compression", "platform", "engine", "loadable", "own")
async def get(request: web.Request) -> web.StreamResponse:
    """Serve one image, or several with commas between them: `?compression=`, and `?platform=` or `?engine=`.

    Each gets the name by which it was requested, or the one after a `=`. `?loadable` refuses what no engine can load,
    before an engine has to try; `?own` what is only in another run.
    """
    has_to_load, tarball = is_set(request, "loadable"), await _tarball(request)
    if has_to_load:
        tarball.check_loadable()
    headers = {
        "Content-Type": _TYPES[tarball.compression],
        "Content-Disposition": f'attachment; filename="{tarball.file}"',
    }
    if origins := ", ".join(dict.fromkeys(each.origin for each in tarball.images if each.origin)):
        headers[ORIGIN] = origins
    if tarball.size is not None:
        headers["Content-Length"] = str(tarball.size)
    if request.method == "HEAD":
        return web.Response(headers=headers)
    response, began = web.StreamResponse(headers=headers), time.monotonic()
    async with request.app[SERVICES].image_export.turns, aclosing(tarball.parts()) as parts:
        async for part in parts:
            if not response.prepared:
                await response.prepare(request)
            await write(response, part, request.app[SERVICES].limits.body_stall)
    await response.write_eof()
    request.app[SERVICES].pulls.tarball(tarball.images, time.monotonic() - began)
    return response


async def _tarball(request: web.Request) -> Tarball:
    """Return the tarball that is asked for."""
    query, wanted = request.query, _wanted(request)
    compression = _COMPRESSIONS.get(query.get("compression", "zstd"))
    if compression is None:
        raise ParameterInvalid(f"?compression= is one of {', '.join(_COMPRESSIONS)}")
    for each in wanted:
        request.app[SERVICES].push.touch(each.name)
    if (platform := query.get("platform")) == "":
        raise ParameterInvalid("?platform= has no value: is a variable empty? Without it all platforms come")
    choice = None
    if platform or query.get("engine"):
        choice = PlatformChoice(platform or query["engine"], own=not platform)
    own = is_own_alone(request)
    return await request.app[SERVICES].image_export.tarball(wanted, compression, choice, own=own)


def _wanted(request: web.Request) -> list[ExportRequest]:
    """Return each image that is asked for once. Raise NameInvalid where two are to have one name.

    `reference=local` says what an image is to be called; without that an image by digest has no name.
    """
    found = []
    for text in request.match_info["images"].split(","):
        source, equals, local = text.partition("=")
        reference = Reference.parse(source)
        called = Reference.parse(local) if equals else reference
        if equals and called.digest:
            raise TagInvalid(
                f"an engine knows an image by a tag, not by a digest: write {source[:80]}={called.path[:80]}:latest"
            )
        names = () if called.digest else (str(called),)
        found.append(ExportRequest(reference.name(request.app[SERVICES].backend.public_host), reference.wanted, names))
    wanted = list(dict.fromkeys(found))
    taken = [name for each in wanted for name in each.names]
    if twice := {name for name in taken if taken.count(name) > 1}:
        raise NameInvalid(f"two images cannot both be called {min(twice)[:120]}; load one of them as NAME=ANOTHER")
    return wanted
