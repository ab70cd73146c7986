"""A cache of archives whose index was read, bounded by the memory that the indexes take."""

from collections import OrderedDict
from collections.abc import Callable

from proxy.catalog.archive import Archive
from proxy.oci.names import Name

_BLOB = 8  # pieces that take as much memory as the rest of a blob's entry


class ArchiveCache:
    """Archives by artifact id; None stands for an artifact that is no archive.

    An archive weighs as much as it has pieces, and a little for each blob. Beyond the limit the least recently used
    ones are dropped, since an index can be read again, but never the one that was put last.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._weight = 0
        self._held: OrderedDict[str, Archive | None] = OrderedDict()
        self._of: dict[Name, dict[str, Archive]] = {}  # by repository, and by artifact id

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def get(self, key: str) -> Archive | None:
        """Return an archive, which counts as used."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def archives(self) -> list[Archive]:
        """Return all archives; none counts as used."""
        return [archive for archive in self._held.values() if archive]

    def of(self, name: Name) -> list[Archive]:
        """Return the archives of a repository; none counts as used."""
        return list(self._of.get(name, {}).values())

    def put(self, key: str, archive: Archive | None) -> None:
        """Add or replace an archive."""
        self.remove(key)
        self._held[key] = archive
        if archive:
            self._of.setdefault(archive.name, {})[key] = archive
        self._weight += _weight(archive)
        while self._weight > self._limit and len(self._held) > 1:
            self.remove(next(iter(self._held)))

    def remove(self, key: str) -> None:
        """Drop an archive, if it is here."""
        archive = self._held.pop(key, None)
        self._weight -= _weight(archive)
        if archive:
            del self._of[archive.name][key]
            if not self._of[archive.name]:
                del self._of[archive.name]

    def keep(self, wanted: Callable[[str, Archive | None], bool]) -> None:
        """Drop all but what is wanted."""
        for key in [key for key, archive in self._held.items() if not wanted(key, archive)]:
            self.remove(key)


def _weight(archive: Archive | None) -> int:
    if archive is None:
        return 0
    blobs = sum(_BLOB + len(entry.pieces) for entry in archive.index.blobs.values())
    return blobs + sum(1 + len(hints) for hints in (archive.index.siblings or {}).values())
