"""Clients that read slowly, or not at all."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.api.relay import MIB, Relay, connected, request, running
from tests.registry_harness import noise

RAW = noise(12 * MIB)
PLAIN = bytes(range(256)) * (12 * MIB // 256)
BUDGET = 16 * MIB  # of which a piece has two
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def crowd(relay: Relay, path: str, count: int) -> AsyncIterator[list[Client]]:
    """Open connections that ask for something and do not read it."""
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            reader, writer = await stack.enter_async_context(connected(relay.port))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(request("GET", path))
            clients.append((reader, writer))
        yield clients


async def rest_of(client: Client) -> bytes:
    """Begin to read, and give the body."""
    reader, writer = client
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        received = b"".join([chunk async for chunk in _chunks(reader)])
    return received.partition(b"\r\n\r\n")[2]


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await reader.read(MIB):
        yield chunk


async def all_pause(relay: Relay) -> None:
    """Wait until no answer has owned a piece for a while: every client was given what its connection takes."""
    memory, since = relay.services.memory, 0
    turn, free = memory.turns(local=True), memory.turns_each
    async with asyncio.timeout(30):
        while since < 10:  # nobody tells when nothing more happens
            await asyncio.sleep(0.05)
            since = since + 1 if turn._value == free else 0


@pytest.mark.parametrize("content", [RAW, PLAIN], ids=["raw", "compressed"])
async def test_who_goes_on_reading_gets_all_of_it(tmp_path: Path, content: bytes) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.02), memory_budget=BUDGET) as relay:
        await relay.push_image("v1", layers=[content])
        path = f"/v2/app/blobs/{Digest.of(content)}"
        async with crowd(relay, path, 3) as clients:
            await all_pause(relay)

            assert await asyncio.gather(*map(rest_of, clients)) == [content] * 3


async def test_clients_that_do_not_read_stand_in_nobodys_way(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.02), memory_budget=BUDGET) as relay:
        await relay.push_image("v1", layers=[RAW])
        path = f"/v2/app/blobs/{Digest.of(RAW)}"
        async with crowd(relay, path, 40):
            assert (await relay.ask("GET", path)).body == RAW


@pytest.mark.parametrize("content", [RAW, PLAIN], ids=["raw", "compressed"])
async def test_clients_that_do_not_read_hold_little_memory(tmp_path: Path, content: bytes) -> None:
    count = 50
    async with running(tmp_path, limits=Limits(reader_pause=0.02), memory_budget=BUDGET) as relay:
        await relay.push_image("v1", layers=[content])
        tracemalloc.start()
        try:
            async with crowd(relay, f"/v2/app/blobs/{Digest.of(content)}", count):
                await all_pause(relay)
                gc.collect()
                held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert held < count * 512 * 1024 + BUDGET  # a piece each would be 2 MiB, or more


async def test_who_takes_nothing_for_minutes_is_left(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.02, body_stall=0.2), memory_budget=BUDGET) as relay:
        await relay.push_image("v1", layers=[RAW])
        path = f"/v2/app/blobs/{Digest.of(RAW)}"
        async with crowd(relay, path, 1) as (client,), asyncio.timeout(20):
            while not (refused := (await relay.ask("GET", "/relay/health")).json["refused"]):
                pass
            received = await _until_cut(client)

    assert len(received) < len(RAW)
    (told,) = refused
    assert (told["path"], told["status"]) == (path, 0)
    assert told["message"] == "the client has read nothing for 0.2 seconds"


async def _until_cut(client: Client) -> bytes:
    try:
        return await rest_of(client)
    except ConnectionResetError:
        return b""


async def test_what_is_damaged_while_a_client_pauses_is_not_sent(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.02), memory_budget=BUDGET) as relay:
        await relay.push_image("v1", layers=[RAW])
        async with crowd(relay, f"/v2/app/blobs/{Digest.of(RAW)}", 1) as (client,):
            await all_pause(relay)
            with (relay.data / "image-app@v1.tar.zst").open("r+b") as file:
                file.write(bytes(12 * MIB))
            received = await _until_cut(client)

        health = (await relay.ask("GET", "/relay/health")).json

    assert len(received) < len(RAW)
    assert received == RAW[: len(received)]
    assert "are damaged; push the image again" in health["refused"][0]["message"]


async def test_who_takes_nothing_of_a_tarball_for_minutes_is_left_too(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(body_stall=0.2)) as relay:
        await relay.push_image("v1", layers=[RAW])
        async with crowd(relay, "/relay/images/app:v1", 1) as (client,), asyncio.timeout(20):
            while not (refused := (await relay.ask("GET", "/relay/health")).json["refused"]):
                pass
            received = await _until_cut(client)

    assert len(received) < len(RAW)
    (told,) = refused
    assert (told["path"], told["status"]) == ("/relay/images/app:v1", 0)
    assert told["message"] == "the client has read nothing for 0.2 seconds"
