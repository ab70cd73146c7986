"""Which repository of an upstream a request means, if any, and what answers for a manifest then.

Who names a registry (`?ns=`, or the first part of the path) means it. Docker's classic store asks a mirror of Docker
Hub as it asks any registry: there the path, and the host that it was told, tell the mirror from this relay's images.
"""

from dataclasses import replace

from aiohttp import web

from proxy.api.params import is_own_alone, name_of
from proxy.api.services import SERVICES
from proxy.blob import Blob
from proxy.errors import ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, split_host
from proxy.upstreams.failures import UpstreamRefused
from proxy.upstreams.hosts import Remote, is_official


def remote_of(request: web.Request) -> Remote | None:
    """Return the repository of an upstream that a request to read means; None if it means none that may be asked."""
    upstreams, remote = request.app[SERVICES].mirror.upstreams, _meant(request)
    return replace(remote, via=upstreams.via(", ".join(request.headers.getall("Via", [])))) if remote else None


def _meant(request: web.Request) -> Remote | None:
    upstreams, path = request.app[SERVICES].mirror.upstreams, request.match_info["name"]
    registry = request.query.get("ns", "")
    if registry or split_host(path)[0]:
        return upstreams.named(path, registry)
    client = request.headers.get("User-Agent", "")
    is_classic = client.startswith("docker/") and "containerd-client/" not in client
    is_other_host = request.host.lower() != request.app[SERVICES].backend.public_host.lower()
    is_mirrored = is_official(path) or (is_classic and is_other_host and "/" in path)
    return upstreams.of_hub(path) if is_mirrored else None


async def resolve(request: web.Request, reference: Tag | Digest, *, pulls: bool) -> tuple[Name, Blob]:
    """Return the manifest that answers for a reference, and the repository that has it.

    That is this relay's or another run's, else the upstream's, else, for a tag that is pulled, the one that this relay
    gets in time.
    Raise what those raise.
    """
    name, services, problem = name_of(request), request.app[SERVICES], None
    own = is_own_alone(request) or not pulls  # who pushes must not take what is elsewhere for stored here
    remote = None if own else remote_of(request)
    if remote:
        try:
            return name, await services.lookup.manifest(name, reference, external=False)
        except ManifestUnknown:
            if remote.implied and not is_official(remote.path) and await services.lookup.knows(name):
                raise  # an image of this run, with a wrong tag
        try:
            return remote.name, await services.mirror.manifest(remote, reference)
        except (ManifestUnknown, UpstreamRefused) as error:
            problem = error
    try:
        if isinstance(reference, Tag) and not own:
            return name, await services.pull_wait.manifest(name, reference)
        return name, await services.lookup.manifest(name, reference, own=own)
    except ManifestUnknown as error:
        if remote is None or problem is None:
            raise
        raise ManifestUnknown(f"{error.message} ({problem.message})") if remote.implied else problem from None
