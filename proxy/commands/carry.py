"""`save` and `load`: images go as tarballs from the engine of this machine, or from a file, to the relay, and back.

That spares the engine's own push, which compresses on one core, and its pull.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import aiofiles
from aiofiles.os import rename, stat, unlink
from aiofiles.ospath import exists, isdir, isfile
from pydantic import BaseModel, ByteSize

from proxy.commands.engine import engine
from proxy.commands.progress import shown
from proxy.commands.relay import CommandFailed, Place, RelayClient, path_of
from proxy.offload import offload
from proxy.printing import printable

_CHUNK = 1024 * 1024  # bytes
_STANDARD = "-"  # standard input, or output
_COMPRESSIONS = {".tar": "none", ".gz": "gzip", ".tgz": "gzip"}  # of files by their ending; zstd of any other


class _Image(BaseModel):
    """An image as `PUT /relay/images` describes it."""

    reference: str
    digest: str
    size: ByteSize
    stored: ByteSize


class _Stored(BaseModel):
    images: list[_Image]


async def save(place: Place, references: Sequence[str], file: str | None) -> None:
    """Send images of the engine to the relay; or what is in a file (`-` for standard input), under its names or one."""
    async with RelayClient(place) as relay:
        if file is not None:
            if await isdir(file):
                raise CommandFailed(
                    f"{file} is a folder; an OCI layout goes as tar -C FOLDER -c . | image-relay save --file - NAME"
                )
            with _file_troubles(f"cannot read {file}"):
                size = None if file == _STANDARD else (await stat(file)).st_size
                await _send(relay, "".join(references), shown(f"sending {file}", _read(file), size))
            return
        async with engine() as source:
            for reference in references:
                about = await source.size(reference)
                await _send(relay, reference, shown(f"saving {reference}", source.saved(reference), about))


async def _read(file: str) -> AsyncIterator[bytes]:
    async with aiofiles.open(sys.stdin.fileno() if file == _STANDARD else file, "rb") as opened:
        while chunk := await opened.read(_CHUNK):
            yield chunk


async def _send(relay: RelayClient, reference: str, chunks: AsyncIterator[bytes]) -> None:
    async with relay.ask("PUT", path_of(reference), data=chunks) as answer:
        for image in (await relay.read(answer, _Stored)).images:
            sizes = f"{image.size.human_readable()}, stored in {image.stored.human_readable()}"
            print(printable(f"{image.reference} {image.digest}: {sizes}"))


async def load(place: Place, references: Sequence[str], file: str | None, platform: str | None) -> None:
    """Hand images of the relay to the engine; or write them to a file (`-` for standard output), in one tarball."""
    compression = _COMPRESSIONS.get(Path(file).suffix, "zstd") if file is not None else "none"
    query = {"compression": compression} | ({"platform": platform} if platform else {})
    async with RelayClient(place) as relay, relay.tarball("GET", ",".join(references), query) as answer:
        coming = answer.content.iter_any()
        chunks = shown(f"loading {', '.join(references)}", coming, answer.content_length)
        if file is not None:
            with _file_troubles(f"cannot write to {file}"):
                await _write(file, chunks)
            return
        async with engine() as target:
            for line in await target.load(chunks):
                print(printable(line))


async def _write(file: str, chunks: AsyncIterator[bytes]) -> None:
    """Write a file, whole or not at all; what is no file, such as a pipe or a device, stays what it is."""
    if file == _STANDARD or (await exists(file) and not await isfile(file)):
        await _pour(sys.stdout.fileno() if file == _STANDARD else file, "wb", chunks)
        return
    target = await offload(os.path.realpath, file)
    part = f"{target}.{os.getpid()}.part"
    try:
        await _pour(part, "xb", chunks)
        await rename(part, target)
    finally:
        with suppress(FileNotFoundError):
            await unlink(part)


async def _pour(to: str | int, mode: Literal["wb", "xb"], chunks: AsyncIterator[bytes]) -> None:
    async with aiofiles.open(to, mode) as opened:
        async for chunk in chunks:
            await opened.write(chunk)


@contextmanager
def _file_troubles(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(f"{what}: {error.strerror or error}") from error
