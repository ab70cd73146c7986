"""Blob storage behind signed URLs: blocks up, ranges down. Signed URLs are secrets: no message has one.

Azure's Put Block and Put Block List (REST API 2020-10-02), in parallel; servers that are not Azure append blocks as they
come, so there one follows the other. Reads name absolute ranges: a suffix range makes Azure send everything.
"""

import asyncio
import base64
import hashlib
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from xml.sax.saxutils import escape

import aiohttp
from yarl import URL

from proxy.artifacts.base import Body, StoreRefused
from proxy.artifacts.retry import BLOCKS, Policy, asked_wait, is_worth_another
from proxy.memory import Memory
from proxy.offload import Crew, offload

BLOCK = 4 * 1024 * 1024  # bytes
_MOST_BLOCKS = 50_000  # Azure's limit of a blob
_VERSION = {"x-ms-version": "2020-10-02"}
_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=15, sock_read=60)
_COMMIT_TIMEOUT = aiohttp.ClientTimeout(total=300, sock_connect=15)
_MARGIN = timedelta(minutes=1)  # before an upload URL expires


class UploadExpired(Exception):
    """The upload URL is no longer good: start again under another name."""


class UrlRefused(Exception):
    """A signed URL was refused: a new one may be good."""


class Truncated(Exception):
    """The server does not give ranges as asked."""


class Fault(Exception):
    """One request failed in a way that another try may mend."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What was stored: bytes and their SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


@dataclass(slots=True)
class BlobStorage:
    """Requests to signed URLs, repeated while that can help."""

    http: aiohttp.ClientSession
    memory: Memory
    concurrency: int = 8
    policy: Policy = BLOCKS
    _chance: random.Random = field(default_factory=random.Random)

    # Up

    async def upload(self, url: URL, parts: AsyncIterator[bytes], *, in_order: bool) -> Uploaded:
        """Store the bytes at a URL; UploadExpired when it is too late for that, StoreRefused when nothing helps."""
        prefix, ids, digest, size = uuid.uuid4(), [], hashlib.sha256(), 0
        async with self._lanes(1 if in_order else self.concurrency) as lanes:
            async for block in _blocks(parts):
                block_id = base64.b64encode(f"{prefix}{len(ids):012}".encode()).decode()
                ids.append(block_id)
                size += len(block)
                await offload(digest.update, block)
                await lanes.add(self._put_block(url, block_id, block))
        await self._commit(url, ids)
        return Uploaded(size, digest.hexdigest())
