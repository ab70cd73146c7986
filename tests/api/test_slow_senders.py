"""Clients that send slowly, or stop in the middle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from proxy.runtime.tasks import TaskSet
from tests.api.relay import MIB, Relay, connected, parsed, request, running
from tests.registry_harness import noise, until
from tests.tarballs import Sample, legacy_save

CONTENT = noise(5 * MIB)
DIGEST = Digest.of(CONTENT)
BUDGET = 16 * MIB
SENT = [MIB // 2, 3 * MIB]  # in the middle of the first piece, or of the second
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running(tmp_path, limits=Limits(sender_turn=0.05), memory_budget=BUDGET) as relay:
        yield relay


@asynccontextmanager
async def crowd(relay: Relay, count: int, sent: int) -> AsyncIterator[list[Client]]:
    """Begin uploads, of each of which the relay has got so many bytes."""
    sessions = relay.services.spool.sessions
    async with AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            where = f"{await relay.open_upload()}&digest={DIGEST}"
            head = request("PUT", where, {"Content-Length": str(len(CONTENT))})
            clients.append(await stack.enter_async_context(connected(relay.port, head + CONTENT[:sent])))
        await until(lambda: [upload.offset for upload in sessions._uploads.values()] == [sent] * count)
        yield clients


async def finished(client: Client, sent: int) -> int:
    """Send the rest of an upload, and return the status of the answer."""
    reader, writer = client
    writer.write(CONTENT[sent:])
    async with asyncio.timeout(30):
        return parsed(await reader.read()).status


@pytest.mark.parametrize("sent", SENT)
async def test_uploads_that_stop_stand_in_nobodys_way_and_go_on_where_they_were(relay: Relay, sent: int) -> None:
    async with asyncio.timeout(60), crowd(relay, 12, sent) as clients:
        other = await relay.push_blob(noise(7 * MIB))

        assert await asyncio.gather(*(finished(client, sent) for client in clients)) == [201] * 12
    assert (await relay.ask("GET", f"/v2/app/blobs/{DIGEST}")).body == CONTENT
    assert (await relay.ask("GET", f"/v2/app/blobs/{other}")).body == noise(7 * MIB)


async def test_uploads_that_come_byte_by_byte_stand_in_nobodys_way(relay: Relay) -> None:
    tasks = TaskSet()

    async def trickle(client: Client) -> None:
        for at in range(MIB, 2 * MIB):
            client[1].write(CONTENT[at : at + 1])
            await asyncio.sleep(0.01)

    async with asyncio.timeout(60), crowd(relay, 12, MIB) as clients:
        try:
            for client in clients:
                _ = tasks.spawn(trickle(client))
            await relay.push_blob(noise(7 * MIB))
        finally:
            await tasks.cancel_all()


async def test_while_uploads_stop_no_turn_is_theirs(relay: Relay) -> None:
    memory = relay.services.memory
    free = memory.uploads._value

    async with asyncio.timeout(60), crowd(relay, 12, SENT[1]):
        await until(lambda: memory.uploads._value == free)


async def test_tarballs_that_stop_stand_in_nobodys_way_and_go_on_where_they_were(relay: Relay) -> None:
    stopped, other = [legacy_save(Sample((noise(3 * MIB, each),))) for each in "ab"]
    head = request("PUT", "/relay/images/app:stopped", {"Content-Length": str(len(stopped))})
    places = relay.services.image_import._places
    free = places._value
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connected(relay.port, head + stopped[:sent]))
            for sent in (1000, MIB, len(stopped) - 600)
        ]
        await until(lambda: places._value == free - len(clients))

        assert (await relay.ask("PUT", "/relay/images/app:other", data=other)).status == 201
        for (_, writer), sent in zip(clients, (1000, MIB, len(stopped) - 600), strict=True):
            writer.write(stopped[sent:])
        assert [parsed(await reader.read()).status for reader, _ in clients] == [201] * 3
