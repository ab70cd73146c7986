"""A real artifact store without a disk, whose names are given once: what the service of GitHub Actions is like."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from zlib import crc32

from proxy.artifacts.base import NOBODYS, Artifact, ArtifactGone, Body, Claim, StoreRefused
from proxy.runtime.files import InMemory
from proxy.runtime.limits import Policy, Rereading


class MemoryStore:
    """Artifacts in memory; a name stays taken from the first byte on, also after a failure and after a deletion.

    Creation times are whole seconds, so that what answers for a tag has to be told by its number.
    """

    overwrites = False
    is_remote = False
    closed = undeletable = ""
    rereading = Rereading(Policy(attempts=1), rest=0.0)

    def __init__(self, room: int = 1 << 40) -> None:
        self._room = room
        self._held: dict[str, tuple[Artifact, bytes]] = {}
        self._taken: set[str] = set()

    def may_replace(self, artifact: Artifact) -> bool:
        return artifact.owner == ""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def listed(self) -> list[Artifact]:
        return [artifact for artifact, _ in self._held.values()]

    def expire(self) -> None:
        """Do nothing: each listing is new."""

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        free = self._reserve(name)
        content = bytearray()
        async for part in body.parts():
            content += part
            if len(content) > self._room - sum(artifact.size for artifact, _ in self._held.values()):
                raise StoreRefused(f"there is no room for {body.size} bytes; delete some artifacts")
        created = datetime.now(UTC).replace(microsecond=0)
        artifact = Artifact(free, str(len(self._taken)), created, len(content))
        self._held[artifact.id] = artifact, bytes(content)
        return artifact

    def _reserve(self, name: str) -> str:
        number = 1
        while (free := f"{name}~{number}" if number > 1 else name) in self._taken:
            number += 1
        self._taken.add(free)
        return free

    async def open(self, artifact: Artifact) -> InMemory:
        if artifact.id not in self._held:
            raise ArtifactGone(artifact.name)
        return InMemory(self._held[artifact.id][1])

    async def delete(self, artifact: Artifact) -> bool:
        return self._held.pop(artifact.id, None) is not None


class Bytes:
    """A body of known parts (`artifacts.base.Body`)."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = parts

    @property
    def size(self) -> int:
        return sum(map(len, self._parts))

    @property
    def crc(self) -> int:
        return crc32(b"".join(self._parts))

    async def parts(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()
