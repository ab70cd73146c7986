"""The real application on a real socket, and the little that a client of it needs."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from multidict import CIMultiDict, CIMultiDictProxy

from config.job import Job
from config.settings import Settings
from proxy.api.services import Services
from proxy.app import serve
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from proxy.runtime.limits import DEFAULT, Limits

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MIB = 1024 * 1024
Fields = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer that is over."""

    status: int
    headers: CIMultiDict[str] | CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and code of an error in the form of the specification."""
        (only,) = self.json["errors"]
        assert only["message"]
        return self.status, only["code"]

    @property
    def message(self) -> str:
        return str(self.json["errors"][0]["message"])


@dataclass(frozen=True)
class Pushed:
    """A manifest and its digest."""

    digest: Digest
    content: bytes
    media_type: str

    def descriptor(self, **more: object) -> Fields:
        return {"mediaType": self.media_type, "digest": str(self.digest), "size": len(self.content), **more}


class Relay:
    """A client of one running relay."""

    def __init__(self, port: int, data: Path, session: ClientSession, services: Services | None = None) -> None:
        self.port = port
        self.data = data
        self.session = session
        self._services = services

    @property
    def services(self) -> Services:
        """The parts of a relay that runs in this process."""
        assert self._services
        return self._services

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Send one request; redirects are shown, not followed."""
        if isinstance(content := more.get("data"), bytes):
            more["data"] = BytesIO(content)  # aiohttp warns of large bytes
        more.setdefault("allow_redirects", False)
        async with self.session.request(method, f"http://127.0.0.1:{self.port}{path}", **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def open_upload(self, name: str = "app", query: str = "") -> str:
        """Open a session and give its location."""
        answer = await self.ask("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status == 202, answer.body
        return answer.headers["Location"]

    async def push_blob(self, content: bytes, name: str = "app", algorithm: str = "sha256") -> Digest:
        digest = Digest.of(content, algorithm)
        answer = await self.ask("POST", f"/v2/{name}/blobs/uploads/", params={"digest": str(digest)}, data=content)
        assert answer.status == 201, answer.body
        return digest

    async def put(
        self, reference: object, content: bytes, media_type: str = OCI_MANIFEST, name: str = "app", query: str = ""
    ) -> Answer:
        """Send a manifest."""
        path = f"/v2/{name}/manifests/{reference}{query}"
        return await self.ask("PUT", path, data=content, headers={"Content-Type": media_type})

    async def push(self, manifest: Pushed, *references: object, name: str = "app") -> Pushed:
        """Send a manifest under references, without any by its digest; all has to succeed."""
        for reference in references or (manifest.digest,):
            answer = await self.put(reference, manifest.content, manifest.media_type, name)
            assert answer.status == 201, answer.body
        return manifest

    async def push_image(self, *references: object, name: str = "app", layers: Iterable[bytes] = ()) -> Pushed:
        """Make an image of these layers, of one small layer without any, and push all of it."""
        contents = tuple(layers) or (f"layer of {references}".encode(),)
        config = b'{"os":"linux","architecture":"amd64"}'
        for content in (config, *contents):
            await self.push_blob(content, name)
        return await self.push(pushed_image(config, *contents), *references, name=name)

    async def get(self, reference: object, name: str = "app") -> Answer:
        return await self.ask("GET", f"/v2/{name}/manifests/{reference}")

    async def flush(self) -> Answer:
        return await self.ask("POST", "/relay/flush")

    def files(self, folder: str = "") -> list[str]:
        """Name the files below a folder of the spool."""
        root = self.data / "spool" / folder
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def artifacts(self) -> list[str]:
        return sorted(path.name for path in self.data.glob("*.tar.zst"))

    def break_store(self) -> None:
        """Let every archive fail, as root too: a file lies where the folder of unfinished archives belongs."""
        (self.data / ".incoming").rmdir()
        (self.data / ".incoming").touch()

    def mend_store(self) -> None:
        (self.data / ".incoming").unlink()

    async def taken(self, location: str, size: int) -> None:
        """Wait until an upload has so many bytes."""
        async with asyncio.timeout(10):
            while (await self.ask("GET", location)).headers["Range"] != f"0-{size - 1}":
                pass


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what happens to files sets no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    data: Path, job: Job | None = None, limits: Limits = DEFAULT, **settings: Any
) -> AsyncIterator[Relay]:
    """Serve a folder; what is pushed by digest stays pending for as long as the test runs."""
    chosen = Settings(data=data, **{"host": ("127.0.0.1",), "port": 0, "settle_seconds": 3600, **settings})
    async with (
        serve(chosen, job or Job(), limits) as (services, port),
        ClientSession(auto_decompress=False, skip_auto_headers=["Content-Type"]) as session,
    ):
        yield Relay(port, data, session, services)


# What is pushed


def described(content: bytes, media_type: str = LAYER, /, **more: object) -> Fields:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **more}


def document(media_type: str = OCI_MANIFEST, /, **fields: object) -> Pushed:
    """Write a manifest with these fields."""
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode()
    return Pushed(Digest.of(content), content, media_type)


def pushed_image(config: bytes, *layers: bytes, **more: object) -> Pushed:
    return document(config=described(config, CONFIG), layers=[described(layer) for layer in layers], **more)


def pushed_index(*children: Fields, **more: object) -> Pushed:
    return document(OCI_INDEX, manifests=list(children), **more)


# HTTP as no client library would write it


def request(method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """Write a request, after which the connection is to end; the length of a body is told unless it is chunked."""
    fields = {"Host": "localhost", "Connection": "close", **(headers or {})}
    if body and not {"Transfer-Encoding", "Content-Length"} & fields.keys():
        fields["Content-Length"] = str(len(body))
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    return head.encode("utf-8", "surrogateescape") + b"\r\n" + body


@asynccontextmanager
async def connected(port: int, sent: bytes = b"") -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection for the block, and begin with some bytes as they are."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(port: int, sent: bytes) -> Answer:
    """Send bytes as they are, and read the answer until the connection ends."""
    async with connected(port, sent) as (reader, _), asyncio.timeout(10):
        return parsed(await reader.read())


def parsed(received: bytes) -> Answer:
    """Read the last answer; before it `100 Continue` may stand."""
    head, _, body = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    headers = CIMultiDict[str]((key, value) for key, _, value in (field.partition(": ") for field in fields))
    assert len(body) == int(headers.get("Content-Length", "0")) or not body
    return Answer(int(first.split()[1]), headers, body)
