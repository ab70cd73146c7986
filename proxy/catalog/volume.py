"""How much storage images use: artifacts are billed by size and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.artifacts.base import Artifact, ArtifactStore

_HOUR = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Volume:
    """How many artifacts hold images, their bytes together, and bytes times hours up to now; None where none bills.

    `deleted`: the bytes times hours that others had used, until they were deleted here.
    """

    count: int
    size: int
    byte_hours: float | None = None
    deleted: float = 0.0


class Usage:
    """Adds up the artifacts of a store, and what those have used that were deleted here."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._deleted = 0.0  # byte hours

    def delete(self, artifact: Artifact, size: int) -> None:
        """Take note that an artifact of so many bytes is deleted now: it uses no more."""
        self._deleted += _byte_hours(size, artifact, self._store.now())

    def clear(self) -> None:
        """Forget what was deleted: it was in another run."""
        self._deleted = 0.0

    def volume(self, artifacts: Sequence[Artifact], opened: Mapping[str, int]) -> Volume:
        """Add artifacts up; `opened` has the true sizes of some, by id: act lists the sizes of folders."""
        sizes = [max(each.size, opened.get(each.id, 0)) for each in artifacts]
        if not self._store.is_remote:
            return Volume(len(sizes), sum(sizes))
        now = self._store.now()
        spent = sum(_byte_hours(size, each, now) for size, each in zip(sizes, artifacts, strict=True))
        return Volume(len(sizes), sum(sizes), spent, self._deleted)


def _byte_hours(size: int, artifact: Artifact, now: datetime) -> float:
    return size * max(0.0, (now - artifact.created).total_seconds()) / _HOUR
