"""Uploads: blocks of 4 MiB and the list of them (Azure's Put Block and Put Block List, REST API 2020-10-02).

On Azure several blocks are on their way side by side, and each is sent again until it has arrived. With each goes its
CRC-64/NVME, which the storage checks: it takes a small part of the time that MD5 takes. Servers that are not Azure may
append blocks as they come: there one follows the other, and none is ever sent twice.
"""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

from yarl import URL

from proxy.archive.crc64 import packed
from proxy.artifacts.actions.azure import BlobStorage, appends
from proxy.artifacts.actions.block_copy import Copying
from proxy.artifacts.actions.blocks import BLOCK, Block, Part, Seen, Sent, blocks, given, without_stretches
from proxy.artifacts.base import StoreRefused, Stretch
from proxy.artifacts.retry import OutOfTime, RetryableError, retry_after
from proxy.runtime.limits import Policy
from proxy.runtime.memory import ReadAhead
from proxy.runtime.patience import Patience
from proxy.runtime.tasks import TaskSet, run_in_thread
from proxy.text import as_utc

MOST_BYTES = 50_000 * BLOCK  # Azure's limit is one of blocks
_DATED_BACK = 5.0  # seconds; by which a URL says to be good before it was made
_MARGIN = 60.0  # seconds before an upload URL expires, at most a tenth of its life
_ONCE = Policy(attempts=1)


