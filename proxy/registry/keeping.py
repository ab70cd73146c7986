"""Images of upstreams that are kept as artifacts, so that the other jobs of the run need not fetch them.

The image `docker.io/library/alpine:3` becomes `upstream/docker.io/library/alpine:3`: a repository of its own, which
answers for the registry only. Of several platforms those are kept that were pulled.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from proxy.blob import Blob
from proxy.errors import Denied, RegistryError, reason_of
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, label
from proxy.registry.mirror import Mirror, Mirrored, kept_name
from proxy.registry.push import Push
from proxy.runtime.tasks import TaskSet
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_TICK = 1.0  # seconds between two looks for what was pulled


@dataclass(slots=True)
class Keeping:
    """Stores what was pulled from upstreams, if that is wanted; `closed` says why nothing can be stored now."""

    mirror: Mirror
    push: Push
    closed: Callable[[], str]
    is_wanted: bool
    _tasks: TaskSet = field(default_factory=TaskSet)

    async def watch(self) -> None:
        """Keep, again and again, what was pulled and of which nothing is asked any more."""
        try:
            while self.is_wanted:
                await asyncio.sleep(_TICK)
                if not self.closed():
                    await asyncio.wait({self._tasks.spawn(self.keep_pulled())})
        finally:
            await self._tasks.cancel_all()

    async def forget(self) -> None:
        """Stop storing what was pulled so far, and forget that it was: the next pull is one of another run."""
        self.mirror.forget_pulls()
        await self._tasks.cancel_all()

    async def keep_pulled(self) -> None:
        """Store what was pulled since the last time; a failure is logged, and the next pull is the next try."""
        for each in self.mirror.pulled():
            name = kept_name(each.remote)
            try:
                archive = await self.push.catalog.resolve(name, each.tag) if name else None
                kept = archive.index.blobs.keys() if archive and archive.index.root == each.root else set[Digest]()
                if name and not kept >= set(each.images):
                    await self.keep(name, each)
            except (RegistryError, OSError) as error:
                _log.warning("%s is not kept: %s", label(each.remote.name, each.tag), safe_text(reason_of(error)))
            finally:
                self.mirror.forget_pull(each)

    async def keep(self, name: Name, pulled: Mirrored) -> None:
        """Store an image in a repository, with what of it is not here yet. Raise RegistryError, OSError."""
        for digest in pulled.images:
            image = await self._manifest(pulled, digest)
            for descriptor in (each for each in image.blobs if not each.may_be_absent):
                blob = await self.mirror.blob(pulled.remote, descriptor.digest)
                if not isinstance(blob, Blob):
                    await blob.finished.wait()
                if await self.push.spool.find(descriptor.digest):
                    await self.push.spool.link(name, descriptor.digest)
                elif await self.push.lookup.find(name, descriptor.digest, own=True) is None:
                    raise Denied("the cache has no room for it (RELAY_SPOOL_LIMIT)")
            if digest != pulled.root:
                await self.push.hold(name, digest, image)
        root = await self._manifest(pulled, pulled.root)
        await self.push.flights.to_end(partial(self.push.put_tagged, name, [pulled.tag], pulled.root, root))

    async def _manifest(self, pulled: Mirrored, digest: Digest) -> Manifest:
        blob = await self.mirror.manifest(pulled.remote, digest)
        return await self.push.lookup.parsed(blob)
