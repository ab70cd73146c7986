"""Delete archives that were stored for a moment only: children of an index, pushed under its tag before the index.

Docker 23 to 28.1 and buildx before 0.22 push in this way. The archive of the index has all their content and answers
for it; they are deleted once their readers had time to finish.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from proxy.artifacts.base import Artifact, StoreRefused
from proxy.catalog.archive import Archive
from proxy.catalog.catalog import Catalog
from proxy.runtime.limits import DEFAULT, Limits

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Replaced:
    artifact: Artifact
    successor: Artifact
    due: float  # monotonic seconds


@dataclass(slots=True)
class InterimArchives:
    """Removes archives whose content is in the archive that has replaced them under their tag."""

    catalog: Catalog
    limits: Limits = DEFAULT
    _due: dict[str, _Replaced] = field(default_factory=dict)

    def follow(self, successor: Archive) -> None:
        """Note which archives are to be removed because this one was stored."""
        due = time.monotonic() + self.limits.interim_kept
        for archive in self.catalog.forerunners(successor):
            self._due[archive.artifact.id] = _Replaced(archive.artifact, successor.artifact, due)

    def clear(self) -> None:
        """Forget what is to be removed: it is of another run."""
        self._due.clear()

    async def watch(self) -> None:
        """Remove, again and again, what is due."""
        while True:
            await asyncio.sleep(self.limits.interim_sweep)
            await self.remove()

    async def remove(self, *, all_of_them: bool = False) -> None:
        """Remove the archives that are due, or all; those that the store refuses to delete stay until they expire."""
        now = time.monotonic()
        for each in [each for each in self._due.values() if all_of_them or each.due <= now]:
            taken = self._due.pop(each.artifact.id, None)  # None if a flush at the same time took it
            if not (taken and self.catalog.has(each.artifact) and self.catalog.has(each.successor)):
                continue
            name, whole = each.artifact.name, each.successor.name
            try:
                await self.catalog.remove(each.artifact)
                _log.info("removed %s: %s has all of it", name, whole)
            except StoreRefused as error:
                _log.warning("%s stays until it expires, although %s has all of it: %s", name, whole, error)
