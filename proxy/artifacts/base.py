"""The contract of an artifact store; `tests/contract` holds every store to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from proxy.files import Source


class ArtifactGone(Exception):
    """The artifact was listed before, and is there no more."""


class StoreRefused(Exception):
    """The store cannot keep or remove the artifact; the message is for the person who pushed and says what to do."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One entry of an artifact store; the size is in bytes. An id names these bytes and no others, for ever."""

    name: str
    id: str
    created: datetime
    size: int


class Body(Protocol):
    """A file to be: its size in bytes is known before its first byte is asked for."""

    @property
    def size(self) -> int:
        """The length of all parts together."""

    def parts(self) -> AsyncIterator[bytes]:
        """Give the bytes in order, in parts of any size; may be called again, for the same bytes."""


class ArtifactStore(Protocol):
    """Whole files under names. Whatever is listed can be read to its end."""

    replaces: bool
    """Does a new artifact take the place of one of the same name? Otherwise both stay."""

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts, in no particular order."""

    async def put(self, name: str, body: Body) -> Artifact:
        """Store a file, whole or not at all; durable when it returns. StoreRefused if it cannot be."""

    async def open(self, artifact: Artifact) -> Source:
        """Give access to the bytes; they stay readable as long as the source is held. ArtifactGone if they are not."""

    async def delete(self, artifact: Artifact) -> None:
        """Remove an artifact; one that is not there any more is no error. StoreRefused if it stays."""
