"""Uploads of blobs (distribution-spec, endpoints end-4a to end-6, end-11, end-13, end-14)."""

from http import HTTPStatus

from aiohttp import web

from proxy.api.params import address_of, algorithm_parameter, digest_parameter, name_of, repository_in, upload_of
from proxy.api.ranges import chunk
from proxy.api.services import SERVICES
from proxy.errors import RangeInvalid, RegistryError, SizeInvalid
from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.spool.upload import Upload
from proxy.text import counted


async def start(request: web.Request) -> web.Response:
    """Open a session; or mount a blob of another repository; or take a whole blob at once."""
    name, query = name_of(request), request.query
    request.app[SERVICES].lookup.prefetch.begin(name)
    if "mount" in query and await _mount(request, name, Digest.parse(query["mount"])):
        return _created(request, Digest.parse(query["mount"]))
    if "digest" in query:
        digest = digest_parameter(request)
        upload = await request.app[SERVICES].spool.sessions.start(name, digest.algorithm)
        try:
            return await _finish(request, upload, digest)
        finally:  # a client that fails here never learns of a session, so none may stay
            await request.app[SERVICES].spool.sessions.cancel(upload)
    return _accepted(request, await request.app[SERVICES].spool.sessions.start(name, algorithm_parameter(request)))


async def _mount(request: web.Request, name: Name, digest: Digest) -> bool:
    """Mount a blob of another repository; return whether that worked: what cannot be mounted is uploaded instead."""
    try:
        source = repository_in(request, request.query["from"]) if "from" in request.query else None
    except RegistryError:
        return False
    if not await request.app[SERVICES].lookup.mountable(digest, source):
        return False
    await request.app[SERVICES].spool.link(name, digest)
    return True


async def append(request: web.Request) -> web.Response:
    """Take one chunk, or the whole blob as a stream."""
    upload = _upload(request)
    await _take(request, upload)
    return _accepted(request, upload)


async def finish(request: web.Request) -> web.Response:
    """Take the last chunk, if there is one, and close the session."""
    upload = _upload(request)
    return await _finish(request, upload, digest_parameter(request))


async def _finish(request: web.Request, upload: Upload, digest: Digest) -> web.Response:
    await _take(request, upload)
    await request.app[SERVICES].spool.sessions.finish(upload, digest)
    request.app[SERVICES].push.events.received_blobs.add(upload.name, digest, upload.offset, upload.began)
    return _created(request, digest)


async def status(request: web.Request) -> web.Response:
    """Answer how far an upload is."""
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=_progress(request, _upload(request)))


async def cancel(request: web.Request) -> web.Response:
    """Cancel an upload."""
    await request.app[SERVICES].spool.sessions.cancel(_upload(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


def _upload(request: web.Request) -> Upload:
    return request.app[SERVICES].spool.sessions.get(name_of(request), request.match_info["upload"])


async def _take(request: web.Request, upload: Upload) -> None:
    """Append the body, which must follow what came before and have the length that was announced."""
    announced = request.headers.get("Content-Range")
    first, stop = chunk(announced) if announced is not None else (upload.offset, None)
    if first != upload.offset:
        raise RangeInvalid(f"the next byte is {upload.offset}, not {first}", _progress(request, upload))
    if stop is not None and request.content_length not in {None, stop - first}:
        raise SizeInvalid(
            f"Content-Range announces {counted(stop - first, 'byte')}, Content-Length {request.content_length}"
        )
    if request.body_exists:
        await request.app[SERVICES].spool.sessions.append(upload, upload_of(request))
    if stop is not None and upload.offset != stop:
        await request.app[SERVICES].spool.sessions.cancel(upload)
        raise SizeInvalid(f"Content-Range announces {counted(stop - first, 'byte')}, {upload.offset - first} came")


def _progress(request: web.Request, upload: Upload) -> dict[str, str]:
    """Return how far an upload is, and where it goes on.

    That address has a query, which says nothing: as Docker's registry has one, many clients append `&digest=` to it.
    """
    return {
        "Location": address_of(request, f"blobs/uploads/{upload.id}", _state="open"),
        "Range": f"0-{max(upload.offset - 1, 0)}",  # Docker reads two numbers, also of an empty upload
        "Docker-Upload-UUID": upload.id,
    }


def _accepted(request: web.Request, upload: Upload) -> web.Response:
    return web.Response(status=HTTPStatus.ACCEPTED, headers=_progress(request, upload))


def _created(request: web.Request, digest: Digest) -> web.Response:
    headers = {"Location": address_of(request, f"blobs/{digest}"), "Docker-Content-Digest": str(digest)}
    return web.Response(status=HTTPStatus.CREATED, headers=headers)
