"""Blobs: GET, HEAD and DELETE (distribution-spec, endpoints end-2 and end-10)."""

from functools import partial
from http import HTTPStatus

from aiohttp import web

from proxy.api.blob_response import Sending
from proxy.api.conditions import check, etag, wanted_range
from proxy.api.deadline import within
from proxy.api.params import ORIGIN, digest_of, name_of
from proxy.api.ranges import requested
from proxy.api.services import SERVICES
from proxy.api.upstream import remote_of
from proxy.archive.pieces import covering
from proxy.blob import Blob, within_reach
from proxy.errors import BlobUnknown
from proxy.oci.names import Name, split_host
from proxy.registry.upstream_transfers import UpstreamTransfer
from proxy.runtime.files import InMemory


async def get(request: web.Request) -> web.StreamResponse:
    """Answer with a blob, or a range of it."""
    name, blob, span = await within(request, partial(_found, request))
    start, stop = span or (0, blob.size)
    origin = blob.origin if isinstance(blob, Blob) else split_host(name.text)[0]
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(stop - start),
        "Docker-Content-Digest": str(blob.digest),
        "Accept-Ranges": "bytes",
        "ETag": etag(blob.digest),
        **({ORIGIN: origin} if origin else {}),
    }
    if span:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    status = HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK
    if request.method == "HEAD":
        return web.Response(status=status, headers=headers)
    response = web.StreamResponse(status=status, headers=headers)
    with request.app[SERVICES].pulls.blob(name, blob.digest) as went:
        sending = Sending(request, response, went)
        if isinstance(blob, UpstreamTransfer):
            await sending.follow(blob, start, stop)
        else:
            await sending.send(blob, start, stop)
    await response.prepare(request)  # of what is empty
    await response.write_eof()
    return response


async def _found(request: web.Request) -> tuple[Name, Blob | UpstreamTransfer, tuple[int, int] | None]:
    """Return a blob, who has it, and the range of it that is wanted; if all of it is, its first piece is at hand."""
    known = request.method == "HEAD"  # who pushes asks for every blob; who pulls has got the manifest first
    name = name_of(request)
    blob: Blob | UpstreamTransfer
    try:
        blob = await request.app[SERVICES].lookup.blob(name, digest_of(request), known=known)
    except BlobUnknown:
        remote = remote_of(request) if not known or "ns" in request.query else None
        if remote is None:
            raise
        name, mirror = remote.name, request.app[SERVICES].mirror
        if known:
            check(request, digest_of(request))
            size = await mirror.size(remote, digest_of(request))
            return name, Blob(digest_of(request), size, (), InMemory(b"")), None
        blob = await mirror.blob(remote, digest_of(request))
    check(request, blob.digest)  # before the range (RFC 9110, 13.2.2)
    span = None if known else requested(wanted_range(request, blob.digest), blob.size)
    if known or span:
        return name, blob, span
    if isinstance(blob, UpstreamTransfer):
        await blob.begun()
        return name, blob, None
    cached = await request.app[SERVICES].downloads.cached(blob)
    for extent in covering(cached.pieces, 0, 1):
        await within_reach(cached, extent)
    return name, cached, None


async def delete(request: web.Request) -> web.Response:
    """Delete a blob that nothing needs."""
    await within(request, partial(request.app[SERVICES].deletion.delete_blob, name_of(request), digest_of(request)))
    return web.Response(status=HTTPStatus.ACCEPTED)
