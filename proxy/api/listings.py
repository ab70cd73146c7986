"""Listings: tags, repositories, referrers (distribution-spec, endpoints end-8 and end-12; `_catalog` is Docker's)."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urlencode

from aiohttp import web

from proxy.api.deadline import within
from proxy.api.json_answer import json_answer
from proxy.api.params import digest_of, name_of, page_of
from proxy.api.services import SERVICES
from proxy.errors import NameUnknown
from proxy.oci.manifest import OCI_INDEX
from proxy.oci.names import is_path
from proxy.registry.referrers import referrers


async def tags(request: web.Request) -> web.Response:
    """List the tags of a repository."""
    page, headers = _page(request, await within(request, partial(_tags, request)))
    return json_answer({"name": request.match_info["name"], "tags": page}, headers=headers)


async def _tags(request: web.Request) -> list[str]:
    name, lookup = name_of(request), request.app[SERVICES].lookup
    found = [str(tag) for tag in await lookup.tags(name)]
    if not found and not await lookup.knows(name):
        raise NameUnknown(f"nothing was pushed to {name}")
    return found


async def repositories(request: web.Request) -> web.Response:
    """List the repositories, except those of registries with a port: their names are no path that can be pulled."""
    found = await within(request, request.app[SERVICES].lookup.repositories)
    page, headers = _page(request, [name.text for name in found if is_path(name.text)])
    return json_answer({"repositories": page}, headers=headers)


def _page(request: web.Request, entries: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the page of sorted entries that `n` and `last` select, and a Link to the next page if there is one."""
    number, last = page_of(request)
    rest = [entry for entry in entries if entry > last] if last else list(entries)
    page = rest if number is None else rest[:number]
    if not page or len(page) == len(rest):
        return page, {}
    registry = {"ns": request.query["ns"]} if "ns" in request.query else {}
    following = urlencode({**registry, "n": number, "last": page[-1]})
    return page, {"Link": f'<{request.path}?{following}>; rel="next"'}


async def referring(request: web.Request) -> web.Response:
    """List the manifests whose subject is the given one, as an image index."""
    find = partial(referrers, request.app[SERVICES].lookup, name_of(request), digest_of(request))
    found = await within(request, find)
    wanted = request.query.get("artifactType")
    headers = {}
    if wanted:
        found = [descriptor for descriptor in found if descriptor.get("artifactType") == wanted]
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    return json_answer(index, headers=headers, media_type=OCI_INDEX)
