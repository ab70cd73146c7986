"""Open each artifact of a store once, and remember the archives and those that cannot be read for now.

A finished artifact whose end makes no sense is a failure and not an absence, or something older would answer in its
place. It is read again, with pauses; after that, requests for it fail at once for a while. An artifact that is still
being uploaded, on a server that lists those, is skipped: its end is still to come.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from weakref import WeakValueDictionary

from proxy.archive.container import OVERHEAD
from proxy.archive.index import TAIL, ArchiveInvalid, FormatUnknown
from proxy.artifacts.base import (
    ADVICE,
    Artifact,
    ArtifactGone,
    ArtifactStore,
    CorruptDownload,
    StoreExpired,
    StoreRefused,
    UnreadableArtifact,
    told_of,
)
from proxy.artifacts.naming import Naming
from proxy.artifacts.retry import RetryableError, retry
from proxy.catalog.archive import Archive, read
from proxy.catalog.cache import ArchiveCache
from proxy.errors import ContentDamaged, RegistryError
from proxy.runtime import garbage
from proxy.runtime.files import LocalFile
from proxy.runtime.tasks import run_in_thread, run_many
from proxy.text import safe_text

_log = logging.getLogger(__name__)
_FAILURES = (ArtifactGone, ArchiveInvalid, StoreRefused, RegistryError, OSError)  # to open an artifact
_VERY_MANY = 1000  # archives whose indexes the garbage collector would look at again and again
_CHECKED = TAIL + OVERHEAD  # bytes of an artifact that is read as a whole and compared with its digest


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an artifact could not be read, and until when (monotonic seconds) no request tries again."""

    error: UnreadableArtifact
    until: float


class Opener:
    """Reads the indexes of one store.

    `limit` is how many pieces the cached indexes may have; `is_there` returns, by a new listing, whether an artifact
    that could not be opened still exists; what has to be unpacked goes to `folder`.
    """

    def __init__(
        self,
        store: ArtifactStore,
        naming: Naming,
        limit: float,
        is_there: Callable[[Artifact], Awaitable[bool]],
        folder: Path | None,
    ) -> None:
        self.archives = ArchiveCache(limit)
        self._store = store
        self._naming = naming
        self._is_there = is_there
        self._folder = folder
        self._chance = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._problems: dict[str, Problem] = {}  # by the id of the artifact
        self._clearings = 0  # so far
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._together = asyncio.Lock()

    async def open(self, artifact: Artifact) -> Archive | None:
        """Return an archive; None if it is gone, is none, or is unfinished. Raise UnreadableArtifact, StoreExpired."""
        if artifact.id in self.archives:
            return self.archives.get(artifact.id)
        async with self._opening.setdefault(artifact.id, asyncio.Lock()):
            if artifact.id in self.archives:
                return self.archives.get(artifact.id)
            known = self._problems.get(artifact.id)
            if known and time.monotonic() < known.until:
                raise known.error.afresh()
            return await self._opened(artifact, known)

    def _new(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        return [each for each in artifacts if each.id not in self.archives and each.id not in self._problems]

    async def open_together(self, artifacts: Sequence[Artifact]) -> None:
        """Open artifacts of a local store, many in one thread; those that fail are left to `open`, which says why."""
        if self._store.is_remote:
            return
        if not self._new(artifacts):
            return
        async with self._together:  # who comes meanwhile finds them open
            new = self._new(artifacts)
            clearings = self._clearings
            open_one = partial(read, self._store, self._naming, folder=self._folder)
            async for found in run_many(open_one, new, _FAILURES):
                if clearings != self._clearings:
                    return
                for artifact, archive in found:
                    if archive and artifact.id not in self.archives and artifact.id not in self._opening:
                        self.archives.put(artifact.id, archive)
                if len(new) >= _VERY_MANY:
                    garbage.settle()

    async def _opened(self, artifact: Artifact, known: Problem | None) -> Archive | None:
        clearings = self._clearings
        try:
            archive = await self._read(artifact)
        except ArtifactGone:
            return None
        except UnreadableArtifact as error:
            if known is None or known.error.problem != error.problem:
                _log.warning("%s", safe_text(str(error)))
            until = float("inf") if error.proven else time.monotonic() + self._store.rereading.rest
            if isinstance(error.__cause__, StoreRefused):  # the store knows what failed, and refuses reads itself
                until = float("-inf")
            self._problems[artifact.id] = Problem(error.afresh(), until)
            raise
        except StoreExpired as error:  # tried again at once: a new session may have come
            self._problems[artifact.id] = Problem(UnreadableArtifact(artifact, str(error)), float("-inf"))
            raise
        if clearings != self._clearings:  # ids of another run may be the same
            return archive
        if self._problems.pop(artifact.id, None):
            _log.info("%s can be read again", safe_text(artifact.name))
        self.archives.put(artifact.id, archive)
        return archive

    def problems(self) -> list[UnreadableArtifact]:
        """Return why artifacts could not be read, without those that were read since."""
        return [each.error for each in self._problems.values()]

    def forget(self, artifact: str) -> None:
        """Forget all about the artifact with this id."""
        self.archives.remove(artifact)
        self._problems.pop(artifact, None)

    def clear(self) -> None:
        """Forget all, also what is being opened."""
        self._clearings += 1
        self.keep(lambda *_: False, ())

    async def pin(self, artifacts: Iterable[Artifact]) -> None:
        """Let those who read a file go on when it is replaced or removed, which is about to happen."""
        for each in artifacts:
            archive = self.archives.get(each.id)
            if archive and isinstance(archive.source, LocalFile):
                with suppress(ContentDamaged):  # it is gone already
                    await run_in_thread(archive.source.pin)

    def keep(self, settled: Callable[[str, Archive | None], bool], listed: Container[str]) -> None:
        """Drop the archives that are not settled, and the problems of what is no longer listed."""
        self.archives.keep(settled)
        self._problems = {key: each for key, each in self._problems.items() if key in listed}

    async def _read(self, artifact: Artifact) -> Archive | None:
        attempt = partial(self._finished if artifact.finalized else self._unfinished, artifact)
        with told_of(artifact):
            try:
                return await retry(self._store.rereading.policy, self._chance, attempt)
            except RetryableError as fault:
                raise UnreadableArtifact(artifact, str(fault)) from None

    async def _finished(self, artifact: Artifact) -> Archive | None:
        """Read what has to be an archive; raise RetryableError if what comes is none."""
        try:
            return await read(self._store, self._naming, artifact, self._folder)
        except ArtifactGone:
            if not await self._is_there(artifact):
                raise
            raise RetryableError(f"it is listed, and its bytes are not there; {ADVICE}") from None
        except FormatUnknown as error:
            raise RetryableError(f"{error}; update image-relay") from error
        except CorruptDownload as error:
            raise RetryableError(f"{error}; {ADVICE}") from error
        except ArchiveInvalid as error:
            if artifact.digest and artifact.size <= _CHECKED:
                raise UnreadableArtifact(artifact, f"{error}; push it again, or remove it", proven=True) from error
            raise RetryableError(f"{error}; {ADVICE}") from error

    async def _unfinished(self, artifact: Artifact) -> Archive | None:
        """Read what may be unfinished, from a remote store twice: what came may have been damaged on its way."""
        for _ in range(2 if self._store.is_remote else 1):
            try:
                return await read(self._store, self._naming, artifact, self._folder)
            except ArtifactGone:
                if not await self._is_there(artifact):
                    raise
            except ArchiveInvalid:
                pass
        return None
