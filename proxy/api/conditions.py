"""Conditional requests for content, whose entity tag is its digest (RFC 9110, 13)."""

from aiohttp import ETag, hdrs, web

from proxy.oci.digest import Digest

_ANY = "*"


def etag(digest: Digest) -> str:
    """Return the entity tag of content."""
    return f'"{digest}"'


def check(request: web.Request, digest: Digest) -> None:
    """Raise HTTPPreconditionFailed for another `If-Match`, HTTPNotModified for the same `If-None-Match`."""
    wanted, held = request.if_match, request.if_none_match
    if wanted is not None and not _has(wanted, digest, weak=False):
        raise web.HTTPPreconditionFailed(text=f"the content is {digest}, which If-Match does not name")
    if held is not None and _has(held, digest, weak=True):
        raise web.HTTPNotModified(headers={hdrs.ETAG: etag(digest)})


def wanted_range(request: web.Request, digest: Digest) -> str | None:
    """Return the `Range` of a request; None if there is none, or it is for other content than this (`If-Range`)."""
    if request.headers.get(hdrs.IF_RANGE, etag(digest)) != etag(digest):
        return None
    return request.headers.get(hdrs.RANGE)


def _has(tags: tuple[ETag, ...], digest: Digest, *, weak: bool) -> bool:
    return any(each.value in {_ANY, str(digest)} and (weak or not each.is_weak) for each in tags)
