"""What is not here is fetched from the registry that a client named, if that is one of the upstreams.

Each repository of an upstream is one of its own: what was fetched from it answers for nothing else. A tag that was
resolved is not asked for again for a while, so that the pulls of a job see one image.
"""

import logging
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from proxy.blob import Blob
from proxy.errors import (
    Denied,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    RegistryError,
    StillUnderWay,
    TooManyRequests,
)
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup, read_manifest
from proxy.registry.singleflight import SingleFlight
from proxy.registry.upstream_transfers import UpstreamTransfer, UpstreamTransfers
from proxy.runtime.limits import Limits
from proxy.spool.blob_file import in_memory
from proxy.text import safe_text
from proxy.upstreams.client import UpstreamClient
from proxy.upstreams.failures import UpstreamFailed, WrongBytes
from proxy.upstreams.hosts import Remote, Upstreams

_log = logging.getLogger(__name__)
_MOST_TAGS = 1000
_QUIET = 2.0  # seconds without a request for a blob after which a pull is over


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A tag of an upstream that was pulled: its manifest, and the images of which blobs were asked for."""

    remote: Remote
    tag: Tag
    root: Digest
    images: tuple[Digest, ...]


def kept_name(remote: Remote) -> Name | None:
    """Return the repository in which images of an upstream are kept; None for hosts that cannot be part of a path."""
    try:
        return Name.parse(f"upstream/{remote}")
    except NameInvalid:
        return None


@dataclass(slots=True)
class Mirror:
    """Manifests and blobs of upstreams; what is `kept` in the run comes from there."""

    upstreams: Upstreams
    client: UpstreamClient
    transfers: UpstreamTransfers
    flights: SingleFlight
    limits: Limits
    level: int
    kept: Lookup | None = None
    _manifests: OrderedDict[tuple[Remote, Digest], Manifest] = field(default_factory=OrderedDict)
    _tags: OrderedDict[tuple[Remote, Tag], tuple[Digest, float]] = field(default_factory=OrderedDict)  # fresh until
    _wanted: dict[tuple[Remote, Digest], float] = field(default_factory=dict)  # images, when a blob was asked for last

    async def manifest(self, remote: Remote, reference: Tag | Digest) -> Blob:
        """Return a manifest. Raise ManifestUnknown, UpstreamFailed, TooManyRequests."""
        if self.kept and (name := kept_name(remote)):
            with suppress(ManifestUnknown, Denied):
                blob = await self.kept.manifest(name, reference, own=True)  # an earlier run has an earlier image
                if isinstance(reference, Tag) and (manifest := await self.kept.parsed(blob)).is_index:
                    self._hold(remote, blob.digest, manifest)  # of the platforms that it lacks here, more may be kept
                    self._resolved(remote, reference, blob.digest)
                return replace(blob, origin=remote.upstream.host)
        remote.check_circle()
        while True:
            with suppress(StillUnderWay):  # told to the client by whoever waits for this
                find = partial(self._find, remote, reference)
                # Two relays that ask each other would wait for each other if a relay joined what a client began.
                manifest, digest = await self.flights.run(("upstream", remote, reference, remote.via), find)
                return replace(in_memory(digest, manifest, self.level), origin=remote.upstream.host)

    async def _find(self, remote: Remote, reference: Tag | Digest) -> tuple[Manifest, Digest]:
        digest: Digest | None
        if isinstance(reference, Digest):
            digest, until = reference, float("inf")
        else:
            digest, until = self._tags.get((remote, reference), (None, 0.0))
        held = None if digest is None else self._manifests.get((remote, digest))
        if held is None or digest is None:
            return await self._fetch(remote, reference)
        self._manifests.move_to_end((remote, digest))
        if until < time.monotonic():
            try:
                told = await self.client.digest(remote, reference)
                if told != str(digest):
                    return await self._fetch(remote, reference)
                self._resolved(remote, reference, digest)
            except (UpstreamFailed, TooManyRequests) as error:
                _log.warning("%s answers as before: %s", label(remote.name, reference), safe_text(error.message))
        return held, digest

    async def _fetch(self, remote: Remote, reference: Tag | Digest) -> tuple[Manifest, Digest]:
        content, media_type = await self.client.manifest(remote, reference)
        try:
            manifest = await read_manifest(content, media_type)
        except ManifestInvalid as error:
            raise WrongBytes(f"{remote.upstream.host} sent no manifest that can be served: {error.message}") from error
        algorithm = reference.algorithm if isinstance(reference, Digest) else "sha256"
        digest = Digest.of(content, algorithm)
        self._hold(remote, digest, manifest)
        self._resolved(remote, reference, digest)
        return manifest, digest

    def _hold(self, remote: Remote, digest: Digest, manifest: Manifest) -> None:
        self._manifests[remote, digest] = manifest
        self._manifests.move_to_end((remote, digest))
        size = sum(len(each.content) for each in self._manifests.values())
        while size > self.limits.upstream_manifests and len(self._manifests) > 1:
            forgotten, oldest = self._manifests.popitem(last=False)
            self._wanted.pop(forgotten, None)
            size -= len(oldest.content)

    def _resolved(self, remote: Remote, reference: Tag | Digest, digest: Digest) -> None:
        if isinstance(reference, Tag):
            self._tags[remote, reference] = digest, time.monotonic() + self.limits.upstream_tag
            self._tags.move_to_end((remote, reference))
            if len(self._tags) > _MOST_TAGS:
                self._tags.popitem(last=False)

    async def size(self, remote: Remote, digest: Digest) -> int:
        """Return how many bytes a blob has. Raise BlobUnknown, UpstreamFailed, TooManyRequests."""
        if kept := await self._kept_blob(remote, digest):
            return kept.size
        remote.check_circle()
        sizes = [
            descriptor.size
            for (where, _), manifest in self._manifests.items()
            if where == remote
            for descriptor in (*manifest.blobs, *manifest.children)
            if descriptor.digest == digest
        ]
        return sizes[0] if sizes else await self.client.size(remote, digest)

    async def blob(self, remote: Remote, digest: Digest) -> Blob | UpstreamTransfer:
        """Return a blob that is here by now, or one that arrives. Raise as `size`, or Denied for want of disk space."""

        def wrong(how: str) -> RegistryError:
            return WrongBytes(f"{remote.upstream.host} sent {how} for {digest}; nothing of it is kept")

        for (where, image), manifest in self._manifests.items():
            if where == remote and any(descriptor.digest == digest for descriptor in manifest.blobs):
                self._wanted[where, image] = time.monotonic()
        host = remote.upstream.host
        if kept := await self._kept_blob(remote, digest):
            return replace(kept, origin=host)
        size = await self.size(remote, digest)
        coming = partial(self.client.blob, remote, digest)
        found = await self.transfers.get(host, remote.via, digest, size, coming, wrong)
        return replace(found, origin=host) if isinstance(found, Blob) else found

    async def _kept_blob(self, remote: Remote, digest: Digest) -> Blob | None:
        if self.kept and (name := kept_name(remote)):
            with suppress(Denied):
                return await self.kept.find(name, digest, own=True)
        return None

    def forget_pulls(self) -> None:
        """Forget what was pulled, but not what upstreams have told."""
        self._wanted.clear()

    def forget_pull(self, pulled: Mirrored) -> None:
        """Forget that a tag was pulled, until it is pulled again."""
        for digest in pulled.images:
            self._wanted.pop((pulled.remote, digest), None)

    def pulled(self) -> list[Mirrored]:
        """Return the tags that were pulled, and of which nothing is asked any more."""
        found, now = list[Mirrored](), time.monotonic()
        for (remote, tag), (root, _) in self._tags.items():
            manifest = self._manifests.get((remote, root))
            named = [root, *(child.digest for child in manifest.children)] if manifest else []
            images = tuple(each for each in named if (remote, each) in self._wanted)
            if images and all(now - self._wanted[remote, each] >= _QUIET for each in images):
                found.append(Mirrored(remote, tag, root, images))
        return found
