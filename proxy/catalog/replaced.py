"""Archives that another one has replaced, and that stay open for as long as somebody pulls from them."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.catalog.archive import Archive
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag


@dataclass(slots=True)
class _Lingering:
    """An archive, when it was replaced or somebody last asked for it (monotonic seconds), and whether somebody did.

    An index that is still being pushed may need what `is_step`.
    """

    archive: Archive
    used: float
    asked: bool = False
    is_step: bool = False


class ReplacedArchives:
    """Holds each archive until nobody has asked for it for `kept` seconds, and `most` of them: each is an open file.

    What is a step of a push is held for `steps_kept` seconds, or until something that is none takes its tag.
    """

    def __init__(self, kept: float, most: int, steps_kept: float) -> None:
        self._kept = kept
        self._most = most
        self._steps_kept = steps_kept
        self._held: list[_Lingering] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, archives: Iterable[Archive], successor: Archive) -> None:
        """Hold archives that were replaced now. If there are too many, those go first that nobody has asked for."""
        held = self._held + [_Lingering(each, time.monotonic(), is_step=bool(each.index.interim)) for each in archives]
        for each in held:
            same = (each.archive.name, each.archive.reference) == (successor.name, successor.reference)
            if each.is_step and same and not successor.index.interim:  # the index has come, or something else
                each.used, each.is_step = time.monotonic(), False
        self._held = sorted(held, key=lambda each: (each.asked, each.is_step, each.used))[-self._most :]

    def find(self, digest: Digest, name: Name | None = None) -> Archive | None:
        """Return an archive, of a repository or of any, that has this content."""
        self._drop_unused()
        for held in self._held:
            if name in {None, held.archive.name} and held.archive.has(digest):
                held.used, held.asked = time.monotonic(), True
                return held.archive
        return None

    def forget_root(self, name: Name, root: Digest) -> bool:
        """Forget the archives of a repository that have this root; return whether there were any."""
        self._drop_unused()
        before = len(self._held)
        self._held = [each for each in self._held if (each.archive.name, each.archive.index.root) != (name, root)]
        return len(self._held) < before

    def forget_reference(self, name: Name, reference: Tag | Digest) -> None:
        """Forget the archives of a reference."""
        gone = (name, reference)
        self._held = [each for each in self._held if (each.archive.name, each.archive.reference) != gone]

    async def watch(self) -> None:
        """Close, again and again, what nobody has asked for lately."""
        while True:
            await asyncio.sleep(self._kept / 4)
            self._drop_unused()

    def _drop_unused(self) -> None:
        """Forget what nobody has asked for lately."""
        now = time.monotonic()
        self._held = [
            each for each in self._held if now - each.used <= (self._steps_kept if each.is_step else self._kept)
        ]

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