class UploadLost(Exception):
    """These bytes cannot be stored under this name any more: start again under another one.

    `was_patient` is false where they were refused at once, which may be over soon; `is_final` is true where the time
    for all tries is over.
    """

    def __init__(self, message: str, *, was_patient: bool = True, is_final: bool = False) -> None:
        super().__init__(message)
        self.was_patient = was_patient
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was stored: how many bytes, their SHA-256 in hexadecimal digits, and the last of them.

    The SHA-256 is None where some bytes were copied in storage and never came by here.
    """

    size: int
    sha256: str | None
    tail: bytes = field(repr=False)


class BlockUpload:
    """One blob on its way to one signed URL."""

    def __init__(self, storage: BlobStorage, url: URL, headers: dict[str, str]) -> None:
        self._storage = storage
        self._url = url
        self._headers = headers
        self._in_order = appends(url)
        self._until = _deadline(url)
        self._prefix = uuid.uuid4()  # old servers keep the blocks of all artifacts together
        self._ids: list[list[str]] = []  # of the blocks, by the places in which they follow each other
        self._count = 0
        self._copying = Copying(storage, url, self._check_time)

    async def send(self, stretches: AsyncIterator[Part], keep: int) -> Uploaded:
        """Store the bytes, and remember the last `keep` ones; UploadLost, or StoreRefused when nothing helps."""
        seen, storage = Seen(keep), self._storage
        with ReadAhead(storage.memory, 2 * BLOCK, 0 if self._in_order else storage.up - 1) as more:
            lanes = Lanes(more)
            try:
                async for block in blocks(stretches if self._copying.possible else without_stretches(stretches)):
                    place: list[str] = []
                    self._ids.append(place)
                    if isinstance(block, Stretch):
                        await seen.take(block)
                        await lanes.add(self._copy(place, block))
                    elif isinstance(block, Sent):
                        await run_in_thread(seen.add, [memoryview(block.content)])
                        place.append(block.block)
                    else:
                        checksum = await run_in_thread(seen.add, block)
                        await lanes.add(self._put_block(place, block, checksum))
                await lanes.drain(0)
            finally:
                await lanes.close()
        await self._commit(seen.size)
        return Uploaded(seen.size, seen.digest.hexdigest() if seen.digest else None, seen.tail)

    def _next_id(self) -> str:
        """Return ids of one length, as Azure wants them."""
        self._count += 1
        return base64.b64encode(f"{self._prefix}{self._count:012}".encode()).decode()

    async def _copy(self, place: list[str], stretch: Stretch) -> None:
        """Let the storage copy a stretch, or send its bytes."""
        block_id = self._next_id()
        if await self._copying.copied(_with_query(self._url, _block_query(block_id)), stretch):
            place.append(block_id)
            return
        async with aclosing(stretch.parts()) as parts:
            async for block in blocks(parts):
                await self._put_block(place, block, await run_in_thread(Seen(keep=0).add, block))

    async def put_early(self, place: list[str], content: bytes) -> None:
        """Send a block whose place in the file is known later."""
        block = [memoryview(content)]
        await self._put_block(place, block, await run_in_thread(Seen(keep=0).add, block))

    async def _put_block(self, place: list[str], block: Block, checksum: int) -> None:
        place.append(self._next_id())
        headers = {
            "Content-Type": "application/octet-stream",
            "x-ms-content-crc64": base64.b64encode(packed(checksum)).decode(),
        }
        timeouts = self._storage.timeouts
        if self._in_order:
            await self._put(_block_query(place[-1]), block, headers, _ONCE, timeouts.patience, timeouts.patience)
        else:
            await self._put(_block_query(place[-1]), block, headers, timeouts.blobs, timeouts.answer, timeouts.patience)

    async def _commit(self, size: int) -> None:
        listed = "".join(f"<Latest>{block_id}</Latest>" for place in self._ids for block_id in place)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        headers = {"Content-Type": "application/xml", **self._headers}
        timeouts = self._storage.timeouts
        once, over_all = timeouts.finishing_times(timeouts.commit, size)
        await self._put("comp=blocklist", [memoryview(body)], headers, timeouts.blobs, once, over_all)

    async def _put(
        self, query: str, data: Block, headers: dict[str, str], policy: Policy, once: float, over_all: float
    ) -> None:
        """Send a body until it has arrived: `once` and `over_all` are the seconds without a byte for one and all tries.

        Raise UploadLost.
        """
        url = _with_query(self._url, query)
        operation = "PutBlockList" if query == "comp=blocklist" else "PutBlock"
        length = sum(map(len, data))
        headers = headers | {"Content-Length": str(length)}

        patience = Patience(over_all)

        async def attempt() -> None:
            self._check_time()
            pace = Patience(once)

            async def body() -> AsyncIterator[memoryview]:
                async for part in given(data):
                    yield part
                    pace.moved()
                    patience.moved()

            request = self._storage.request(operation, "PUT", url, headers, data=body(), patience=pace)
            async with request as (answer, call):
                call.sent = length
            if answer.status in {200, 201}:
                return
            if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:  # Forgejo's quota
                raise StoreRefused(
                    "the storage for artifacts is used up: this server has a quota; delete artifacts, or raise it"
                )
            if answer.status in {401, 403}:
                raise UploadLost("blob storage does not accept the URL for it", was_patient=False)
            # Anything else may be a damaged request (Crc64Mismatch is a 400): the next one may arrive whole.
            raise RetryableError(f"blob storage answered {answer.status}", retry_after(answer.headers))

        try:
            await self._storage.retry("uploading", attempt, policy, patience)
        except RetryableError as fault:
            raise UploadLost(str(fault), is_final=isinstance(fault, OutOfTime)) from None

    def _check_time(self) -> None:
        if time.monotonic() >= self._until:
            raise UploadLost("its upload took longer than the URL for it is good")


@dataclass(slots=True)
class Lanes:
    """Requests under way side by side."""

    more: ReadAhead
    tasks: TaskSet = field(default_factory=TaskSet)
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def add(self, request: Coroutine[None, None, None]) -> None:
        """Start a request, when a lane is free."""
        self._running.add(self.tasks.spawn(request))
        await self.drain(self.more.grow())

    async def drain(self, left: int) -> None:
        """Wait until at most so many requests run; raises what one of them raised."""
        while len(self._running) > left:
            done, self._running = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            for error in [task.exception() for task in done]:  # each is asked, so that none is lost
                if error:
                    raise error

    async def close(self) -> None:
        """Cancel what runs; nobody waits for its failures."""
        await self.tasks.cancel_all()
        await asyncio.gather(*self._running, return_exceptions=True)


def _block_query(block_id: str) -> str:
    return f"comp=block&blockid={quote(block_id, safe='')}"


def _with_query(url: URL, query: str) -> URL:
    """Append to the raw text: parsing and writing it again may change what the signature covers."""
    text = str(url)
    return URL(f"{text}{'&' if '?' in text else '?'}{query}", encoded=True)


def _deadline(url: URL) -> float:
    """Return until when, by the monotonic clock, a request to an upload URL is in time (`st` and `se` of a SAS).

    The life of the URL counts, not the clock of this machine, which may be wrong.
    """
    start, end = _time(url.query.get("st", "")) or datetime.now(UTC), _time(url.query.get("se", ""))
    life = (end - start).total_seconds() - _DATED_BACK if end else 0.0
    return time.monotonic() + life - min(_MARGIN, life / 10) if life > 0 else float("inf")


def _time(text: str) -> datetime | None:
    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError:
        return None
