"""Manifests: GET, HEAD, PUT and DELETE (distribution-spec, endpoints end-3, end-7 and end-9)."""

import re
from dataclasses import replace
from functools import partial
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from proxy.api.conditions import check, etag
from proxy.api.deadline import within
from proxy.api.params import ORIGIN, address_of, content_of, name_of, reference_of, tags_parameter
from proxy.api.services import SERVICES
from proxy.api.upstream import resolve
from proxy.artifacts.base import UnreadableArtifact
from proxy.blob import Blob, read_all
from proxy.errors import DigestInvalid, ManifestTooLarge, ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag
from proxy.registry.lookup import read_manifest

# Docker 23 to 28.1 with the containerd store, and buildx before 0.22: they push what an index names under its tag, and
# the index last (https://github.com/moby/moby/pull/49949, https://github.com/docker/buildx/pull/3024).
_TAGS_CHILDREN = re.compile(r"docker/(2[3-7]|28\.[01])\.\S* .*containerd-client/|containerd/(1|2\.0)\.")
# Docker with the containerd store, and BuildKit, push the layers that a build has exported; others compress themselves.
_EXPORTS_LAYERS = re.compile(r"docker/.* containerd-client/|buildkit/")
_ANY = "*/*"  # in the Accept of containerd and BuildKit: with one type before a push, with several for a pull


async def get(request: web.Request) -> web.Response:
    """Answer with a manifest, under the media type with which it was pushed, whatever Accept says."""
    reference, services = reference_of(request), request.app[SERVICES]
    known = services.manifest_cache.find(name_of(request), reference)
    look = partial(within, request, partial(_found, request), pulls=_pulls(request))
    name, blob, content = (name_of(request), *known) if known else await look()
    headers = {
        "Content-Type": blob.media_type or "",
        "Content-Length": str(blob.size),
        "Docker-Content-Digest": str(blob.digest),
        "ETag": etag(blob.digest),
        "X-Content-Type-Options": "nosniff",  # whoever pushed it has chosen the type
        **({ORIGIN: blob.origin} if blob.origin else {}),
    }
    check(request, blob.digest)
    if content is None or request.method == "HEAD":
        services.pulls.resolve(name, reference, blob.digest)
        return web.Response(headers=headers)
    services.pulls.manifest(name, reference, blob.digest, content, blob.origin)
    return web.Response(body=content, headers=headers)


async def _found(request: web.Request) -> tuple[Name, Blob, bytes | None]:
    reference, services = reference_of(request), request.app[SERVICES]
    version = services.lookup.catalog.version(fresh=False)
    try:
        name, blob = await resolve(request, reference, pulls=_pulls(request))
    except UnreadableArtifact as error:
        # Whoever is about to push is told that what cannot be read is not there, or the push would fail because of an
        # artifact that it does not need.
        accepted = _accepted(request)
        if request.method == "HEAD" and len(accepted) == 2 and _ANY in accepted:  # noqa: PLR2004
            raise ManifestUnknown(str(error)) from error
        raise
    if request.method == "HEAD":
        return name, blob, None
    content = await read_all(blob)
    if name == name_of(request):
        services.manifest_cache.keep(name, reference, blob, content, version)
    return name, blob, content


def _accepted(request: web.Request) -> set[str]:
    return {each.strip() for line in request.headers.getall("Accept", []) for each in line.split(",")}


def _pulls(request: web.Request) -> bool:
    """Return whether this is the first request of a pull: engines begin with a HEAD, everybody else with a GET.

    A HEAD of crane or regctl asks whether the tag has to be pushed: it must not wait, nor find it in another run.
    """
    if request.method == "GET":
        return True
    accepted, is_docker = _accepted(request), request.headers.get("User-Agent", "").startswith("docker/")
    return len(accepted) > 2 and (_ANY in accepted or is_docker)  # noqa: PLR2004 - one type, and any


async def put(request: web.Request) -> web.Response:
    """Take a manifest in, by tag, by digest, or by digest with tags."""
    name, reference = name_of(request), reference_of(request)
    tags = tags_parameter(request)
    try:
        content = await content_of(request)
    except web.HTTPRequestEntityTooLarge:
        raise ManifestTooLarge from None
    digest = Digest.of(content, reference.algorithm if isinstance(reference, Digest) else "sha256")
    if isinstance(reference, Digest) and reference != digest:
        raise DigestInvalid(f"the manifest has {digest}, not {reference}")
    manifest = await read_manifest(content, request.headers.get("Content-Type", ""))
    client = request.headers.get("User-Agent", "")
    if isinstance(reference, Tag) and _TAGS_CHILDREN.match(client) and not manifest.is_index:
        manifest = replace(manifest, interim=True)
    if _EXPORTS_LAYERS.match(client):
        request.app[SERVICES].push.events.exported(name, reference, manifest)
    if wanted := [reference, *tags] if isinstance(reference, Tag) else tags:
        required = wanted[:1] if isinstance(reference, Tag) else ()  # 201 is about the tag in the path
        push = request.app[SERVICES].push
        durable = await within(request, partial(push.put_tagged, name, wanted, digest, manifest, required))
        return _created(request, digest, manifest, [tag for tag in tags if tag in durable])
    await within(request, partial(request.app[SERVICES].push.put, name, digest, manifest))
    return _created(request, digest, manifest, [])


def _created(request: web.Request, digest: Digest, manifest: Manifest, tags: list[Tag]) -> web.Response:
    location = address_of(request, f"manifests/{digest}")
    headers = CIMultiDict({"Location": location, "Docker-Content-Digest": str(digest)})
    if manifest.subject:
        headers["OCI-Subject"] = str(manifest.subject.digest)
    for tag in tags:
        headers.add("OCI-Tag", str(tag))
    return web.Response(status=HTTPStatus.CREATED, headers=headers)


async def delete(request: web.Request) -> web.Response:
    """Delete a tag or a manifest."""
    delete_it = partial(request.app[SERVICES].deletion.delete_manifest, name_of(request), reference_of(request))
    await within(request, delete_it)
    return web.Response(status=HTTPStatus.ACCEPTED)
