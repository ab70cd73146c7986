"""Uploads: whatever way the bytes come, the same blob is the same file, and what fails leaves nothing."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.archive.pieces import PIECE
from proxy.errors import BlobUploadInvalid, BlobUploadUnknown, Denied, DigestInvalid, TooManyRequests
from proxy.oci.digest import Digest
from proxy.runtime.limits import Limits
from proxy.runtime.memory import MemoryBudget
from proxy.spool.spool import Spool
from proxy.spool.upload import Upload
from tests.machine import require_open_files
from tests.registry_harness import APP, MIB, chunks, noise, plain, until
from tests.unit.spool.harness import opened, spool_in

KIB = 1024
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, PIECE - 1, PIECE, PIECE + 1, 9 * MIB]
RANDOM = noise(9 * MIB)
TEXT = (b"a line of text that compresses rather well\n" * 250_000)[: 9 * MIB]
MIXED = TEXT[: 70 * KIB] + RANDOM
CONTENTS = {"random": RANDOM, "text": TEXT, "mixed": MIXED}


@pytest.fixture
async def spool(tmp_path: Path) -> Spool:
    spool = spool_in(tmp_path / "spool")
    await spool.open()
    return spool


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def cut(content: bytes, step: int) -> Iterator[bytes]:
    return (content[at : at + step] for at in range(0, len(content), step))


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[bytes, list[list[bytes]]]:
    """Content, and the requests that bring it, each in chunks."""
    size = draw(st.sampled_from(SIZES))
    whole = CONTENTS[draw(st.sampled_from(sorted(CONTENTS)))][:size]
    stops = sorted(draw(st.lists(st.integers(0, size) | st.sampled_from([0, 1, min(size, PIECE), size]), max_size=4)))
    requests = []
    for start, stop in zip([0, *stops], [*stops, size], strict=True):
        step = draw(st.sampled_from([64 * KIB, 1_000_003, PIECE, 2 * PIECE] + ([1] if stop - start < 5000 else [])))
        requests.append(list(cut(whole[start:stop], step)))
    return whole, requests


async def stored(root: Path, content: bytes, requests: list[list[bytes]], announced: str, digest: Digest) -> bytes:
    """Push a blob this way, check that it comes back, and give its file."""
    spool = spool_in(root, budget=0 if len(requests) % 2 else 64 * MIB)
    await spool.open()
    upload = await spool.sessions.start(APP, announced)
    for request in requests:
        await spool.sessions.append(upload, chunks(*request))
    assert upload.offset == len(content)
    await spool.sessions.finish(upload, digest)
    blob = await spool.find(digest)
    assert blob is not None
    assert await plain(blob) == content
    return await asyncio.to_thread((root / "blobs" / digest.algorithm / digest.hex).read_bytes)


@settings(max_examples=30)
@given(deliveries(), st.sampled_from(["sha256", "sha512"]), st.sampled_from(["sha256", "sha512"]))
def test_the_same_blob_is_the_same_file_however_it_came(
    delivery: tuple[bytes, list[list[bytes]]], announced: str, algorithm: str
) -> None:
    content, requests = delivery
    digest = Digest.of(content, algorithm)

    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        at_once = asyncio.run(stored(Path(one), content, [[content]], algorithm, digest))
        in_parts = asyncio.run(stored(Path(other), content, requests, announced, digest))

    assert in_parts == at_once


async def test_many_tiny_chunks_are_one_piece(spool: Spool) -> None:
    content = noise(5000)
    upload = await spool.sessions.start(APP)

    await spool.sessions.append(upload, chunks(*cut(content, 1)))
    await spool.sessions.finish(upload, Digest.of(content))

    blob = await spool.find(Digest.of(content))
    assert blob is not None
    assert len(blob.pieces) == 1


async def test_a_second_request_is_refused_while_one_writes_and_harms_nothing(spool: Spool) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        await gate.wait()
        yield b"second"

    upload = await spool.sessions.start(APP)
    writing = asyncio.create_task(spool.sessions.append(upload, slow()))
    await until(lambda: upload.offset)

    with pytest.raises(BlobUploadInvalid, match="another request"):
        await spool.sessions.append(upload, chunks(b"other"))
    with pytest.raises(BlobUploadInvalid, match="another request"):
        await spool.sessions.finish(upload, Digest.of(b"first"))

    gate.set()
    await writing
    await spool.sessions.finish(upload, Digest.of(b"firstsecond"))
    assert await spool.find(Digest.of(b"firstsecond"))


@pytest.mark.parametrize("came", [0, 1, PIECE - 1, PIECE, PIECE + 7])
async def test_a_client_that_leaves_midway_goes_on_where_it_was(spool: Spool, came: int) -> None:
    content = noise(9 * MIB)

    async def leaving() -> AsyncIterator[bytes]:
        yield content[:came]
        raise ConnectionResetError

    upload = await spool.sessions.start(APP)
    with pytest.raises(ConnectionResetError):
        await spool.sessions.append(upload, leaving())

    assert spool.sessions.get(APP, upload.id).offset == came
    await spool.sessions.append(upload, chunks(content[came:]))
    await spool.sessions.finish(upload, Digest.of(content))
    blob = await spool.find(Digest.of(content))
    assert blob is not None
    assert await plain(blob) == content


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 6, 9, 14, 20, 28])
async def test_a_request_that_is_cancelled_anywhere_loses_and_doubles_nothing(
    spool: Spool, steps: int, times: int
) -> None:
    content = RANDOM
    upload = await spool.sessions.start(APP)
    await spool.sessions.append(upload, chunks(content[:1000]))
    writing = asyncio.create_task(spool.sessions.append(upload, chunks(*cut(content[1000:], MIB))))
    for _ in range(steps):
        await asyncio.sleep(0)

    for _ in range(times):
        writing.cancel()
        await asyncio.sleep(0)
    await asyncio.wait({writing})

    await spool.sessions.append(upload, chunks(content[upload.offset :]))
    await spool.sessions.finish(upload, Digest.of(content))
    blob = await spool.find(Digest.of(content))
    assert blob is not None
    assert await plain(blob) == content


async def test_a_wrong_digest_ends_the_session_and_leaves_nothing(spool: Spool) -> None:
    upload = await spool.sessions.start(APP)
    await spool.sessions.append(upload, chunks(b"content"))

    with pytest.raises(DigestInvalid, match="the content has sha256:"):
        await spool.sessions.finish(upload, Digest.of(b"other"))

    assert files(spool.root) == []
    with pytest.raises(BlobUploadUnknown):
        spool.sessions.get(APP, upload.id)
    with pytest.raises(BlobUploadInvalid):
        await spool.sessions.append(upload, chunks(b"more"))


async def test_an_unknown_algorithm_opens_nothing(spool: Spool) -> None:
    before = await asyncio.to_thread(os.listdir, "/proc/self/fd")
    for _ in range(10):
        with pytest.raises(DigestInvalid):
            await spool.sessions.start(APP, "md5")

    assert files(spool.root) == []
    assert len(await asyncio.to_thread(os.listdir, "/proc/self/fd")) <= len(before) + 2  # of the test's threads


async def test_a_cancelled_session_takes_no_more_and_its_file_is_gone(spool: Spool) -> None:
    upload = await spool.sessions.start(APP)

    async def overtaken() -> AsyncIterator[bytes]:
        yield b"some"
        await spool.sessions.cancel(upload)
        yield b"more"

    with pytest.raises(BlobUploadUnknown, match="given up"):
        await spool.sessions.append(upload, overtaken())

    assert files(spool.root) == []


async def test_a_session_that_is_cancelled_while_a_thread_writes_harms_no_other_file(spool: Spool) -> None:
    content = noise(9 * MIB)
    victim = await spool.sessions.start(APP)
    writing = asyncio.create_task(spool.sessions.append(victim, chunks(*[content] * 4)))
    await until(lambda: victim.offset)

    await spool.sessions.cancel(victim)
    digest = Digest.of(content)
    upload = await spool.sessions.start(APP)  # would get the number of a descriptor that was closed too early
    await spool.sessions.append(upload, chunks(content))
    await asyncio.wait({writing})
    await spool.sessions.finish(upload, digest)

    assert isinstance(writing.exception(), BlobUploadUnknown)
    blob = await spool.find(digest)
    assert blob is not None
    assert await plain(blob) == content


async def test_sessions_belong_to_their_repository(spool: Spool) -> None:
    upload = await spool.sessions.start(APP)

    assert spool.sessions.get(APP, upload.id) is upload
    assert spool.sessions.is_fed(APP)
    for name, upload_id in ((type(APP).parse("other"), upload.id), (APP, "none")):
        with pytest.raises(BlobUploadUnknown):
            spool.sessions.get(name, upload_id)


async def test_a_thousand_sessions_may_be_open_and_no_more(spool: Spool) -> None:
    require_open_files()
    uploads = [await spool.sessions.start(APP) for _ in range(1000)]

    with pytest.raises(TooManyRequests, match="1000 uploads are open") as refused:
        await spool.sessions.start(APP)

    assert refused.value.headers == {"Retry-After": "10"}
    await spool.sessions.cancel(uploads[0])
    await spool.sessions.start(APP)


async def test_a_disk_with_less_than_1_gib_takes_no_new_session(tiny_disk: Path) -> None:
    spool = spool_in(tiny_disk)
    await spool.open()

    with pytest.raises(Denied, match=r"only \d\.0 MiB are free in .*, and 1\.0 GiB are needed: free some"):
        await spool.sessions.start(APP)

    assert files(tiny_disk) == []


async def test_a_full_disk_is_told_and_the_upload_given_up(tiny_disk: Path) -> None:
    spool = await opened(tiny_disk, limits=Limits(free_disk=0))
    upload = await spool.sessions.start(APP)

    with pytest.raises(Denied, match="the disk is full"):
        await spool.sessions.append(upload, chunks(*cut(noise(12 * MIB), MIB)))

    assert files(tiny_disk) == []
    with pytest.raises(BlobUploadUnknown):
        spool.sessions.get(APP, upload.id)
    smaller = await spool.sessions.start(APP)
    await spool.sessions.append(smaller, chunks(noise(5 * MIB)))
    await spool.sessions.finish(smaller, Digest.of(noise(5 * MIB)))
    assert await spool.find(Digest.of(noise(5 * MIB)))


async def test_a_disk_that_is_full_at_the_last_moment_leaves_nothing(
    tiny_disk: Path,
) -> None:
    spool = await opened(tiny_disk, limits=Limits(free_disk=0))
    upload = await spool.sessions.start(APP)
    await spool.sessions.append(upload, chunks(noise(3 * MIB)))
    await asyncio.to_thread(fill, tiny_disk / "filler")

    with pytest.raises(Denied, match="the disk is full"):
        await spool.sessions.append(upload, chunks(noise(MIB)))

    assert files(tiny_disk) == ["filler"]


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(repeat(bytes(4096)))


async def test_what_was_hashed_but_never_written_is_no_blob(tmp_path: Path) -> None:
    content = noise(9 * MIB)
    upload = await asyncio.to_thread(
        lambda: Upload(APP, tmp_path / "part", algorithm="sha256", level=1, memory=MemoryBudget(0))
    )
    await upload.append(chunks(content))
    lost = upload._work.pieces.pop()

    with upload.alone(), pytest.raises(BlobUploadInvalid, match="were lost"):
        await upload.finish(Digest.of(content))

    assert lost.plain == MIB
