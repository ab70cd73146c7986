"""Bytes on disk for the servers without Azure: written and served as they come."""

import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

from aiohttp import hdrs, web

from tests.fakes.actions.faults import RangeIgnored, WrongContentRange
from tests.fakes.actions.playing import SEEN, received, send_body
from tests.fakes.actions.violations import Violations, range_violation

_CHUNK = 256 * 1024  # bytes
_SNIFFED = 2048  # bytes; Go knows the length of a copied body only up to here


async def append(request: web.Request, path: Path) -> None:
    """Add the body of a request to a file, whoever else does so at the time."""
    async for chunk in received(request):
        _append(path, chunk)


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)


def merge(parts: list[Path], whole: Path) -> str:
    """Put blocks together, drop them, and return the sha256 of it all."""
    digest = hashlib.sha256()
    with whole.open("wb") as file:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
    for part in set(parts):
        part.unlink()
    return digest.hexdigest()


async def read(path: Path, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes]:
    """Yield a stretch of a file."""
    stop = path.stat().st_size if stop is None else stop
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(_CHUNK, stop - start))):
            yield chunk
            start += len(chunk)


async def serve_copied(request: web.Request, path: Path) -> web.StreamResponse:
    """Send a whole file whatever was asked for, with no more headers than a plain copy makes."""
    size = path.stat().st_size
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: _sniffed(path)})
    if size <= _SNIFFED:
        response.content_length = size
    else:
        response.enable_chunked_encoding()
    return await send_body(request, response, read(path))


async def serve_ranged(request: web.Request, path: Path, violations: Violations) -> web.StreamResponse:
    """Send a file or a range of it, with length, type and place."""
    size = path.stat().st_size
    headers = {hdrs.CONTENT_TYPE: _sniffed(path), hdrs.ACCEPT_RANGES: "bytes"}
    wanted = request.headers.get(hdrs.RANGE)
    if complaint := range_violation(wanted):
        violations.record(complaint)
        return web.Response(status=400, text=complaint)
    fault = request[SEEN].fault
    if wanted is None or isinstance(fault, RangeIgnored):
        response = web.StreamResponse(headers={**headers, hdrs.CONTENT_LENGTH: str(size)})
        return await send_body(request, response, read(path))
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last or size - 1) + 1, size)
    if start >= stop:
        return web.Response(status=416, headers={hdrs.CONTENT_RANGE: f"bytes */{size}"})
    place: str | None = f"bytes {start}-{stop - 1}/{size}"
    if isinstance(fault, WrongContentRange):
        place = fault.value
    headers |= {hdrs.CONTENT_LENGTH: str(stop - start)} | ({hdrs.CONTENT_RANGE: place} if place else {})
    return await send_body(request, web.StreamResponse(status=206, headers=headers), read(path, start, stop))


def _sniffed(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    known = {b"PK\x03\x04": "application/zip", b"\x1f\x8b": "application/x-gzip"}
    return next((kind for magic, kind in known.items() if head.startswith(magic)), "application/octet-stream")
