"""`save` and `load`: images go as tarballs from the engine of this machine, or from a file, to the relay, and back.

This replaces the engine's own push, which compresses on one core, and its pull.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Literal

import aiofiles
from aiofiles.os import rename, stat, unlink
from aiofiles.ospath import exists, isdir, isfile
from pydantic import BaseModel

from proxy.commands.engine import engine
from proxy.commands.images import Saving
from proxy.commands.progress import shown
from proxy.commands.relay import Bytes, CommandFailed, Place, RelayClient, path_of
from proxy.runtime.tasks import run_in_thread
from proxy.text import format_size, sanitize

_CHUNK = 1024 * 1024  # bytes
_ALL = "all"  # platforms
_STANDARD = "-"  # standard input, or output
_COMPRESSIONS = {".tar": "none", ".gz": "gzip", ".tgz": "gzip"}  # of files by their ending; zstd of any other
_NOT_WRITTEN = {  # other compressions
    *(".xz", ".txz", ".bz2", ".tbz", ".tbz2", ".tb2", ".lz4", ".lzma", ".tlz", ".lz", ".lzo", ".br", ".z", ".taz"),
    *(".sz", ".7z", ".rar", ".zip"),
}


class _Image(BaseModel):
    """An image as `PUT /relay/images` describes it."""

    reference: str
    digest: str
    size: Bytes
    stored: Bytes


class _Stored(BaseModel):
    images: list[_Image]


async def save(place: Place, wanted: Sequence[Saving]) -> None:
    """Send images of the engine to the relay."""
    async with RelayClient(place) as relay, engine() as source:
        for each in wanted:
            about = await source.size(each.local)
            await _send(relay, each.target, shown(f"saving {each.local}", source.saved(each.local), about))


async def send(place: Place, reference: str, file: str) -> None:
    """Send what is in a file (`-` for standard input) to the relay, under a reference or the names that are in it."""
    if await isdir(file):
        raise CommandFailed(
            f"{file} is a folder; an OCI layout goes as tar -C FOLDER -c . | image-relay save --file - NAME"
        )
    if not await exists(file) and file != _STANDARD:
        raise CommandFailed(f"there is no {file}; save --file sends a tarball, and load --file writes one")
    if file == _STANDARD and sys.__stdin__ is None:
        raise CommandFailed("standard input is closed")
    with _file_troubles(f"cannot read {file}"):
        size = None if file == _STANDARD else (await stat(file)).st_size
    async with RelayClient(place) as relay:
        await _send(relay, reference, shown(f"sending {file}", _read(file), size))


async def _read(file: str) -> AsyncIterator[bytes]:
    with _file_troubles(f"cannot read {'standard input' if file == _STANDARD else file}"):
        async with aiofiles.open(sys.stdin.fileno() if file == _STANDARD else file, "rb") as opened:
            while chunk := await opened.read(_CHUNK):
                yield chunk


async def _send(relay: RelayClient, reference: str, chunks: AsyncIterator[bytes]) -> None:
    async with relay.ask("PUT", path_of(reference), data=chunks) as answer:
        for image in (await relay.read(answer, _Stored)).images:
            sizes = f"{format_size(image.size)}, stored in {format_size(image.stored)}"
            print(sanitize(f"{image.reference} {image.digest}: {sizes}"))


async def write(place: Place, references: Sequence[str], file: str, platform: str | None, *, replace: bool) -> None:
    """Write images of the relay to a file (`-` for standard output), in one tarball.

    What is in the file already is lost only if that is wanted (`replace`).
    """
    ending = Path(file).suffix.lower()
    if ending in _NOT_WRITTEN:
        raise CommandFailed(f"cannot write {ending}; use .tar.zst, .tar.gz, or .tar for no compression")
    if not replace and await isfile(file) and (await stat(file)).st_size:
        raise CommandFailed(
            f"{file} is there, and load --file writes a file (save --file sends one); to replace it, add --force"
        )
    if file == _STANDARD and sys.__stdout__ is None:
        raise CommandFailed("standard output is closed")
    query = _platform(platform) | {"compression": _COMPRESSIONS.get(ending, "zstd")}
    async with _coming(place, references, query) as chunks:
        with _file_troubles(f"cannot write to {'standard output' if file == _STANDARD else file}"):
            written = await _write(file, chunks)
    if written is not None:
        print(sanitize(f"{', '.join(references)}: {format_size(written)} in {file}"))


def _platform(platform: str | None) -> dict[str, str]:
    return {} if platform in {None, _ALL} else {"platform": platform}


async def load(place: Place, references: Sequence[str], platform: str | None) -> None:
    """Load images of the relay into the engine.

    Of an image for several platforms the engine gets the one of its own, unless another one, or `all`, is named.
    """
    query = _platform(platform)
    async with engine() as target:
        if platform is None:
            query = {"engine": await target.platform()}
        async with _coming(place, references, query | {"compression": "none", "loadable": "true"}) as chunks:
            for line in await target.load(chunks):
                print(sanitize(line))


@asynccontextmanager
async def _coming(
    place: Place, references: Sequence[str], query: Mapping[str, str]
) -> AsyncIterator[AsyncIterator[bytes]]:
    async with RelayClient(place) as relay, relay.tarball("GET", ",".join(references), query) as answer:
        yield shown(f"loading {', '.join(references)}", answer.content.iter_any(), answer.content_length)


async def _write(file: str, chunks: AsyncIterator[bytes]) -> int | None:
    """Write a file, whole or not at all, and return its size.

    Write through what is no regular file, such as a pipe or a device, and return nothing.
    """
    if file == _STANDARD or (await exists(file) and not await isfile(file)):
        await _pour(sys.stdout.fileno() if file == _STANDARD else file, "wb", chunks)
        return None
    target = await run_in_thread(os.path.realpath, file)
    part = f"{target}.{os.getpid()}.part"
    try:
        await _pour(part, "xb", chunks)
        size = (await stat(part)).st_size
        await rename(part, target)
        return size
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
