"""Blob storage behind signed URLs: blocks up, ranges down. Signed URLs are secrets: no message has one.

Azure's Put Block and Put Block List (REST API 2020-10-02), in parallel; servers that are not Azure append blocks as
they come, so there one follows the other. Reads name absolute ranges: a suffix range makes Azure send everything.
"""

import asyncio
import base64
import hashlib
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import aiohttp
from yarl import URL

from proxy.artifacts.base import StoreRefused
from proxy.artifacts.retry import BLOCKS, Policy, asked_wait
from proxy.memory import Memory
from proxy.offload import Crew, offload

BLOCK = 4 * 1024 * 1024  # bytes
_MOST_BLOCKS = 50_000  # Azure's limit of a blob
_VERSION = {"x-ms-version": "2020-10-02"}
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=15, sock_read=60)
_COMMIT_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=15)
_WHOLE_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_MARGIN = timedelta(minutes=1)  # before an upload URL expires


class UploadExpired(Exception):
    """These bytes can no longer be stored at this URL: start again under another name."""


class UrlRefused(Exception):
    """A signed URL was refused, or is no longer good: a new one may be."""


class RangesIgnored(Exception):
    """The server does not give ranges: the whole has to be read once."""


class Changed(Exception):
    """The bytes are not those that were read before, or there are none any more."""


