"""The order in which pending images are stored when all of them have to be: as many as possible in the time left."""

from collections.abc import Collection, Iterator

from proxy.oci.digest import Digest
from proxy.spool.pending import PendingKey
from proxy.spool.spool import Spool

_SMALL = 4 * 1024 * 1024  # bytes of a batch: small images take their time in requests, larger ones in bytes
_BESIDE = 8  # images of a batch, at most


def batches(spool: Spool, found: Collection[PendingKey]) -> Iterator[list[PendingKey]]:
    """Yield batches that are to be stored one after the other: small images first and together, then the others alone.

    The weight of an image is the bytes that its manifest, and everything below it, have in the spool.
    """
    weights = dict.fromkeys(found, 0)
    for name, digest in weights:
        pending, seen, waiting = spool.pending[name], set[Digest](), [digest]
        while waiting:
            if (each := waiting.pop()) not in seen:
                seen.add(each)
                held = pending.get(each)
                weights[name, digest] += held.entry.stored if held else spool.stored(each)
                waiting += held.named if held else ()
    batch, weight = list[PendingKey](), 0
    for image, own in sorted(weights.items(), key=lambda each: each[1]):
        if batch and (len(batch) == _BESIDE or weight + own > _SMALL):
            yield batch
            batch, weight = [], 0
        batch.append(image)
        weight += own
    if batch:
        yield batch
