"""A client that does what a test says and nothing else: no retry, no check, no kindness."""

import base64
import hashlib
import json
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.rest import READ_TOKEN
from tests.fakes.actions.twirp import BASE

_LARGE = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def block_id(number: int) -> str:
    return base64.b64encode(f"{'b' * 36}{number:012}".encode()).decode()


def hash_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Caller:
    """One job's voice."""

    def __init__(self, emulator: Emulator, job: Job | None = None) -> None:
        self.emulator = emulator
        self.job = job or emulator.job()

    async def send(
        self, method: str, url: str, data: bytes | AsyncIterable[bytes] | None = None, **headers: str
    ) -> Reply:
        """Send a request; underscores in header names stand for dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = BytesIO(data) if isinstance(data, bytes) and len(data) > _LARGE else data  # aiohttp warns of large bytes
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            session._retry_connection = False  # aiohttp would repeat a GET or PUT by itself
            sending = session.request(method, URL(url, encoded=True), data=body, headers=named, allow_redirects=False)
            async with sending as answer:
                return Reply(answer.status, answer.headers, await answer.read())

    async def call(self, method: str, token: str | None = None, **fields: Any) -> Reply:
        """Call the results service, with the ids of the job unless others are given."""
        ids = {"workflow_run_backend_id": self.job.run.backend_id, "workflow_job_run_backend_id": self.job.id}
        return await self.send(
            "POST",
            f"{self.emulator.origin}{BASE}/{method}",
            json.dumps({**ids, **fields}).encode(),
            Authorization=f"Bearer {token or self.job.token}",
            Content_Type="application/json",
        )

    async def create(self, name: str, **fields: Any) -> str:
        """Reserve a name, and return where to upload."""
        answer = (await self.call("CreateArtifact", name=name, version=4, **fields)).json
        return str(answer.get("signed_upload_url") or answer["signedUploadUrl"])

    async def put_block(self, url: str, number: int, content: bytes | AsyncIterable[bytes], **headers: str) -> Reply:
        return await self.send(
            "PUT", f"{url}&comp=block&blockid={quote(block_id(number), safe='')}", content, **headers
        )

    async def commit(self, url: str, *numbers: int) -> Reply:
        listed = "".join(f"<Latest>{block_id(number)}</Latest>" for number in numbers)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        return await self.send("PUT", f"{url}&comp=blocklist", body.encode())

    async def upload(self, name: str, content: bytes) -> Reply:
        """Create, upload one block, commit and finalize."""
        url = await self.create(name)
        assert (await self.put_block(url, 0, content)).status == 201
        assert (await self.commit(url, 0)).status == 201
        return await self.finalize(name, content)

    async def finalize(self, name: str, content: bytes, **fields: Any) -> Reply:
        asked = {"size": str(len(content)), "hash": hash_of(content), **fields}
        return await self.call("FinalizeArtifact", name=name, **asked)

    async def names(self, **fields: Any) -> list[str]:
        answer = (await self.call("ListArtifacts", **fields)).json
        return [artifact["name"] for artifact in answer.get("artifacts", [])]

    async def sign(self, name: str) -> str:
        """Return where to download."""
        answer = (await self.call("GetSignedArtifactURL", name=name)).json
        return str(answer.get("signed_url") or answer["signedUrl"])

    async def rest(self, path: str, token: str | None = READ_TOKEN, method: str = "GET") -> Reply:
        headers: dict[str, str] = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.send(method, f"{self.emulator.origin}{path}", None, **headers)
