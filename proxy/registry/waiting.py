"""Pulls that wait for an image which another job is about to push, so that consumers can start before producers end."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from proxy.artifacts.base import StoreExpired, StoreRefused, UnreadableArtifact
from proxy.blob import Blob
from proxy.errors import ManifestUnknown
from proxy.oci.names import Name, Tag, label
from proxy.registry.lookup import Lookup
from proxy.text import format_duration

_log = logging.getLogger(__name__)
_TOLD = 60.0  # seconds for which a pull that waited in vain is not made to wait again: clients ask twice


@dataclass(slots=True)
class PullWait:
    """Waits for tags for at most `seconds`; all who wait look at the store together, after `pauses` that grow."""

    lookup: Lookup
    seconds: float
    pauses: Sequence[float]
    _waiting: dict[tuple[Name, Tag], int] = field(default_factory=dict)
    _in_vain: dict[tuple[Name, Tag], float] = field(default_factory=dict)  # until when (monotonic seconds)
    _looks: int = 0  # since the last tag was added
    _due: float = 0.0  # the next look (monotonic seconds)

    @property
    def tags(self) -> Sequence[tuple[Name, Tag]]:
        """The tags that somebody waits for."""
        return tuple(self._waiting)

    def forget(self) -> None:
        """Forget for which tags was waited in vain: another run may have them soon."""
        self._in_vain.clear()

    async def manifest(self, name: Name, tag: Tag) -> Blob:
        """Return the manifest of a tag, once it is there. Raise what `Lookup.manifest` raises, in the end.

        Other runs are read only then: an old image never comes in place of the one that is about to be pushed.
        """
        key, began = (name, tag), time.monotonic()
        seconds = 0.0 if began < self._in_vain.get(key, 0.0) else self.seconds
        counted = False
        with ExitStack() as waiting:
            while True:
                left = began + seconds - time.monotonic()
                try:
                    return await self.lookup.manifest(name, tag, own=left > 0)
                except (UnreadableArtifact, StoreExpired):
                    raise
                except (ManifestUnknown, StoreRefused) as error:
                    if left <= 0:
                        raise self._after(key, error) if seconds else error from None
                    if not counted:
                        counted = waiting.enter_context(self._counted(key))
                now = time.monotonic()
                if now >= self._due:
                    self._due = now + self.pauses[min(self._looks, len(self.pauses) - 1)]
                    self._looks += 1
                await asyncio.sleep(min(left, self._due - now))

    def _after(self, key: tuple[Name, Tag], error: ManifestUnknown | StoreRefused) -> ManifestUnknown | StoreRefused:
        now = time.monotonic()
        self._in_vain = {each: until for each, until in self._in_vain.items() if until > now} | {key: now + _TOLD}
        _log.info("%s did not appear within %s (RELAY_WAIT)", label(*key), format_duration(self.seconds))
        if not isinstance(error, ManifestUnknown):
            return error
        return ManifestUnknown(f"{error.message} It did not appear within {format_duration(self.seconds)} (RELAY_WAIT)")

    @contextmanager
    def _counted(self, key: tuple[Name, Tag]) -> Iterator[bool]:
        """Count who waits for a tag within the block; for a new tag the pauses begin again."""
        if key not in self._waiting:
            self._looks = 0
            _log.info(
                "%s is not there yet: a pull waits for it, for %s at most", label(*key), format_duration(self.seconds)
            )
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            yield True
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
