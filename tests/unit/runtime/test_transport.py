"""Failures of transport in words; each failure is a real one."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from proxy.runtime.transport import FAILURES, in_words

ROOT = Path(__file__).parents[3]
SECRET = "hunter2"  # noqa: S105
BRIEF = aiohttp.ClientTimeout(total=5, sock_read=0.2)
GREETING = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[int]:
    """A server that answers with these bytes and closes the connection, or without any is silent; yield its port."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await over.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
        over.set()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def words(url: str, proxy: str | None = None) -> str:
    async with aiohttp.ClientSession(timeout=BRIEF) as http:
        with pytest.raises(FAILURES) as failed:
            async with http.get(url, proxy=proxy) as answer:
                await answer.read()
    said = in_words(failed.value)
    assert not re.search(rf"[a-z][A-Z]|Error|http:|{SECRET}", said)
    return said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the connection was closed before an answer"),
        (GREETING, "the connection broke in the middle of the answer"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "the answer is not HTTP"),
        (None, "no byte came within the time limit"),
    ],
)
async def test_a_broken_answer_is_described(answer: bytes | None, said: str) -> None:
    async with answering(answer) as port:
        assert await words(f"http://127.0.0.1:{port}/?sig={SECRET}") == said


async def test_a_service_that_is_not_there_is_described(closed_port: int) -> None:
    assert await words(f"http://127.0.0.1:{closed_port}/") == "connection refused"
    assert await words("http://nowhere.invalid/") == "the host name nowhere.invalid cannot be resolved"


async def test_a_proxy_is_named_without_its_password(closed_port: int) -> None:
    gone = f"http://user:{SECRET}@127.0.0.1:{closed_port}"
    assert (
        await words("http://elsewhere.invalid/", gone) == "the proxy 127.0.0.1 cannot be reached (connection refused)"
    )

    unknown = f"http://user:{SECRET}@nowhere.invalid:1"
    assert await words("http://elsewhere.invalid/", unknown) == "the host name nowhere.invalid cannot be resolved"

    async with answering(b"HTTP/1.1 407 Log in\r\nContent-Length: 0\r\n\r\n") as port:
        refusing = f"http://user:{SECRET}@127.0.0.1:{port}"
        assert await words("https://elsewhere.invalid/", refusing) == "the proxy 127.0.0.1 answered 407"


def test_no_message_names_a_class_of_python() -> None:
    sources = [each for folder in ("proxy", "config") for each in (ROOT / folder).rglob("*.py")]
    classes = re.compile(r"type\((error|exc|fault|err)\)\.__name__|\{(error|exc|fault|err)!r\}")

    assert [each for each in sources if classes.search(each.read_text())] == []


def test_anything_else_is_described_without_its_class() -> None:
    assert in_words(TimeoutError()) == "no answer within the time limit"
    assert in_words(aiohttp.InvalidURL(SECRET)).startswith("an address is not valid")
    assert in_words(OSError("made by a library")) == "the connection failed"
    assert in_words(aiohttp.ClientError(SECRET)) == "the connection failed"
