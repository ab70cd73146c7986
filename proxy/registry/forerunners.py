"""Archives that were stored for a moment only: what an index names, pushed under its tag before the index came.

Docker 23 to 28.1 and buildx before 0.22 push so. The archive of the index has all that was in them and answers for it;
they go when whoever reads them had time to finish.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from proxy.artifacts.base import StoreRefused
from proxy.catalog import Archive, Catalog
from proxy.oci.names import label

_log = logging.getLogger(__name__)
_TICK = 1.0  # seconds between two looks at what is due
_GRACE = 60.0  # seconds for which who reads a forerunner may go on


@dataclass(frozen=True, slots=True)
class _Forerunner:
    archive: Archive
    successor: Archive
    due: float  # monotonic seconds


@dataclass(slots=True)
class Forerunners:
    """Removes what an archive of the same tag contains, and has replaced."""

    catalog: Catalog
    _due: dict[str, _Forerunner] = field(default_factory=dict)

    def follow(self, successor: Archive) -> None:
        """Note what goes because an archive was stored."""
        due = time.monotonic() + _GRACE
        for archive in self.catalog.forerunners(successor):
            self._due[archive.artifact.id] = _Forerunner(archive, successor, due)

    async def watch(self) -> None:
        """Remove, for ever, what is due."""
        while True:
            await asyncio.sleep(_TICK)
            await self.remove()

    async def remove(self, *, all_of_them: bool = False) -> None:
        """Remove those whose time has come; what the store does not let go of stays until it expires."""
        now = time.monotonic()
        for each in [each for each in self._due.values() if all_of_them or each.due <= now]:
            del self._due[each.archive.artifact.id]
            if self.catalog.has(each.archive) and self.catalog.has(each.successor):
                await self._remove(each.archive)

    async def _remove(self, archive: Archive) -> None:
        whole = label(archive.name, archive.reference)
        try:
            await self.catalog.remove(archive)
            _log.info("removed %s: all that is in it is in the newer %s", archive.artifact.name, whole)
        except StoreRefused as error:
            _log.warning("%s stays, although the newer %s has all of it: %s", archive.artifact.name, whole, error)
