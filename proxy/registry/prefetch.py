"""Read the indexes of a repository when a push to it begins: its client need not send what an artifact already has.

Clients ask for each blob before they send it, and must not wait long. So the indexes are read once for a whole push, in
the background, and a request waits for them no longer than a few seconds: blobs that are not known by then are sent
again.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from proxy.catalog.catalog import Catalog
from proxy.errors import RegistryError, reason_of
from proxy.oci.names import Name
from proxy.registry.elsewhere import Elsewhere
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.tasks import TaskSet
from proxy.text import safe_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    task: asyncio.Task[None]
    began: float  # monotonic seconds


class Prefetch:
    """Reads the indexes of repositories that are pushed to."""

    def __init__(
        self, catalog: Catalog, tasks: TaskSet, limits: Limits = DEFAULT, elsewhere: Elsewhere | None = None
    ) -> None:
        self._catalog = catalog
        self._elsewhere = elsewhere or Elsewhere()
        self._tasks = tasks
        self._limits = limits
        self._readings: dict[Name, _Reading] = {}

    def begin(self, name: Name) -> None:
        """Begin to read the indexes of a repository, unless they were read a moment ago."""
        if self._catalog.closed:
            return  # without a session nobody can push, and one may arrive at any time
        now = time.monotonic()
        self._readings = {
            each: reading
            for each, reading in self._readings.items()
            if not reading.task.done() or now - reading.began < self._limits.prefetch_good
        }
        if name not in self._readings:
            self._readings[name] = _Reading(self._tasks.spawn(self._read(name)), now)

    async def forget(self) -> None:
        """Begin anew: what was read is of another run."""
        readings, self._readings = list(self._readings.values()), {}
        for reading in readings:
            reading.task.cancel()
        await asyncio.gather(*(reading.task for reading in readings), return_exceptions=True)

    async def wait(self, name: Name) -> None:
        """Begin as `begin` does; return when all indexes are read, or when that takes longer than a client can wait."""
        self.begin(name)
        if reading := self._readings.get(name):
            left = reading.began + self._limits.prefetch_wait - time.monotonic()
            await asyncio.wait({reading.task}, timeout=max(0.0, left))

    async def _read(self, name: Name) -> None:
        """Open all archives of a repository, and some of other runs; log a failure."""
        try:
            await self._catalog.open_all(name)
            await self._elsewhere.open_some(name)
        except (RegistryError, OSError) as error:  # no push fails for it: clients send more than they would have to
            reason = safe_text(reason_of(error))
            _log.warning("not all that the artifacts of %s have is known, so it is sent again: %s", name, reason)
