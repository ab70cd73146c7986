"""How much storage images use: artifacts are billed by size and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from proxy.artifacts.base import Artifact

_HOUR = 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Volume:
    """How many artifacts hold images, their bytes together, and bytes times hours up to now; None where none bills."""

    count: int
    size: int
    byte_hours: float | None = None


def volume_of(artifacts: Sequence[Artifact], opened: Mapping[str, int], now: datetime | None) -> Volume:
    """Add artifacts up; `opened` has the true sizes of some, by id: act lists the sizes of folders."""
    sizes = [max(each.size, opened.get(each.id, 0)) for each in artifacts]
    if now is None:
        return Volume(len(sizes), sum(sizes))
    ages = [max(0.0, (now - each.created).total_seconds()) for each in artifacts]
    spent = sum(size * age / _HOUR for size, age in zip(sizes, ages, strict=True))
    return Volume(len(sizes), sum(sizes), spent)
