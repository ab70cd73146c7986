"""The container engine of this machine, Docker or one with its API, found where the docker command finds it."""

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
from yarl import URL

from config.docker import ContextUnusable, Endpoint, endpoint
from proxy.commands.relay import AHEAD, CommandFailed
from proxy.runtime.tasks import run_in_thread
from proxy.runtime.transport import in_words

_CHUNK = 1024 * 1024  # bytes
_ARM = re.compile(r"armv([5-9])")
_ARM_MOST = 7  # variant of 32 bits
_BRIEF = 160  # characters of what the engine says that are shown
_UNREACHABLE = 900  # aiodocker's status where no engine answers
_BY_HAND = (
    "to save by hand: docker save IMAGE | image-relay save --file - IMAGE",
    "to load by hand: image-relay load --file - IMAGE | docker load",
)
_UNPACKED_NOT = "Error unpacking image"
_LOADED = re.compile(r"Loaded image(?: ID)?: *(\S+)")


class _Source:
    """A tarball on its way to the engine, and why it broke off: the client of the engine reports only that it did."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            self.failure = error
            raise


class Engine:
    """An engine that is there."""

    def __init__(self, docker: aiodocker.Docker, at: Endpoint) -> None:
        self._docker = docker
        self._at = at

    async def size(self, reference: str) -> int:
        """Return about how many bytes an image has. Raise CommandFailed if it is not there."""
        with _understood(self._at):
            with_size = await self._docker.images.inspect(reference)
            return int(with_size.get("Size") or 0)

    async def platform(self) -> str:
        """Return the platform of its images, such as `linux/amd64`."""
        with _understood(self._at):
            said = await self._docker.version()
            platform = f"{said['Os']}/{said['Arch']}"
            if said["Arch"] != "arm":
                return platform
            machine = await self._docker.system.info()  # as uname has it, such as armv7l
            variant = _ARM.match(str(machine.get("Architecture")))
        return f"{platform}/v{min(int(variant[1]), _ARM_MOST)}" if variant else platform

    async def saved(self, reference: str) -> AsyncIterator[bytes]:
        """Yield an image as `docker save` writes it."""
        with _understood(self._at):
            async with self._docker.images.export_image(reference) as stream:
                async for chunk in stream.iter_any():
                    yield chunk

    async def load(self, tarball: AsyncIterator[bytes]) -> list[str]:
        """Load images as `docker load` does, and return what the engine says. Raise CommandFailed if it has none then.

        An engine with containerd's image store reports only in one of its lines that it could not unpack an image.
        """
        said: list[str] = []
        message: Any
        source = _Source(tarball)
        with _understood(self._at):
            try:
                async for message in self._docker.images.import_image(source, stream=True):
                    said += filter(None, (line.strip() for line in str(message.get("stream", "")).splitlines()))
            except aiodocker.DockerError as error:
                raise source.failure or error from error
        for line in said:
            if line.startswith(_UNPACKED_NOT):
                raise _failure(line)
        loaded = [match[1] for line in said if (match := _LOADED.match(line))]
        if not loaded:
            raise CommandFailed("the container engine took the tarball, and says of no image that it is loaded")
        for reference in loaded:
            await self.size(reference)
        return said


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """Yield the engine. Raise CommandFailed where there is none, and with what it says when it refuses."""
    try:
        at = await run_in_thread(endpoint)
    except ContextUnusable as error:
        raise CommandFailed(str(error)) from error
    url, connector = await _connector(at)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=AHEAD) as http:
        yield Engine(aiodocker.Docker(url=url, connector=connector, session=http), at)


async def _connector(at: Endpoint) -> tuple[str, aiohttp.BaseConnector]:
    """Return the address of an engine as aiodocker takes it, and its connector."""
    scheme, _, path = at.url.partition("://")
    if scheme == "unix":
        return "unix://localhost", aiohttp.UnixConnector(path)
    if scheme not in {"http", "https"}:
        raise CommandFailed(f"the engine of {at.source} is reached by {scheme}, which only docker can do", *_BY_HAND)
    try:
        (URL(at.url).host or "").encode("idna")  # as the look-up of its address does
        tls = await run_in_thread(_tls, at.certificates, verify=at.verify) if at.certificates else True
        return at.url.rstrip("/"), aiohttp.TCPConnector(ssl=tls)
    except (OSError, ValueError) as error:  # an error of TLS is an OSError
        what = "has no address that can be used" if isinstance(error, ValueError) else "has no usable certificates"
        raise CommandFailed(f"the engine of {at.source} {what}: {at.certificates or at.url}") from error


def _tls(folder: Path, *, verify: bool) -> ssl.SSLContext:
    """Return TLS with what there is of `ca.pem`, `cert.pem` and `key.pem`."""
    authority, certificate = folder / "ca.pem", folder / "cert.pem"
    context = ssl.create_default_context(cafile=authority if authority.exists() else None)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate.exists():
        context.load_cert_chain(certificate, folder / "key.pem")
    return context


@contextmanager
def _understood(at: Endpoint) -> Iterator[None]:
    """Turn what aiodocker raises into a sentence (CommandFailed)."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status != _UNREACHABLE:
            raise _failure(error.message) from error
        tried = at.source if at.source in at.url else f"{at.source}: {at.url}"
        if isinstance(getattr(error.__context__, "os_error", None), PermissionError):
            advice = "use sudo, or become a member of the group that owns it, usually docker"
            raise CommandFailed(f"this user may not use the container engine ({tried}): {advice}") from error
        raise CommandFailed(f"no container engine answers ({tried}): start it, or use --file") from error
    except aiohttp.ClientError as error:
        raise CommandFailed(f"the container engine of {at.source} broke off: {in_words(error)}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # of an answer with another shape
        raise CommandFailed(f"what answers at {at.source} is no container engine") from error


def _failure(said: str) -> CommandFailed:
    """Return what the engine said as a failure; of a long text only both ends, as the cause usually stands last."""
    brief = said if len(said) <= _BRIEF else f"{said[:50]} … {said[-100:]}"
    return CommandFailed(f"the container engine says: {brief}")
