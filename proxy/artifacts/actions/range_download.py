"""Downloads: absolute ranges behind a signed URL (a suffix range makes Azure send everything), checked, and resumed."""

from collections.abc import AsyncGenerator, Collection
from http import HTTPStatus

import aiohttp
from yarl import URL

from proxy.artifacts.actions.azure import BlobStorage, UrlRefused, appends
from proxy.artifacts.base import StoreRefused
from proxy.artifacts.retry import RetryableError, retry_after
from proxy.text import safe_text

_HEADERS = {"Accept-Encoding": "identity"}


class RangesIgnored(Exception):
    """The server does not give ranges: the whole has to be read once."""


class Changed(Exception):
    """The bytes are not those that were read before, or there are none any more."""


class Reading:
    """One range on its way."""

    def __init__(
        self, storage: BlobStorage, url: URL, start: int, stop: int, etag: str = "", total: int | None = None
    ) -> None:
        """`total`: how many bytes the whole has, where that is known."""
        self.etag = etag  # of the whole, as soon as it is known
        self._total = total
        self._storage = storage
        self._url = url
        self._start = start
        self._stop = stop
        self._got = bytearray()
        self._strange = 0  # answers that were none to a range

    async def bytes(self) -> bytes:
        """Read the range, going on where a broken answer ended.

        UrlRefused, RangesIgnored, Changed; StoreRefused when nothing helps.
        """
        try:
            await self._storage.retry("reading an artifact", self._go_on)
        except RetryableError as fault:
            raise StoreRefused(f"the artifact cannot be read ({fault}); try again later") from None
        return bytes(self._got)

    async def _go_on(self) -> None:
        first, storage = self._start + len(self._got), self._storage
        headers = _HEADERS | {"Range": f"bytes={first}-{self._stop - 1}"}
        if self.etag:
            headers["If-Match"] = self.etag
        limit = storage.timeouts.transfer
        async with storage.request("GetRange", "GET", self._url, headers, total=limit) as (response, call):
            _check_status(response, {200, 206, 416})
            self._check_range(response, first)
            self.etag = self.etag or response.headers.get("ETag", "")
            async for chunk in response.content.iter_any():
                self._got += chunk[: self._stop - self._start - len(self._got)]
                call.received += len(chunk)
        if len(self._got) < self._stop - self._start:
            raise RetryableError("an answer ended early")

    def _check_range(self, response: aiohttp.ClientResponse, first: int) -> None:
        place, _, total = response.headers.get("Content-Range", "").partition("/")
        if response.status != HTTPStatus.PARTIAL_CONTENT or place != f"bytes {first}-{self._stop - 1}":
            self._doubt(response)
        if total not in {"*", str(self._total or total)}:
            raise RetryableError(f"an answer is of {safe_text(total)} bytes, the artifact has {self._total}")
        if (response.content_length or 0) > self._stop - first:
            raise RetryableError("an answer has more bytes than were asked for")

    def _doubt(self, response: aiohttp.ClientResponse) -> None:
        """Take a server at its word that it gives no ranges: Azure when it says so twice, since it does give them."""
        length = response.content_length
        may_be_whole = response.status != HTTPStatus.OK or None in {length, self._total} or length == self._total
        self._strange += may_be_whole  # else it is something else, such as a page of whoever stands between
        if may_be_whole and (self._strange > 1 or appends(self._url)):
            raise RangesIgnored
        raise RetryableError("an answer was not the range that was asked for")


async def whole(storage: BlobStorage, url: URL) -> AsyncGenerator[bytes]:
    """Yield all bytes of a server that ignores ranges. Raise UrlRefused, Changed, RetryableError if it breaks off."""
    headers = _HEADERS | {"Range": "bytes=0-"}
    async with storage.request("GetAll", "GET", url, headers, total=None) as (response, call):
        _check_status(response, {200, 206})
        async for chunk in response.content.iter_any():
            call.received += len(chunk)
            yield chunk


def _check_status(response: aiohttp.ClientResponse, good: Collection[int]) -> None:
    """Check status and encoding of an answer with bytes. Raise UrlRefused, Changed, RetryableError."""
    if response.status in {401, 403}:
        raise UrlRefused
    if response.status in {404, 410, 412}:
        raise Changed
    if response.status not in good:
        raise RetryableError(f"blob storage answered {response.status}", retry_after(response.headers))
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        raise RetryableError(f"an answer came in the encoding {safe_text(encoding)}, which was not asked for")
