"""A registry with token authentication, and a second host that it may send clients to; both do what a test tells them.

`asked` is every request, and what it was authorized with. What is planned for `manifests`, `blobs`, `elsewhere` or
`token` answers the next request of that kind in place of the registry.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import encode_basic_auth, web

from proxy.oci.digest import Digest
from tests.api.relay import Pushed, pushed_image

TOKEN = "token-of-the-upstream"  # noqa: S105 - of a fake
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Asked(NamedTuple):
    """A request that came; `host` is `registry`, `elsewhere` or `token`."""

    host: str
    method: str
    path: str
    authorization: str


@dataclass
class FakeUpstream:
    """What the registry has, and what it was asked."""

    private: bool = False  # whether its token server wants the login
    login: tuple[str, str] = ("user", "secret")
    scheme: str = "Bearer"  # of its challenge; empty: it wants none
    realm: str = ""
    redirects: bool = False  # its blobs to the other host
    port: int = 0
    other_port: int = 0
    asked: list[Asked] = field(default_factory=list)
    plan: defaultdict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    contents: dict[str, tuple[bytes, str]] = field(default_factory=dict)  # by path below /v2/

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, path: str, manifest: Pushed, *tags: str, blobs: tuple[bytes, ...] = ()) -> Pushed:
        """Let it have a manifest, under tags and its digest, and blobs."""
        for reference in (manifest.digest, *tags):
            self.contents[f"{path}/manifests/{reference}"] = manifest.content, manifest.media_type
        for blob in blobs:
            self.contents[f"{path}/blobs/{Digest.of(blob)}"] = blob, "application/octet-stream"
        return manifest

    def add_image(
        self, path: str, *tags: str, layers: tuple[bytes, ...] = (b"layer",), architecture: str = "amd64"
    ) -> Pushed:
        """Let it have an image of these layers."""
        config = f'{{"os":"linux","architecture":"{architecture}"}}'.encode()
        return self.add(path, pushed_image(config, *layers), *tags, blobs=(config, *layers))

    def requests(self, kind: str = "") -> list[str]:
        """Return the paths that were asked for below the registry, of one kind if one is given."""
        return [each.path for each in self.asked if each.host == "registry" and kind in each.path]

    async def _planned(self, kind: str, host: str, request: web.Request) -> web.StreamResponse | None:
        sent = request.headers.get("Authorization", "")
        self.asked.append(Asked(host, request.method, request.path, sent))
        return await self.plan[kind].popleft()(request) if self.plan[kind] else None

    async def registry(self, request: web.Request) -> web.StreamResponse:
        path, kind = request.match_info["path"], "blobs" if "/blobs/" in request.path else "manifests"
        if answer := await self._planned(kind, "registry", request):
            return answer
        sent = request.headers.get("Authorization", "")
        wanted = {"Bearer": f"Bearer {TOKEN}", "Basic": encode_basic_auth(*self.login), "": sent}[self.scheme]
        if sent != wanted:
            repository = path.rpartition(f"/{kind}/")[0]
            realm = self.realm or f"http://{self.host}/token"
            details = f'realm="{realm}",service="fake",scope="repository:{repository}:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": f"{self.scheme} {details}"})
        if path not in self.contents:
            return web.Response(status=404)
        if kind == "blobs" and self.redirects and request.method == "GET":
            place = f"http://127.0.0.1:{self.other_port}/signed/{path}?signature=a%2Fb"
            return web.Response(status=307, headers={"Location": place})
        return self._content(request, path)

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        if answer := await self._planned("elsewhere", "elsewhere", request):
            return answer
        return self._content(request, request.match_info["path"])

    async def token(self, request: web.Request) -> web.StreamResponse:
        if answer := await self._planned("token", "token", request):
            return answer
        if self.private and request.headers.get("Authorization") != encode_basic_auth(*self.login):
            return web.Response(status=401)
        assert request.query["service"] == "fake"
        return web.json_response({"token": TOKEN, "expires_in": 300})

    def _content(self, request: web.Request, path: str) -> web.Response:
        content, media_type = self.contents[path]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": str(Digest.of(content))}
        if start := request.http_range.start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return web.Response(status=206, body=content[start:], headers=headers)
        return web.Response(body=content, headers=headers)


@asynccontextmanager
async def upstream(**options: object) -> AsyncIterator[FakeUpstream]:
    """Serve one until the end of the block."""
    fake = FakeUpstream(**options)  # type: ignore[arg-type] # as the test says
    app, other = web.Application(), web.Application()
    app.add_routes([web.get("/token", fake.token), web.get("/v2/{path:.+}", fake.registry)])
    other.add_routes([web.get("/signed/{path:.+}", fake.elsewhere)])
    runners = [web.AppRunner(each, access_log=None, shutdown_timeout=0) for each in (app, other)]
    try:
        ports = []
        for runner in runners:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            ports.append(int(runner.addresses[0][1]))
        fake.port, fake.other_port = ports
        yield fake
    finally:
        for runner in runners:
            await runner.cleanup()


def status(code: int, **headers: str) -> Answer:
    """Answer with a status alone."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, headers={key.replace("_", "-"): value for key, value in headers.items()})

    return answer


def content(body: bytes, media_type: str = "application/octet-stream", **headers: str) -> Answer:
    """Answer with these bytes."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"Content-Type": media_type, **headers})

    return answer


def broken(body: bytes, length: int) -> Answer:
    """Answer with these bytes of a body of so many, and end the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport
        request.transport.close()
        return response

    return answer
