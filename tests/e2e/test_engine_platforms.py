"""For which platform an engine is asked: what its API says, also of machines that there are none of here."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from proxy.commands.engine import engine
from tests.action.runner import ROOT
from tests.e2e.clients import Toolbox
from tests.machine import require, require_node

pytestmark = pytest.mark.e2e

_ASK = 'import { platform } from "./engine.mjs"; console.log(await platform())'
MACHINES = [
    ("linux", "amd64", "x86_64", "linux/amd64"),
    ("linux", "arm64", "aarch64", "linux/arm64"),
    ("linux", "arm", "armv7l", "linux/arm/v7"),
    ("linux", "arm", "armv6l", "linux/arm/v6"),
    ("linux", "arm", "armv8l", "linux/arm/v7"),
    ("linux", "arm", "aarch64", "linux/arm"),
    ("windows", "amd64", "x86_64", "windows/amd64"),
]


@contextmanager
def speaking(at: Path, system: str, arch: str, machine: str) -> Iterator[None]:
    """Listen as an engine on such a machine does, as far as version and info go (Docker Engine API 1.41)."""
    said = {"Os": system, "Arch": arch, "Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}
    app = web.Application()

    async def version(_: web.Request) -> web.Response:
        return web.json_response({**said, "Components": []})

    async def info(_: web.Request) -> web.Response:
        return web.json_response({"ID": "x", "OSType": system, "Architecture": machine})

    async def ping(_: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"API-Version": "1.41", "OSType": system})

    for prefix in ("", "/{api:v1[.0-9]+}"):
        app.router.add_get(f"{prefix}/version", version)
        app.router.add_get(f"{prefix}/info", info)
        app.router.add_get(f"{prefix}/_ping", ping)
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(at)).start()
        started.set()
        await ended.wait()
        await runner.cleanup()

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize(("system", "arch", "machine", "platform"), MACHINES)
async def test_the_platform_of_an_engine(
    system: str, arch: str, machine: str, platform: str, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = toolbox.work / "told.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    require("docker")

    with speaking(socket, system, arch, machine):
        async with engine() as asked:
            in_python = await asked.platform()
        in_javascript = await asyncio.to_thread(
            subprocess.run,
            [require_node(), "--input-type=module", "--eval", _ASK],
            cwd=ROOT / "action",
            env={**toolbox.env(), "DOCKER_HOST": f"unix://{socket}"},
            capture_output=True,
            check=True,
            text=True,
        )

    assert (in_python, in_javascript.stdout.strip()) == (platform, platform)
    socket.unlink(missing_ok=True)
