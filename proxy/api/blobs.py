"""Blobs: GET, HEAD and DELETE (distribution-spec, endpoints end-2 and end-10)."""

from functools import partial
from http import HTTPStatus

from aiohttp import web

from proxy.api.blob_response import Sending
from proxy.api.deadline import within
from proxy.api.params import ORIGIN, digest_of, name_of
from proxy.api.ranges import requested
from proxy.api.services import SERVICES
from proxy.archive.pieces import covering
from proxy.blob import Blob, within_reach


async def get(request: web.Request) -> web.StreamResponse:
    """Answer with a blob, or a range of it."""
    blob, span = await within(request, partial(_found, request))
    start, stop = span or (0, blob.size)
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(stop - start),
        "Docker-Content-Digest": str(blob.digest),
        "Accept-Ranges": "bytes",
        "ETag": f'"{blob.digest}"',
        **({ORIGIN: blob.origin} if blob.origin else {}),
    }
    if span:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    with request.app[SERVICES].pulls.blob(name_of(request), blob.digest) as went:
        await Sending(request, response, went).send(blob, start, stop)
    await response.prepare(request)  # of what is empty
    await response.write_eof()
    return response


async def _found(request: web.Request) -> tuple[Blob, tuple[int, int] | None]:
    """Return a blob, and the range of it that is wanted; if all of it is, its first piece is at hand already."""
    known = (
        request.method == "HEAD"
    )  # a client that pushes asks for every blob; one that pulls has got the manifest first
    blob = await request.app[SERVICES].lookup.blob(name_of(request), digest_of(request), known=known)
    span = requested(request.headers.get("Range"), blob.size)
    if known or span:
        return blob, span
    cached = await request.app[SERVICES].downloads.cached(blob)
    for extent in covering(cached.pieces, 0, 1):
        await within_reach(cached, extent)
    return cached, None


async def delete(request: web.Request) -> web.Response:
    """Delete a blob that nothing needs."""
    await within(request, partial(request.app[SERVICES].deletion.blob, name_of(request), digest_of(request)))
    return web.Response(status=HTTPStatus.ACCEPTED)
