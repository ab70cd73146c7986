"""Requests that follow each other on one connection, sent before their answers: each gets its own, whole and in order.

Bytes of blobs go past the buffer of asyncio (`proxy.api.client_line`), everything else through it.
"""

import asyncio
import random
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from tests.api.relay import MIB, connected, running
from tests.registry_harness import noise

SMALL = b"a small blob"
LARGE = noise(5 * MIB)
BLOBS = [SMALL, noise(100_000, 1), LARGE]
Wanted = tuple[str, int, bytes]  # the request, and status and body of its answer


def choose(dice: random.Random, manifest: bytes) -> Wanted:
    """Choose one request, and say what is to come."""
    blob = dice.choice(BLOBS)
    path, start = f"/v2/app/blobs/{Digest.of(blob)}", dice.randrange(len(blob))
    stop = dice.randrange(start, len(blob))
    some = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nRange: bytes={start}-{stop}\r\n\r\n"
    return dice.choice(
        [
            (f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, blob),
            (f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, b""),
            (some, 206, blob[start : stop + 1]),
            ("GET /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, manifest),
            ("HEAD /v2/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, b""),
            ("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, b"{}\n"),
            (f"HEAD /v2/app/blobs/{Digest.of(b'none')} HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, b""),
        ]
    )


async def answered(reader: asyncio.StreamReader, *, is_head: bool) -> tuple[int, bytes]:
    """Read one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = 0 if is_head else int(head.partition("content-length: ")[2].partition("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


@pytest.mark.parametrize("pauses", [False, True], ids=["reads at once", "reads slowly"])
@pytest.mark.parametrize("seed", range(4))
async def test_answers_come_whole_and_in_order(tmp_path: Path, seed: int, pauses: bool) -> None:
    dice = random.Random(seed)  # noqa: S311 - no secret
    async with running(tmp_path, limits=Limits(reader_pause=0.001)) as relay:
        manifest = (await relay.push_image("v1", layers=BLOBS)).content
        wanted = [choose(dice, manifest) for _ in range(60)]
        async with connected(relay.port) as (reader, writer), asyncio.timeout(60):
            writer.write("".join(request for request, *_ in wanted).encode())
            for request, status, body in wanted:
                if pauses and not dice.randrange(8):
                    await asyncio.sleep(0.02)  # the answer waits in the middle
                assert await answered(reader, is_head=request.startswith("HEAD")) == (status, body), request

            writer.write(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert await answered(reader, is_head=False) == (200, b"{}\n")
            assert await reader.read() == b"", "nothing comes behind the last answer"


async def test_many_connections_at_once_do_not_get_what_is_anothers(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.001)) as relay:
        manifest = (await relay.push_image("v1", layers=BLOBS)).content

        async def client(seed: int) -> None:
            dice = random.Random(seed)  # noqa: S311 - no secret
            wanted = [choose(dice, manifest) for _ in range(12)]
            async with connected(relay.port) as (reader, writer):
                writer.write("".join(request for request, *_ in wanted).encode())
                for request, status, body in wanted:
                    assert await answered(reader, is_head=request.startswith("HEAD")) == (status, body), request

        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            for seed in range(24):
                group.create_task(client(seed))


@pytest.mark.parametrize("left_after", [0, 1000, 3 * MIB])
async def test_a_client_that_leaves_in_the_middle_takes_nothing_from_the_next(tmp_path: Path, left_after: int) -> None:
    async with running(tmp_path, limits=Limits(reader_pause=0.001)) as relay:
        await relay.push_image("v1", layers=BLOBS)
        ask = f"GET /v2/app/blobs/{Digest.of(LARGE)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        async with asyncio.timeout(60):
            for _ in range(5):  # the number of a descriptor is used again at once
                async with connected(relay.port, ask * 3) as (reader, _):
                    if left_after:
                        await reader.readexactly(left_after)
                async with connected(relay.port, ask) as (reader, _):
                    assert await answered(reader, is_head=False) == (200, LARGE)
