import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from config.process import spare_loopback_from_proxies
from proxy.api.server import bind_all, listen


@pytest.mark.parametrize("spared", ["", "elsewhere.example", "*"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_proxy_is_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str, spared: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", spared)
    spare_loopback_from_proxies()

    async with (
        listen(web.Application(), bind_all(["127.0.0.1"], 0)) as port,
        aiohttp.ClientSession(trust_env=True) as http,
    ):
        async with http.get(f"http://{host}:{port}/") as answer:
            assert answer.status == 404
        if spared != "*":
            with pytest.raises(aiohttp.ClientProxyConnectionError):
                await http.get("http://other.example/")


def test_what_a_terminal_cannot_show_is_written_as_an_escape() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from config.process import ensure_streams; ensure_streams(); print('\u65e5.tar')"],
        cwd=Path(__file__).parents[3],
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
        text=True,
    )

    assert said.stdout == "\\u65e5.tar\n"
