"""Archives that were stored for a moment only: what an index names, pushed under its tag before the index came.

Docker 23 to 28.1 and buildx before 0.22 push so. The archive of the index has all that was in them and answers for it;
they go when whoever reads them had time to finish.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from proxy.artifacts.base import Artifact, StoreRefused
from proxy.catalog.catalog import Archive, Catalog

_log = logging.getLogger(__name__)
_TICK = 1.0  # seconds between two looks at what is due
_GRACE = 60.0  # seconds for which who reads a forerunner may go on


@dataclass(frozen=True, slots=True)
class _Forerunner:
    artifact: Artifact
    successor: Artifact
    due: float  # monotonic seconds


@dataclass(slots=True)
class Superseded:
    """Removes what an archive of the same tag contains, and has replaced."""

    catalog: Catalog
    _due: dict[str, _Forerunner] = field(default_factory=dict)

    def follow(self, successor: Archive) -> None:
        """Note what goes because an archive was stored."""
        due = time.monotonic() + _GRACE
        for archive in self.catalog.forerunners(successor):
            self._due[archive.artifact.id] = _Forerunner(archive.artifact, successor.artifact, due)

    async def watch(self) -> None:
        """Remove, for ever, what is due."""
        while True:
            await asyncio.sleep(_TICK)
            await self.remove()

    async def remove(self, *, all_of_them: bool = False) -> None:
        """Remove those whose time has come; what the store does not let go of stays until it expires."""
        now = time.monotonic()
        for each in [each for each in self._due.values() if all_of_them or each.due <= now]:
            taken = self._due.pop(each.artifact.id, None)  # else by a flush beside this one
            if taken and self.catalog.has(each.artifact) and self.catalog.has(each.successor):
                await self._remove(each)

    async def _remove(self, each: _Forerunner) -> None:
        name, whole = each.artifact.name, each.successor.name
        try:
            await self.catalog.remove(each.artifact)
            _log.info("removed %s: %s has all of it", name, whole)
        except StoreRefused as error:
            _log.warning("%s stays until it expires, although %s has all of it: %s", name, whole, error)
