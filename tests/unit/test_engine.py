"""The container engine behind `save` and `load`, played where a real one never does such things."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from config.address import Found
from proxy.__main__ import main
from proxy.api.server import bind_all, listen
from proxy.commands.engine import engine
from proxy.commands.relay import CommandFailed, Place, RelayClient
from proxy.runtime.tasks import run_in_thread

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def played(handler: Handler, folder: Path) -> AsyncIterator[None]:
    """An engine at a socket in this folder, with one handler for everything but its version."""

    async def version(_: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": "1.43", "Os": "linux", "Arch": "amd64"})

    app = web.Application()
    app.router.add_get("/{any:.*}version", version)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "engine.sock")).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the engine of DOCKER_HOST."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
    return tmp_path


def answers(text: str, status: int = 200) -> Handler:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=text.encode(), status=status, headers={"Content-Type": "application/json"})

    return handler


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 20)


async def refuses(_: web.Request) -> web.StreamResponse:
    body = b'{"message":"no space left on device"}'
    return web.Response(body=body, status=500, headers={"Content-Type": "application/json"})


async def reports(request: web.Request) -> web.StreamResponse:
    await request.content.readany()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"stream":"Loading"}\n{"error":"no space left on device"}\n')
    await asyncio.sleep(30)
    return response


async def dies(request: web.Request) -> web.StreamResponse:
    await request.content.readany()
    assert request.transport
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("way", [refuses, reports, dies])
async def test_an_engine_that_breaks_off_an_upload_leaves_no_connection_open(at: Path, way: Handler) -> None:
    async with played(way, at):
        with pytest.raises(CommandFailed) as failed:
            async with engine() as docker:
                await docker.load(endless())
    assert "no space left on device" in str(failed.value) or way is dies
    del failed
    gc.collect()  # a connection that is left open becomes a warning now, and so a failure


@pytest.mark.parametrize("text", ["<html>", "[]", "7", '{"Size":"big"}', '"x"'])
async def test_what_is_no_engine_is_told(at: Path, text: str) -> None:
    async with played(answers(text), at):
        with pytest.raises(CommandFailed, match="what answers at DOCKER_HOST is no container engine"):
            async with engine() as docker:
                await docker.size("app:v1")


async def test_an_engine_that_breaks_off_an_answer_is_told_in_words(at: Path) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport
        request.transport.abort()
        return response

    what = "engine of DOCKER_HOST broke off: the connection broke in the middle"
    async with played(broken, at), listen(web.Application(), bind_all(["127.0.0.1"], 0)) as port:
        with pytest.raises(CommandFailed, match=what):
            async with engine() as docker:
                assert [chunk async for chunk in docker.saved("app:v1")]
        place = Place(Found("127.0.0.1", port), None)
        async with engine() as docker, RelayClient(place) as relay:
            with pytest.raises(CommandFailed, match=what):  # and not of the relay, to which it was on its way
                async with relay.ask("PUT", "/relay/images/app:v1", data=docker.saved("app:v1")):
                    pass


async def test_a_tarball_that_breaks_off_is_not_blamed_on_the_engine(at: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise CommandFailed("the relay broke off")

    async def takes_all(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async with played(takes_all, at):
        with pytest.raises(CommandFailed, match="the relay broke off"):
            async with engine() as docker:
                await docker.load(broken())


@pytest.mark.parametrize("host", ["ssh://me@far", "npipe:////./pipe/docker_engine", "fd://", "no way://x"])
async def test_an_engine_that_only_docker_can_reach_has_a_way_by_hand(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)

    with pytest.raises(SystemExit):
        await run_in_thread(main, ["save", "app:v1"])

    first, to_save, to_load = capsys.readouterr().err.splitlines()
    assert first.startswith("image-relay: the engine of DOCKER_HOST is reached by ")
    assert to_save.endswith("docker save IMAGE | image-relay save --file - IMAGE")
    assert to_load.endswith("image-relay load --file - IMAGE | docker load")


@pytest.mark.parametrize("host", ["tcp://far:99999", "tcp://[::1", "tcp://:x", "tcp://a b"])
async def test_an_address_that_is_none_is_told(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)

    with pytest.raises(CommandFailed, match="DOCKER_HOST"):
        async with engine() as docker:
            await docker.size("app:v1")


async def test_certificates_that_are_none_are_told(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://far:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(at))
    (at / "ca.pem").write_text("no certificate")

    with pytest.raises(CommandFailed, match="the engine of DOCKER_HOST has no usable certificates"):
        async with engine():
            pass


async def test_a_user_who_may_not_use_the_engine_is_told_so(at: Path) -> None:
    async with played(answers("{}"), at):
        (at / "engine.sock").chmod(0)
        user, wanted = os.geteuid(), 65534  # root may use everything
        at.chmod(0o755)
        os.seteuid(wanted if user == 0 else user)
        try:
            with pytest.raises(
                CommandFailed, match=r"this user may not use the container engine \(DOCKER_HOST: unix:/"
            ):
                async with engine() as found:
                    await found.platform()
        finally:
            os.seteuid(user)
