"""Archives that another one has replaced, and that stay open for as long as somebody pulls from them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.catalog.archive import Archive
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag


@dataclass(slots=True)
class _Held:
    """An archive, and when somebody last asked for it (monotonic seconds)."""

    archive: Archive
    used: float


class ReplacedArchives:
    """Holds each archive until nobody has asked for it for `kept` seconds."""

    def __init__(self, kept: float) -> None:
        self._kept = kept
        self._held: list[_Held] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, archives: Iterable[Archive]) -> None:
        """Hold archives that were replaced now."""
        self._held += [_Held(each, time.monotonic()) for each in archives]

    def find(self, name: Name, digest: Digest) -> Archive | None:
        """Return an archive of a repository that has this content."""
        self.drop_unused()
        for held in self._held:
            if held.archive.name == name and held.archive.has(digest):
                held.used = time.monotonic()
                return held.archive
        return None

    def forget_root(self, name: Name, root: Digest) -> bool:
        """Forget the archives of a repository that have this root; return whether there were any."""
        self.drop_unused()
        before = len(self._held)
        self._held = [each for each in self._held if (each.archive.name, each.archive.index.root) != (name, root)]
        return len(self._held) < before

    def forget_reference(self, name: Name, reference: Tag | Digest) -> None:
        """Forget the archives of a reference."""
        gone = (name, reference)
        self._held = [each for each in self._held if (each.archive.name, each.archive.reference) != gone]

    def drop_unused(self) -> None:
        """Forget what nobody has asked for lately."""
        since = time.monotonic() - self._kept
        self._held = [each for each in self._held if each.used >= since]

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
