"""What clients were told is here, although only archives have it: they do not send it, but name it next."""

import time
from collections import OrderedDict

from proxy.oci.digest import Digest
from proxy.oci.names import Name


class Told:
    """How many clients were told of a blob of a repository, each for `kept` seconds, of `most` blobs."""

    def __init__(self, kept: float, most: int = 20_000) -> None:
        self._kept = kept
        self._most = most
        self._held: OrderedDict[tuple[Name, Digest], tuple[float, int]] = OrderedDict()  # the last one told stands last

    def add(self, name: Name, digest: Digest) -> None:
        """Count one more client."""
        _, count = self._held.pop((name, digest), (0.0, 0))
        self._held[name, digest] = time.monotonic(), count + 1
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def subtract(self, name: Name, digest: Digest, count: int) -> None:
        """Count fewer clients: so many have named it by now."""
        at, told = self._held.get((name, digest), (0.0, 0))
        if told > count:
            self._held[name, digest] = at, told - count
        else:
            self._held.pop((name, digest), None)

    def take(self, name: Name, digest: Digest) -> int:
        """Forget a blob, and return how many clients were told of it."""
        return self._held.pop((name, digest), (0.0, 0))[1]

    def repositories(self) -> dict[Digest, set[Name]]:
        """Return the blobs, and of which repositories clients were told that they have them."""
        since, found = time.monotonic() - self._kept, dict[Digest, set[Name]]()
        self._held = OrderedDict((key, held) for key, held in self._held.items() if held[0] >= since)
        for name, digest in self._held:
            found.setdefault(digest, set()).add(name)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
