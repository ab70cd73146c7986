"""Requests of a command to a running relay: a failure becomes one sentence for a person."""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, Field

from config.address import Found, unreached
from proxy.runtime.transport import in_words
from proxy.text import counted

Shape = TypeVar("Shape", bound=BaseModel)
Bytes = Annotated[int, Field(ge=0, lt=2**63)]  # of an image, as a relay tells it

_TARBALLS = ("application/zstd", "application/gzip", "application/x-tar")
AHEAD = 1024 * 1024  # bytes of an answer that are read ahead: with fewer, a connection stops and goes on all the time
_CONNECT = 10.0  # seconds; it is on this machine, or near


def path_of(references: str) -> str:
    """Return the path of images, with commas between their references; without any, that of all images."""
    return f"/relay/images/{quote(references, safe='/:@,+=')}" if references else "/relay/images"


class CommandFailed(Exception):
    """A command cannot do its work; the message is for the person who called it, and so are lines with what to do."""

    def __init__(self, message: str, *advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class Refused(CommandFailed):
    """The relay answered with a failure of this status, and this message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Place:
    """Where a relay listens, and its password if it has one."""

    found: Found
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.found.host} port {self.found.port}"


class RelayClient:
    """Requests to one relay; used as an asynchronous context manager."""

    def __init__(self, place: Place, patience: float | None = None) -> None:
        """Allow `patience` seconds for an answer; by default as long as it takes, since images may be large."""
        self._patience = patience
        host, port, _ = place.found
        self._place = place
        self._base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self._http: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        password = self._place.password
        login = "Basic " + b64encode(f"relay:{password}".encode(errors="surrogateescape")).decode()
        headers = {"Authorization": login} if password is not None else {}
        patience = aiohttp.ClientTimeout(total=self._patience, sock_connect=_CONNECT)
        self._http = aiohttp.ClientSession(headers=headers, timeout=patience, auto_decompress=False, read_bufsize=AHEAD)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, data: AsyncIterator[bytes] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request, and yield the answer. Raise CommandFailed with what the relay said if it failed."""
        try:
            async with self._http.request(method, self._base + path, params=query, data=data) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise Refused(answer.status, await self._message(answer))
                yield answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            unknown = isinstance(error, aiohttp.ClientConnectorDNSError)
            raise CommandFailed(unreached(self._place.found, unknown=unknown)) from error
        except TimeoutError as error:
            late = counted(self._patience or 0.0, "second")
            raise CommandFailed(f"the relay at {self._place} has not answered for {late}; its log says why") from error
        except aiohttp.ClientError as error:
            if isinstance(error.__cause__, CommandFailed):  # of what was to be sent
                raise error.__cause__ from None
            raise CommandFailed(f"the relay at {self._place} broke off: {in_words(error)}") from error

    @asynccontextmanager
    async def tarball(
        self, method: str, references: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Request images as a tarball. Raise CommandFailed also where what answers is no relay."""
        async with self.ask(method, path_of(references), query) as answer:
            if answer.content_type not in _TARBALLS:
                raise CommandFailed(self._stranger(answer))
            yield answer

    def _stranger(self, answer: aiohttp.ClientResponse) -> str:
        return f"what answers at {self._place} is no image-relay, or of another version ({answer.status})"

    async def read(self, answer: aiohttp.ClientResponse, shape: type[Shape]) -> Shape:
        """Return what a relay says about itself or its images. Raise CommandFailed where that has another shape."""
        try:
            return shape.model_validate_json(await answer.read())
        except ValueError as error:
            raise CommandFailed(self._stranger(answer)) from error

    async def _message(self, answer: aiohttp.ClientResponse) -> str:
        if answer.status == HTTPStatus.UNAUTHORIZED:
            how = "not set" if self._place.password is None else "wrong"
            return f"the relay wants its password: RELAY_PASSWORD is {how}"
        try:
            body: Any = await answer.json(content_type=None)
            return str(body["errors"][0]["message"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return self._stranger(answer)
