"""Which artifacts there are, where their bytes are, and their deletion: what the Actions store asks of a run."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from yarl import URL

from proxy.artifacts.actions.results import Listed, NoSuchArtifact, ResultsService
from proxy.artifacts.base import Artifact, ArtifactGone, StoreRefused

_TWINS = 8  # artifacts of one name, made by a finish that was repeated; a deletion takes any of them


class ArtifactReader(Protocol):
    """Access to finished artifacts: through the results service, or the REST API."""

    @property
    def by_name(self) -> bool:
        """Whether a deletion is one of a name, not of an id."""

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted; empty where it can."""

    async def listed(self) -> list[Artifact]:
        """Return all finished artifacts."""

    def expire(self) -> None:
        """Have the next `list` ask anew."""

    async def sign(self, artifact: Artifact) -> URL:
        """Return a URL that is good for some minutes; NoSuchArtifact."""

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, and return whether it was there. Raise StoreRefused."""


class NoReader:
    """Reads nothing, while there is no run to read."""

    by_name = False
    undeletable = "there is no session"

    async def listed(self) -> list[Artifact]:
        """List nothing."""
        return []

    def expire(self) -> None:
        """Do nothing."""

    async def sign(self, artifact: Artifact) -> URL:
        """Raise ArtifactGone."""
        raise ArtifactGone(artifact.name)

    async def delete(self, _: Artifact) -> bool:
        """Delete nothing."""
        return False


class RunReader:
    """Reads the artifacts of a run through the results service."""

    by_name = True
    undeletable = ""

    def __init__(self, service: ResultsService) -> None:
        self._service = service

    async def listed(self) -> list[Artifact]:
        """Return all finished artifacts, of earlier attempts too where the service shows them."""
        return [artifact_of(each) for each in await self._service.listed()]

    def expire(self) -> None:
        """Do nothing: each listing is new."""

    async def sign(self, artifact: Artifact) -> URL:
        """Return a URL that is good for some minutes; the service wants the ids of the job that stored the artifact."""
        run, _, job = artifact.owner.partition(":")
        if not run:
            raise NoSuchArtifact(artifact.name)
        return await self._service.sign(run, job, artifact.name)

    async def delete(self, artifact: Artifact) -> bool:
        """Delete an artifact, by the ids of the job that stored it, and its name."""
        run, _, job = artifact.owner.partition(":")
        return await self._service.delete(run, job, artifact.name)


async def delete_by_name(
    reader: ArtifactReader,
    artifact: Artifact,
    listed: Callable[[], Awaitable[list[Artifact]]],
    unlisted: dict[str, Artifact],
) -> bool:
    """Delete an artifact by its name, until it is not `listed`; return whether that did anything.

    A listing that lags may lack it. One that has its name with another id tells that it is gone, and its name another
    one's by now. `unlisted` has by id what no listing has shown yet. Raise StoreRefused if it stays.
    """
    done = False
    for _ in range(_TWINS):
        try:
            found = await listed()
        except StoreRefused:
            if done:  # it need not be seen
                return True
            raise
        is_listed = artifact.id in {each.id for each in found}
        if not is_listed and (done or _is_gone(artifact, found)):
            return done
        if await reader.delete(artifact):
            unlisted.pop(artifact.id, None)
            done = True
        elif not is_listed and artifact.id not in unlisted:
            return done
    if not done:
        raise StoreRefused(f"the artifact service does not know {artifact.name} yet; delete it again in a minute")
    return True


def _is_gone(artifact: Artifact, found: Sequence[Artifact]) -> bool:
    """Return whether an artifact that is not found has gone; if not, the listing may lack it."""
    return not (artifact.owner and artifact.finalized) or artifact.name in {each.name for each in found}


def artifact_of(found: Listed) -> Artifact:
    """Describe an artifact as listed. Servers that list unfinished ones give an id again (act)."""
    number = found.id if found.finished else f"{found.id}.{found.created.timestamp():.0f}"
    owner = f"{found.run}:{found.job}"
    return Artifact(found.name, number, found.created, found.size, owner, finalized=found.finished, digest=found.digest)
