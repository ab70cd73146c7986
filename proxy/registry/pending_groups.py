"""In which order pending images are stored when all have to be: as many as possible in the time that there is."""

from collections.abc import Collection, Iterator

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.spool.spool import Spool

_SMALL = 4 * 1024 * 1024  # bytes of images that are stored side by side: these cost requests, larger ones bytes
_BESIDE = 8  # images at most
Held = tuple[Name, Digest]


def batches(spool: Spool, found: Collection[Held]) -> Iterator[list[Held]]:
    """Return batches, one to be stored after the other: small images first and together, then any other alone."""
    batch, weight = list[Held](), 0
    for own, held in sorted(((_weight(spool, *held), held) for held in found), key=lambda each: each[0]):
        if batch and (len(batch) == _BESIDE or weight + own > _SMALL):
            yield batch
            batch, weight = [], 0
        batch.append(held)
        weight += own
    if batch:
        yield batch


def _weight(spool: Spool, name: Name, digest: Digest) -> int:
    """Return how many bytes of the spool a pending manifest and everything below it have."""
    pending, weight = spool.pending[name], 0
    seen, waiting = set[Digest](), [digest]
    while waiting:
        if (each := waiting.pop()) not in seen:
            seen.add(each)
            held = pending.get(each)
            weight += held.entry.stored if held else spool.stored(each)
            waiting += held.named if held else ()
    return weight
