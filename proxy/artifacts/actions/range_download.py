"""Downloads: absolute ranges behind a signed URL (a suffix range makes Azure send everything), checked, and resumed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from yarl import URL

from proxy.artifacts.actions.azure import BlobStorage, UrlRefused, appends
from proxy.artifacts.base import StoreRefused
from proxy.artifacts.retry import RetryableError, retry_after
from proxy.events import Call
from proxy.runtime.files import Bytes
from proxy.runtime.patience import Patience
from proxy.text import safe_text

if TYPE_CHECKING:
    from proxy.artifacts.actions.byte_client import Response

T = TypeVar("T")

_LITTLE = 256 * 1024  # bytes
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
        self._parts: list[bytes] = []  # that came, from the first byte on
        self._bit_by_bit = storage.is_slow  # is what comes kept, and seen, as it comes?
        self._loop = asyncio.get_running_loop()
        self._patience = Patience(storage.timeouts.patience)
        self._strange = 0  # answers that were none to a range
        self._other = ""  # how many bytes the whole has by an answer that said something else than is known

    async def read(self, then: Callable[[Bytes], T]) -> T:
        """Read the range, going on where a broken answer ended, and return what `then` makes of it in a thread.

        UrlRefused, RangesIgnored, Changed; StoreRefused when nothing helps.
        """
        try:
            return await self._storage.read(self._url, partial(self._go_on, then), self._patience)
        except RetryableError as fault:
            raise StoreRefused(f"the artifact cannot be read ({fault}); try again later") from None

    async def _go_on(self, then: Callable[[Bytes], T]) -> T:
        parts = [*self._parts]
        first = self._start + sum(map(len, parts))
        headers = _HEADERS | {"Range": f"bytes={first}-{self._stop - 1}"}
        if self.etag:
            headers["If-Match"] = self.etag
        take = partial(self._take, then, parts, first)
        limit = None if self._bit_by_bit else self._storage.timeouts.transfer
        began = self._loop.time()
        try:
            return await self._storage.get(self._url, headers, take, limit)
        except RetryableError:
            self._bit_by_bit = True
            self._storage.is_slow |= limit is not None and self._loop.time() - began >= limit
            raise

    def _take(self, then: Callable[[Bytes], T], parts: list[bytes], first: int, response: "Response", call: Call) -> T:
        """Read an answer that begins with the byte `first`, behind `parts`.

        It is read at once: that needs no copy. Only once that went wrong, little by little, so that all that came is
        kept. An earlier answer that was given up may end beside this one.
        """
        _check_status(response.status, response.headers, {200, 206, 416})
        self._check_range(response, first)
        self.etag = self.etag or response.headers.get("ETag", "")
        left = self._stop - first
        for part in response.stream(_LITTLE if self._bit_by_bit else left):
            parts.append(part[:left])
            left -= len(parts[-1])
            call.received += len(part)
            self._parts = [*parts]
            if self._bit_by_bit:
                self._loop.call_soon_threadsafe(self._patience.moved)
        if left:
            raise RetryableError("an answer ended early")
        return then(b"".join(parts))

    def _check_range(self, response: "Response", first: int) -> None:
        is_all = first == 0 and self._total in {None, self._stop} and _length(response) == self._stop
        if response.status == HTTPStatus.OK and is_all:
            return
        place, _, total = response.headers.get("Content-Range", "").partition("/")
        is_range = response.status == HTTPStatus.PARTIAL_CONTENT
        if is_range and total not in {"", "*", str(self._total or total)}:
            if total == self._other:  # not once by mistake: its name is that of another artifact by now
                raise Changed
            self._other = total
            raise RetryableError(f"an answer is of {safe_text(total)} bytes, the artifact has {self._total}")
        if not is_range or place != f"bytes {first}-{self._stop - 1}":
            self._doubt(response)
        if (_length(response) or 0) > self._stop - first:
            raise RetryableError("an answer has more bytes than were asked for")

    def _doubt(self, response: "Response") -> None:
        """Take a server at its word that it gives no ranges: Azure when it says so twice, since it does give them."""
        length = _length(response)
        may_be_whole = response.status != HTTPStatus.OK or None in {length, self._total} or length == self._total
        self._strange += may_be_whole  # else it is something else, such as a page of whoever stands between
        if may_be_whole and (self._strange > 1 or appends(self._url)):
            raise RangesIgnored
        raise RetryableError("an answer was not the range that was asked for")


async def whole(storage: BlobStorage, url: URL) -> AsyncGenerator[bytes]:
    """Yield all bytes of a server that ignores ranges. Raise UrlRefused, Changed, RetryableError if it breaks off."""
    headers = _HEADERS | {"Range": "bytes=0-"}
    async with storage.request("GetAll", "GET", url, headers) as (response, call):
        _check_status(response.status, response.headers, {200, 206})
        async for chunk in response.content.iter_any():
            call.received += len(chunk)
            yield chunk


def _check_status(status: int, headers: Mapping[str, str], good: Collection[int]) -> None:
    """Check status and encoding of an answer with bytes. Raise UrlRefused, Changed, RetryableError."""
    if status in {401, 403}:
        raise UrlRefused
    if status in {404, 410, 412}:
        raise Changed
    if status not in good:
        raise RetryableError(f"blob storage answered {status}", retry_after(headers))
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        raise RetryableError(f"an answer came in the encoding {safe_text(encoding)}, which was not asked for")


def _length(response: "Response") -> int | None:
    """Return how many bytes an answer says that it has."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None
