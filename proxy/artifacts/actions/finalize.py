"""The last step of a push: an artifact is finished once, and it is known that it was.

Finalize is not idempotent: repeated after a lost answer it makes a second artifact. So whoever does not know looks
first. And some servers say yes to what they did not finish.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proxy.artifacts.actions.block_upload import Uploaded, UploadLost
from proxy.artifacts.actions.results import Listed, NameTaken, NoSuchArtifact, Refused, ResultsService, Unclear
from proxy.artifacts.actions.run_reader import artifact_of
from proxy.runtime.patience import Patience

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finalizer:
    """One artifact that was uploaded. `is_whole` says whether a listed one, without a digest, has all of its bytes.

    `deleted` are the ids of artifacts that a listing may still show although they were deleted.
    """

    service: ResultsService
    name: str
    uploaded: Uploaded
    is_whole: Callable[[Listed, int], Awaitable[bool]]
    may: Callable[[], Awaitable[None]]
    deleted: frozenset[str] = frozenset()

    async def once(self, *, look: bool) -> Listed | str:
        """Finish it; gives its id, or how it is listed where that is known. UploadLost if its name has to be given up.

        `look`: this server may say yes to what it has not finished. `may` is asked before each try, and raises
        Contested where another job has the tag by now.
        """
        size, timeouts = self.uploaded.size, self.service.timeouts
        once, over_all = timeouts.finishing_times(timeouts.finalize, size)
        patience = Patience(over_all)
        for wait in self.service.waits():
            await self.may()
            agreed, wait_asked = "", 0.0
            limit = max(0.0, min(once, patience.left))
            try:
                agreed = await self.service.finalize(self.name, size, self.uploaded.sha256, limit)
            except Unclear as doubt:
                _log.info("finishing %s: %s", self.name, doubt)
                wait_asked = doubt.wait
            except (NameTaken, NoSuchArtifact, Refused) as error:
                return await self._found_after(error)
            if agreed and not look:
                return agreed
            if agreed and (found := await self._found()):
                return found
            pause = max(wait, wait_asked)
            is_over = pause >= patience.left
            await asyncio.sleep(0 if is_over else pause)
            if found := await self._found():
                return found
            if is_over:
                raise UploadLost("the artifact service does not finish it", is_final=True)
            self.service.retrying()
        raise UploadLost("the artifact service does not finish it")

    async def _found_after(self, error: Exception) -> Listed:
        """Look for it after an answer that says it cannot be finished. Raise UploadLost if it is not there."""
        _log.info("finishing %s: %s", self.name, error)
        if found := await self._found():
            return found
        raise UploadLost("the artifact service has lost it")

    async def _found(self) -> Listed | None:
        """Look for the finished artifact; the newest, if there are several."""
        for found in reversed(await self.service.listed()):
            is_ours = found.name == self.name and found.run == self.service.session.run
            if not is_ours or artifact_of(found).id in self.deleted:
                continue
            if self.uploaded.sha256 is None:
                is_it = found.job == self.service.session.job and found.size == self.uploaded.size
            elif found.digest:
                is_it = found.digest == f"sha256:{self.uploaded.sha256}"
            else:
                is_it = found.size > 0 and await self.is_whole(found, self.uploaded.size)
            if is_it:
                return found
        return None
