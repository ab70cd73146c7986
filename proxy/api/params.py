"""What a request names, read once and checked: nothing below `api` sees raw text."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from difflib import get_close_matches
from urllib.parse import urlencode

from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.api.keys import REPOSITORY
from proxy.api.services import SERVICES
from proxy.errors import DigestInvalid, PaginationNumberInvalid, ParameterInvalid, Stalled
from proxy.oci.digest import Digest, hashing
from proxy.oci.names import Name, Tag, is_path, parse_reference, split_host
from proxy.oci.references import repository_below
from proxy.text import counted

ORIGIN = "Image-Relay-From"  # the header that says in which other run something was found
_CHUNK = 64 * 1024  # bytes, which an upload holds while it waits for its turn
_SET = {"", "1", "true"}  # what some clients write for a parameter without a value
_NUMBER = re.compile(r"[0-9]{1,40}")


@web.middleware
async def read_repository(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read the repository of the path, in the registry of `?ns=`; raise NameInvalid. It is not quiet now."""
    if text := request.match_info.get("name"):
        services = request.app[SERVICES]
        name = repository_below(text, request.query.get("ns", ""), services.backend.public_host)
        services.push.touch(name)
        request[REPOSITORY] = name
    return await handler(request)


def name_of(request: web.Request) -> Name:
    """Return the repository of the path, in the registry of `?ns=`."""
    return request[REPOSITORY]


def is_own_alone(request: web.Request) -> bool:
    """Return whether a request is about what this relay stores itself, and about nothing elsewhere: `?own`."""
    return is_set(request, "own")


def is_set(request: web.Request, flag: str) -> bool:
    """Return whether a parameter is there that takes no value; raise ParameterInvalid if it has one."""
    for value in (given := request.query.getall(flag, [])):
        if value.lower() not in _SET:
            raise ParameterInvalid(
                f"?{flag} takes no value, not {value[:40]!r}: leave out ?{flag} if you do not want it"
            )
    return bool(given)


def repository_in(request: web.Request, text: str) -> Name:
    """Read a repository that a parameter names."""
    return repository_below(text, "", request.app[SERVICES].backend.public_host)


def address_of(request: web.Request, what: str, **query: str) -> str:
    """Return the address of something in the repository of a request, with this query.

    A registry with a port is no part of a path: it stands first in the query.
    """
    name = name_of(request).text
    host, path = ("", name) if is_path(name) else split_host(name)
    parameters = urlencode(({"ns": host} if host else {}) | query)
    return f"/v2/{path}/{what}{'?' if parameters else ''}{parameters}"


def digest_of(request: web.Request) -> Digest:
    """Read the digest in the path."""
    return Digest.parse(request.match_info["digest"])


def reference_of(request: web.Request) -> Tag | Digest:
    """Read the tag or digest in the path."""
    return parse_reference(request.match_info["reference"])


def digest_parameter(request: web.Request) -> Digest:
    """Read `?digest=`, which has to stand there once; it may follow the query of a Location, too."""
    appended = request.query.get("_state", "").split("?digest=")[1:]
    given = [*request.query.getall("digest", []), *appended]
    if len(given) != 1:
        raise DigestInvalid("the upload has to end with one ?digest=<digest of the content>")
    return Digest.parse(given[0])


def algorithm_parameter(request: web.Request) -> str:
    """Read `?digest-algorithm=` of an upload to be; who uses another digest than sha256 often does not say so."""
    algorithm = request.query.get("digest-algorithm", "sha256")
    hashing(algorithm)
    return algorithm


def tags_parameter(request: web.Request) -> list[Tag]:
    """Read every `?tag=` of a manifest, each once."""
    return [Tag.parse(text) for text in dict.fromkeys(request.query.getall("tag", []))]


async def content_of(request: web.Request) -> bytes:
    """Return a body that is small. Raise SizeInvalid if it is not, or stops coming."""
    async with _moving(request):
        return await request.read()


async def chunks_of(request: web.Request) -> AsyncIterator[bytes]:
    """Yield a body as it comes. Raise SizeInvalid if it stops coming."""
    while True:
        chunk = request.content.read_nowait()
        if not chunk:  # a limit of time costs as much as a chunk does: it is for those that are waited for
            async with _moving(request):
                chunk = await request.content.readany()
        if not chunk:
            return
        yield chunk


async def upload_of(request: web.Request) -> AsyncIterator[bytes]:
    """Yield a body in small chunks, an empty one where the client pauses. Raise SizeInvalid if it stops coming."""
    pause = request.app[SERVICES].limits.sender_turn
    while True:
        chunk = request.content.read_nowait(_CHUNK)
        if not chunk:
            try:
                async with asyncio.timeout(pause):
                    chunk = await request.content.read(_CHUNK)
            except TimeoutError:
                yield b""
                async with _moving(request):
                    chunk = await request.content.read(_CHUNK)
        if not chunk:
            return
        yield chunk


def parameters(*known: str) -> Callable[[Handler], Handler]:
    """Let a handler refuse what the query has besides these: a misspelt one would be ignored (ParameterInvalid)."""

    def checked(handler: Handler) -> Handler:
        async def check(request: web.Request) -> web.StreamResponse:
            for name in sorted(request.query.keys() - known):
                near = get_close_matches(name.lower(), known, n=1)
                there = f"there are ?{', ?'.join(known)}" if known else "there are none"
                advice = f"did you mean ?{near[0]}" if near else there
                raise ParameterInvalid(f"?{name[:40]} is not a parameter here; {advice}")
            return await handler(request)

        return check

    return checked


@asynccontextmanager
async def _moving(request: web.Request) -> AsyncIterator[None]:
    """Limit the time without a byte; aiohttp's C parser shows a malformed chunk as such a silence."""
    stall = request.app[SERVICES].limits.body_stall
    try:
        async with asyncio.timeout(stall):
            yield
    except TimeoutError as error:
        raise Stalled(f"the rest of the body did not come within {counted(stall, 'second')}") from error


def page_of(request: web.Request) -> tuple[int | None, str]:
    """Read `?n=` and `?last=` of a listing; no number means all."""
    number = request.query.get("n")
    if number is not None and not _NUMBER.fullmatch(number):
        raise PaginationNumberInvalid(f"n={number[:40]!r} is not a number of results")
    return None if number is None else int(number), request.query.get("last", "")
