"""The whole HTTP surface. The numbers are the endpoints of distribution-spec 1.1."""

from aiohttp import web

from proxy.api import admin, blobs, deletions, images, listings, manifests, uploads
from proxy.api.json_answer import json_answer
from proxy.errors import ProtocolUnsupported


async def version(request: web.Request) -> web.Response:
    """Tell that this is a registry (end-1); with the header that Docker looked for before there was a specification."""
    return json_answer({}, headers={"Docker-Distribution-Api-Version": "registry/2.0"})


async def version_1(request: web.Request) -> web.Response:
    """Tell clients of Docker before 1.6, and `docker search`, that this is no registry of version 1."""
    raise ProtocolUnsupported(f"{request.path} is of version 1 of the registry API; this registry speaks version 2")


ROUTES = [
    web.route("*", "/v1/{path:.*}", version_1),
    # The most frequent ones first: each route is tried after the other.
    web.get("/v2/{name:.+}/manifests/{reference}", manifests.get),  # end-3
    web.get("/v2/{name:.+}/blobs/{digest}", blobs.get),  # end-2
    web.get("/v2/", version),  # end-1
    web.get("/v2", version),
    web.get("/v2/_catalog", listings.repositories),
    web.post("/v2/{name:.+}/blobs/uploads/", uploads.start),  # end-4a, 4b, 11
    web.post("/v2/{name:.+}/blobs/uploads", uploads.start),
    web.get("/v2/{name:.+}/blobs/uploads/{upload}", uploads.status),  # end-13
    web.patch("/v2/{name:.+}/blobs/uploads/{upload}", uploads.append),  # end-5
    web.put("/v2/{name:.+}/blobs/uploads/{upload}", uploads.finish),  # end-6
    web.delete("/v2/{name:.+}/blobs/uploads/{upload}", uploads.cancel),  # end-14
    web.delete("/v2/{name:.+}/blobs/{digest}", blobs.delete),  # end-10
    web.put("/v2/{name:.+}/manifests/{reference}", manifests.put),  # end-7
    web.delete("/v2/{name:.+}/manifests/{reference}", manifests.delete),  # end-9
    web.get("/v2/{name:.+}/tags/list", listings.tags),  # end-8
    web.get("/v2/{name:.+}/referrers/{digest}", listings.referring),  # end-12
    web.get("/relay/health", admin.health),
    web.get("/relay/proof", admin.prove),
    web.put("/relay/session", admin.take_session),
    web.post("/relay/flush", admin.flush),
    web.get("/relay/images", admin.images),
    web.get("/relay/images/", admin.images),
    web.put("/relay/images", images.put),
    web.put("/relay/images/", images.put),
    web.put("/relay/images/{image:.+}", images.put),
    web.get("/relay/images/{images:.+}", images.get),
    web.delete("/relay/images", deletions.many),
    web.delete("/relay/images/{image:.+}", deletions.one),
    web.get("/relay/summary", admin.summary),
    web.get("/metrics", admin.metrics),
]
