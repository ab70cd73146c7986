"""Which artifacts there are, where their bytes are, and their deletion: what the Actions store asks of a run."""

from typing import Protocol

from yarl import URL

from proxy.artifacts.actions.results import Listed, NoSuchArtifact, ResultsService
from proxy.artifacts.base import Artifact, ArtifactGone

NO_SESSION = "there is no session"


class Reader(Protocol):
    """Access to finished artifacts: through the results service, or the REST API."""

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted; empty where it can."""

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts."""

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for some minutes; NoSuchArtifact."""

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, and return whether it was there. Raise StoreRefused."""


class NoReader:
    """Reads nothing, while there is no run to read."""

    undeletable = NO_SESSION

    async def listed(self) -> list[Artifact]:
        """List nothing."""
        return []

    async def sign(self, artifact: Artifact) -> URL:
        """Raise ArtifactGone."""
        raise ArtifactGone(artifact.name)

    async def delete(self, _: Artifact) -> bool:
        """Delete nothing."""
        return False


class RunReader:
    """Reads the artifacts of a run through the results service."""

    undeletable = ""

    def __init__(self, service: ResultsService) -> None:
        self._service = service

    async def listed(self) -> list[Artifact]:
        """Give all finished artifacts, of earlier attempts too where the service shows them."""
        return [artifact_of(each) for each in await self._service.listed()]

    async def sign(self, artifact: Artifact) -> URL:
        """Give a URL that is good for some minutes; the service wants the ids of the job that stored the artifact."""
        run, _, job = artifact.owner.partition(":")
        if not run:
            raise NoSuchArtifact(artifact.name)
        return await self._service.sign(run, job, artifact.name)

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, by the ids of the job that stored it, and its name."""
        run, _, job = artifact.owner.partition(":")
        return await self._service.delete(run, job, artifact.name)


def artifact_of(found: Listed) -> Artifact:
    """Describe an artifact as listed. Servers that list unfinished ones give an id again (act)."""
    number = found.id if found.finished else f"{found.id}.{found.created.timestamp():.0f}"
    owner = f"{found.run}:{found.job}"
    return Artifact(found.name, number, found.created, found.size, owner, finalized=found.finished, digest=found.digest)
