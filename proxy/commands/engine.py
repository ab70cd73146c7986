"""The container engine of this machine, Docker or one with its API, found where the docker command finds it."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiodocker

from proxy.commands.relay import CommandFailed

_CHUNK = 1024 * 1024  # bytes
_ARM = re.compile(r"armv([5-9])")
_ARM_MOST = 7  # variant of 32 bits
_BRIEF = 160  # characters of what the engine says that are shown
_UNREACHABLE = 900  # aiodocker's status where no engine answers
_NONE = "no container engine answers (DOCKER_HOST, /var/run/docker.sock): start it, or use --file"
_BY_HAND = "docker save IMAGE | image-relay save --file - IMAGE, and image-relay load --file - IMAGE | docker load, do"
_UNPACKED_NOT = "Error unpacking image"
_LOADED = re.compile(r"Loaded image(?: ID)?: *(\S+)")


class Engine:
    """An engine that is there."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self._docker = docker

    async def size(self, reference: str) -> int:
        """Return about how many bytes an image has. Raise CommandFailed if it is not there."""
        with_size = await self._docker.images.inspect(reference)
        return int(with_size.get("Size") or 0)

    async def platform(self) -> str:
        """Return the platform of its images, such as `linux/amd64`."""
        said = await self._docker.version()
        platform = f"{said['Os']}/{said['Arch']}"
        if said["Arch"] != "arm":
            return platform
        machine = await self._docker.system.info()  # as uname has it, such as armv7l
        variant = _ARM.match(str(machine.get("Architecture")))
        return f"{platform}/v{min(int(variant[1]), _ARM_MOST)}" if variant else platform

    async def saved(self, reference: str) -> AsyncIterator[bytes]:
        """Yield an image as `docker save` writes it."""
        async with self._docker.images.export_image(reference) as stream:
            async for chunk in stream.iter_any():
                yield chunk

    async def load(self, tarball: AsyncIterator[bytes]) -> list[str]:
        """Load images as `docker load` does, and return what the engine says. Raise CommandFailed if it has none then.

        An engine with containerd's image store reports only in one of its lines that it could not unpack an image.
        """
        said: list[str] = []
        message: Any
        async for message in self._docker.images.import_image(tarball, stream=True):
            said += filter(None, (line.strip() for line in str(message.get("stream", "")).splitlines()))
        for line in said:
            if line.startswith(_UNPACKED_NOT):
                raise _failure(line)
        loaded = [match[1] for line in said if (match := _LOADED.match(line))]
        if not loaded:
            raise CommandFailed("the container engine took the tarball, and says of no image that it is loaded")
        for reference in loaded:
            await self._docker.images.inspect(reference)
        return said


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """Yield the engine. Raise CommandFailed where there is none, and with what it says when it refuses."""
    try:
        docker = aiodocker.Docker()
    except (AssertionError, ValueError, OSError) as error:  # an assertion where it finds no socket
        raise CommandFailed(_NONE) from error
    except aiodocker.DockerError as error:  # such as one that is reached by ssh
        raise CommandFailed(f"the engine of DOCKER_HOST cannot be used ({error.message}); {_BY_HAND}") from error
    try:
        yield Engine(docker)
    except aiodocker.DockerError as error:
        raise (CommandFailed(_NONE) if error.status == _UNREACHABLE else _failure(error.message)) from error
    finally:
        await docker.close()


def _failure(said: str) -> CommandFailed:
    """Return what the engine said as a failure; of a long text only both ends, as the cause mostly stands last."""
    brief = said if len(said) <= _BRIEF else f"{said[:50]} … {said[-100:]}"
    return CommandFailed(f"the container engine says: {brief}")
