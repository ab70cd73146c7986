"""Copies inside the storage: Put Block From URL (Azure's REST API 2020-10-02), so that layers cross no wire twice.

Whether a storage may do that is found out by trying. A copy is believed only if the storage tells the CRC-64 of what it
has copied, and that is the one which the index of the source promises. Whatever goes wrong, the bytes can be sent.
"""

import base64
import logging
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from functools import partial
from http import HTTPStatus

from yarl import URL

from proxy.archive.crc64 import packed
from proxy.artifacts.actions.azure import BlobStorage, appends
from proxy.artifacts.base import ArtifactGone, CopySource, StoreRefused, Stretch
from proxy.artifacts.retry import RetryableError, is_retryable, retry_after
from proxy.runtime.patience import Patience

_log = logging.getLogger(__name__)
_LONGEST = 2048  # characters of a URL to copy from (Put Block From URL, `x-ms-copy-source`)
_ATTEMPTS = 4  # at a copy that storage cannot make just now: the bytes can be sent instead
_TRIES = 2  # of one source: a refusal is believed when a fresh URL of a listed artifact is refused as well
_CRC64 = "x-ms-content-crc64"
_OTHER_BYTES = "Crc64Mismatch"  # the code of a 400


class _Outcome(Enum):
    COPIED = auto()
    REFUSED = auto()  # this storage may not copy from that one
    WRONG = auto()  # the source has other bytes than its index says, is gone, or cannot be read now


class Copying:
    """Copies into the blob behind one upload URL. `timely` raises when that URL is no longer good."""

    def __init__(self, storage: BlobStorage, url: URL, timely: Callable[[], None]) -> None:
        self._storage = storage
        self._url = url
        self._timely = timely
        self._gave_up = False  # has storage failed to copy for as long as we are patient?

    @property
    def possible(self) -> bool:
        """Return whether this is a storage that may be asked to copy."""
        return not appends(self._url)

    async def copied(self, put: URL, stretch: Stretch) -> bool:
        """Let storage copy a stretch as the block that `put` names; return False if the bytes have to be sent."""
        for source, offset in stretch.sources:
            if self._gave_up:
                return False
            if await self._from(put, stretch, source, source.position(offset)) is _Outcome.COPIED:
                return True
        return False

    async def _from(self, put: URL, stretch: Stretch, source: CopySource, at: int) -> _Outcome:
        """Copy from one artifact; what is gone, or cannot be read now, is WRONG: another one may have the bytes."""
        url = None
        try:
            for _ in range(_TRIES):
                url = await source.signed(refused=url)
                if len(str(url)) > _LONGEST or appends(url) or self._pair(url) in self._storage.refusing:
                    return _Outcome.REFUSED
                policy = self._storage.timeouts.blobs
                policy = replace(policy, attempts=min(_ATTEMPTS, policy.attempts))
                attempt = partial(self._once, put, stretch, url, at)
                patience = Patience(self._storage.timeouts.transfer)  # the bytes can be sent instead
                outcome = await self._storage.retry("copying", attempt, policy, patience)
                if outcome is not _Outcome.REFUSED:
                    return outcome
            if url and await source.is_listed():  # else it was deleted, and is signed all the same
                self._storage.refusing.add(self._pair(url))
                _log.info("this storage copies nothing from that of another artifact; the bytes are sent")
                return _Outcome.REFUSED
        except (ArtifactGone, StoreRefused):
            pass
        except RetryableError as fault:
            _log.info("storage does not copy now (%s); the bytes of this upload are sent", fault)
            self._gave_up = True
        return _Outcome.WRONG

    def _pair(self, source: URL) -> tuple[str | None, str | None]:
        return self._url.host_port_subcomponent, source.host_port_subcomponent

    async def _once(self, put: URL, stretch: Stretch, source: URL, at: int) -> _Outcome:
        self._timely()
        storage = self._storage
        crc64 = base64.b64encode(packed(stretch.crc64)).decode()
        headers = {
            "Content-Length": "0",
            "x-ms-copy-source": str(source),
            "x-ms-source-range": f"bytes={at}-{at + stretch.length - 1}",
            "x-ms-source-content-crc64": crc64,
        }
        limit = Patience(storage.timeouts.transfer)
        async with storage.request("PutBlockFromURL", "PUT", put, headers, patience=limit) as (answer, _):
            status, told = answer.status, answer.headers
        if status == HTTPStatus.CREATED:
            return _Outcome.COPIED if told.get(_CRC64) == crc64 else _Outcome.REFUSED
        if status != HTTPStatus.FORBIDDEN and is_retryable(status):
            raise RetryableError(f"blob storage answered {status}", retry_after(told))
        return _Outcome.WRONG if told.get("x-ms-error-code") == _OTHER_BYTES else _Outcome.REFUSED