class _Fault(Exception):
    """One request failed in a way that another try may mend; the message has no URL in it."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was stored: bytes, and their SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


@dataclass(slots=True)
class BlobStorage:
    """Requests to signed URLs, repeated while that can help; `up` and `down` are how many run side by side."""

    memory: Memory
    up: int = 8
    down: int = 8
    policy: Policy = BLOCKS
    http: aiohttp.ClientSession = field(init=False)
    _chance: random.Random = field(default_factory=random.Random)

    # Up

    async def upload(self, url: URL, parts: AsyncIterator[bytes], *, in_order: bool) -> Uploaded:
        """Store the bytes at a URL; UploadExpired when it is too late for that, StoreRefused when nothing helps."""
        ids: list[str] = []
        prefix, digest, size = uuid.uuid4(), hashlib.sha256(), 0
        async with self._lanes(1 if in_order else self.up) as lanes:
            async for block in _blocks(parts):
                ids.append(base64.b64encode(f"{prefix}{len(ids):012}".encode()).decode())
                size += len(block)
                await offload(digest.update, block)
                await lanes.add(self._put_block(url, ids[-1], block, again=not in_order))
        await self._commit(url, ids)
        return Uploaded(size, digest.hexdigest())

    @asynccontextmanager
    async def _lanes(self, most: int) -> AsyncIterator["_Lanes"]:
        """Run requests side by side, as many as memory allows; at the end all are done, or none runs any more."""
        with self.memory.beyond(2 * BLOCK, most - 1) as more:
            lanes = _Lanes(1 + more)
            try:
                yield lanes
                await lanes.drain(0)
            finally:
                await lanes.crew.dismiss()

    async def _put_block(self, url: URL, block_id: str, block: bytes, *, again: bool) -> None:
        """Store one block; where blocks are appended as they come, a second try would store it twice."""
        query = f"comp=block&blockid={quote(block_id, safe='')}"
        md5 = base64.b64encode(await offload(_md5, block)).decode()
        headers = {**_VERSION, "Content-Type": "application/octet-stream", "Content-MD5": md5}
        policy = self.policy if again else Policy(attempts=1)
        await self._put(_with_query(url, query), block, headers, policy=policy, limit=_TIMEOUT)

    async def _commit(self, url: URL, ids: list[str]) -> None:
        listed = "".join(f"<Latest>{block_id}</Latest>" for block_id in ids)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {**_VERSION, "Content-Type": "application/xml", "x-ms-blob-content-type": "application/zip"}
        target = _with_query(url, "comp=blocklist")
        await self._put(target, body, headers, policy=self.policy, limit=_COMMIT_TIMEOUT)

    async def _put(
        self, url: URL, data: bytes, headers: dict[str, str], *, policy: Policy, limit: aiohttp.ClientTimeout
    ) -> None:
        for wait in [*policy.waits(self._chance), None]:
            if _is_over(url):
                raise UploadExpired
            try:
                return await self._put_once(url, data, headers, limit)
            except _Fault as fault:
                if wait is None:
                    raise UploadExpired from fault
                await asyncio.sleep(fault.wait or wait)
        raise AssertionError  # the last try returns or raises

    async def _put_once(self, url: URL, data: bytes, headers: dict[str, str], limit: aiohttp.ClientTimeout) -> None:
        try:
            async with self.http.put(url, data=data, headers=headers, timeout=limit, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Fault(type(error).__name__) from None
        if status in {200, 201}:
            return
        if status == 413:  # noqa: PLR2004 - HTTP; Forgejo's quota
            raise StoreRefused("the storage for artifacts is used up; delete some artifacts, or ask for more")
        if status in {401, 403}:
            raise UploadExpired
        # Anything else may be a damaged request (Md5Mismatch is a 400): the next one may arrive whole.
        raise _Fault(f"blob storage answered {status}", asked_wait(response.headers))

    # Down

    async def read(self, url: URL, start: int, stop: int, etag: str = "") -> tuple[bytes, str]:
        """Give the bytes [start, stop) and the ETag of the whole, going on where a broken answer ended.

        UrlRefused, RangesIgnored, Changed; StoreRefused when nothing helps.
        """
        got = bytearray()
        for wait in [*self.policy.waits(self._chance), None]:
            try:
                etag = await self._read_on(url, start, stop, got, etag)
                return bytes(got), etag
            except _Fault as fault:
                if wait is None:
                    raise StoreRefused(f"the artifact can not be read ({fault}); try again later") from fault
                await asyncio.sleep(fault.wait or wait)
        raise AssertionError  # the last try returns or raises

    async def _read_on(self, url: URL, start: int, stop: int, got: bytearray, etag: str) -> str:
        first = start + len(got)
        headers = {**_VERSION, "Range": f"bytes={first}-{stop - 1}", "Accept-Encoding": "identity"}
        if etag:
            headers["If-Match"] = etag
        try:
            async with self.http.get(url, headers=headers, timeout=_TIMEOUT, allow_redirects=False) as response:
                _check_range(response, first, stop)
                async for chunk in response.content.iter_any():
                    got += chunk
                    if len(got) > stop - start:
                        raise RangesIgnored
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Fault(type(error).__name__) from None
        if len(got) < stop - start:
            raise _Fault("the answer ended early")
        return response.headers.get("ETag", "")

    async def whole(self, url: URL) -> AsyncGenerator[bytes]:
        """Give all bytes of a server that ignores ranges; StoreRefused when the answer breaks off."""
        try:
            async with self.http.get(url, timeout=_WHOLE_TIMEOUT, allow_redirects=False) as response:
                if response.status in {401, 403}:
                    raise UrlRefused
                if response.status != 200:  # noqa: PLR2004 - HTTP
                    raise StoreRefused(f"the artifact can not be read (the server answered {response.status})")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise StoreRefused(f"the artifact can not be read ({type(error).__name__}); try again later") from None


@dataclass(slots=True)
class _Lanes:
    """Requests under way side by side."""

    width: int
    crew: Crew = field(default_factory=Crew)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def add(self, request: Coroutine[None, None, None]) -> None:
        """Start a request, when a lane is free."""
        await self.drain(self.width - 1)
        self._running.add(self.crew.start(request))

    async def drain(self, left: int) -> None:
        """Wait until at most so many requests run; raises what one of them raised."""
        while len(self._running) > left:
            done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()


async def _blocks(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a stream into blocks of one size, the last one shorter."""
    held, size = [], 0
    async for part in parts:
        held.append(part)
        size += len(part)
        if size >= BLOCK:
            joined = b"".join(held)
            for at in range(0, size - size % BLOCK, BLOCK):
                yield joined[at : at + BLOCK]
            held, size = [joined[size - size % BLOCK :]], size % BLOCK
    if size:
        yield b"".join(held)


def most_bytes() -> int:
    """How large a blob can be, in bytes."""
    return _MOST_BLOCKS * BLOCK


def _check_range(response: aiohttp.ClientResponse, first: int, stop: int) -> None:
    status = response.status
    if status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {first}-{stop - 1}/"):  # noqa: PLR2004
        return
    if status in {200, 206, 416}:
        raise RangesIgnored
    if status in {401, 403}:
        raise UrlRefused
    if status in {404, 410, 412}:
        raise Changed
    raise _Fault(f"blob storage answered {status}", asked_wait(response.headers))


def _with_query(url: URL, query: str) -> URL:
    """Append to the raw text: parsing and writing it again may change what the signature covers."""
    text = str(url)
    return URL(f"{text}{'&' if '?' in text else '?'}{query}", encoded=True)


def _is_over(url: URL) -> bool:
    """Is the `se` of an upload URL so near that a request may come too late?"""
    try:
        end = datetime.fromisoformat(url.query.get("se", ""))
    except ValueError:
        return False
    return (end if end.tzinfo else end.replace(tzinfo=UTC)) - _MARGIN <= datetime.now(UTC)


def _md5(block: bytes) -> bytes:
    return hashlib.md5(block, usedforsecurity=False).digest()
