"""Group requests for manifests and blobs into pulls.

A registry sees single requests. A pull begins with a manifest, and nothing marks its end: clients do not request the
blobs that they have. So a pull is over when none of its content was requested for a while.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from proxy.events import EventBus, Pulled
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.registry.image_export import ExportedImage

_QUIET = 2.0  # seconds without a request after which a pull is over
_TICK = 0.5  # seconds between two checks of that
_DIGEST = re.compile(rb"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")


@dataclass(slots=True)
class _Pull:
    """A manifest that was served, and the content that was requested of it."""

    name: Name
    reference: Tag | Digest
    digest: Digest
    began: float
    last: float
    origin: str = ""
    named: set[bytes] = field(default_factory=set)
    size: int = 0
    blobs: int = 0
    under_way: int = 0
    broken: set[Digest] = field(default_factory=set)  # which the client has not got whole

    @property
    def told(self) -> Pulled:
        """The event that describes the pull so far."""
        name, took = label(self.name, self.reference), self.last - self.began
        return Pulled(name, str(self.digest), self.size, self.blobs, took, self.origin)


@dataclass(slots=True)
class PullTracker:
    """Pulls that are not over yet."""

    events: EventBus
    clock: Callable[[], float] = time.monotonic
    most_open: int = field(default=200, kw_only=True)
    most_named: int = field(default=50_000, kw_only=True)  # digests in the manifests of open pulls; 140 bytes each
    most_tags: int = field(default=1000, kw_only=True)  # whose digest a client was told
    _open: OrderedDict[tuple[Name, Digest], _Pull] = field(default_factory=OrderedDict, init=False)
    _resolved: OrderedDict[tuple[Name, Digest], Tag] = field(default_factory=OrderedDict, init=False)

    def resolve(self, name: Name, reference: Tag | Digest, digest: Digest) -> None:
        """Note the digest that a client was told for a tag: it requests that digest next."""
        if isinstance(reference, Tag):
            self._resolved[name, digest] = reference
            self._resolved.move_to_end((name, digest))
            if len(self._resolved) > self.most_tags:
                self._resolved.popitem(last=False)

    def manifest(self, name: Name, reference: Tag | Digest, digest: Digest, content: bytes, origin: str = "") -> None:
        """Note that a manifest is served, which begins a pull or belongs to one; end the oldest pulls if needed."""
        self.resolve(name, reference, digest)
        now = self.clock()
        pull = self._open.get((name, digest))
        if pull and pull.blobs and not pull.under_way:  # that client had all that it wanted: this is another pull
            self._end(pull)
            pull = None
        pull = pull or self._of(name, digest)
        if pull is None:
            tag = self._resolved.get((name, digest))
            pull = self._open[name, digest] = _Pull(name, tag or reference, digest, now, now, origin)
        pull.named.update(_DIGEST.findall(content))
        pull.size += len(content)
        pull.last = now
        total = sum(len(each.named) for each in self._open.values())
        while len(self._open) > 1 and (len(self._open) > self.most_open or total > self.most_named):
            oldest = next(iter(self._open.values()))
            total -= len(oldest.named)
            self._end(oldest)

    def tarball(self, images: Iterable[ExportedImage], seconds: float) -> None:
        """Emit a pull for each image that was served in a tarball."""
        for each in images:
            self.events.emit(Pulled(each.reference, str(each.digest), each.size, each.blobs, seconds, each.origin))

    @contextmanager
    def blob(self, name: Name, digest: Digest) -> Iterator[Callable[[int], None]]:
        """Note that a blob is served within the block; yield a function that counts the bytes sent.

        A pull of which a blob broke off, and did not come whole later, is none.
        """
        pull = self._of(name, digest)
        if pull is None:  # its client has the manifest from elsewhere
            yield lambda _: None
            return

        def went(size: int) -> None:
            pull.size += size

        pull.blobs += 1
        pull.under_way += 1
        pull.broken.add(digest)
        try:
            yield went
            pull.broken.discard(digest)
        finally:
            pull.under_way -= 1
            pull.last = self.clock()

    def _of(self, name: Name, digest: Digest) -> _Pull | None:
        """Return the latest pull whose manifest names this content."""
        wanted = str(digest).encode()
        return next(
            (each for each in reversed(self._open.values()) if each.name == name and wanted in each.named), None
        )

    async def watch(self) -> None:
        """End, again and again, the pulls of which nothing was requested for a while."""
        while True:
            await asyncio.sleep(_TICK)
            self.end(quiet=_QUIET)

    def end(self, quiet: float = 0.0) -> None:
        """End the pulls of which nothing is being sent, nor was requested for `quiet` seconds."""
        for pull in list(self._open.values()):
            if not pull.under_way and self.clock() - pull.last >= quiet:
                self._end(pull)

    def forget(self) -> None:
        """Take all pulls for ended, and forget of which tags they were: what follows is of another run."""
        for pull in list(self._open.values()):  # also those of which something is still being sent
            self._end(pull)
        self._resolved.clear()

    def under_way(self) -> list[Pulled]:
        """Return the pulls that are not over, as they are now."""
        return [pull.told for pull in self._open.values()]

    def _end(self, pull: _Pull) -> None:
        del self._open[pull.name, pull.digest]
        if not pull.broken or pull.under_way:  # what is on its way may still come whole
            self.events.emit(pull.told)
