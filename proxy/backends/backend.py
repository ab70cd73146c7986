"""The back end of a relay: what depends on where images are kept. Nobody else asks which store there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from config.settings import Settings
from proxy.artifacts.actions.rest_runs import Head
from proxy.artifacts.actions.session import State
from proxy.artifacts.by_hand import FileByHand
from proxy.catalog.catalog import Catalog
from proxy.catalog.other_run import OtherRun
from proxy.spool.run import Run
from proxy.text import format_time

READ_ONLY = "this relay only serves images: RELAY_ACCESS=read is set; leave it out in a job that pushes or deletes"


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """Can the store be used, and by which session, or of which run is it? None of it is a secret."""

    ready: bool = True
    session: State | None = None  # None where there is no such thing
    expires: datetime | None = None  # the session
    run: str = ""  # that is read without a session
    head: Head | None = None
    is_another_run: bool = False
    others: tuple[str, ...] = ()  # runs that are read besides

    def fields(self) -> dict[str, object]:
        """Return what `/relay/health` says of it."""
        told: dict[str, object] = {"ready": self.ready}
        if self.session:
            told["session"] = self.session.value
        if self.expires:
            told["session_expires"] = format_time(self.expires)
        if self.run:
            told["run"] = self.run
        if self.head:
            told |= {"head": self.head.repository, "commit": self.head.commit, "event": self.head.event}
        if self.others:
            told["from"] = list(self.others)
        return told


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that was accepted: of which run it is, and what has to be called to use it from now on."""

    run: Run
    use: Callable[[], None]


class Backend(Protocol):
    """What of a relay depends on where its images are kept."""

    kind: str
    """The store, as RELAY_STORE names it."""

    place: str
    """Where images are, in words of our own."""

    location: str
    """The same for the log; of a folder its path."""

    readers: str
    """Who can pull from here, as the label of a command."""

    has_artifact_ids: bool
    """Whether people know the artifacts by the ids of the store."""

    catalog: Catalog

    @property
    def others(self) -> Sequence[OtherRun]:
        """Other runs that are read where the catalog has nothing, in this order."""

    @property
    def public_host(self) -> str:
        """Under which host clients reach this relay (`host`, or `host:port`)."""

    @property
    def public_hosts(self) -> set[str]:
        """All such hosts."""

    def status(self) -> BackendStatus:
        """Return whether the store can be used now."""

    def closed(self) -> str:
        """Return why nothing can be pushed now; empty where it can."""

    def undeletable(self) -> str:
        """Return why nothing can be deleted now; empty where it can."""

    def missing_message(self, wanted: str, there: str) -> str:
        """Return a sentence: a reference is not there, but what is; `there` is empty where nothing is."""

    def by_hand(self, artifact: str) -> FileByHand | None:
        """Return how a person gets at the file of an artifact without a relay; None if nobody can say."""

    @property
    def run(self) -> Run | None:
        """The run whose images these are; None as long as nothing says which one that is."""

    async def accept(self, content: bytes) -> NewSession | None:
        """Return the session of a request, checked; None to keep the one in use.

        Raise SessionRefused, SessionTaken, Denied.
        """

    async def watch(self) -> None:
        """Log, until it is cancelled, what happens to the access to the store."""


def unpack_folder(settings: Settings) -> Path:
    """Return the folder for what others have zipped, unpacked."""
    return settings.data / "spool" / "uploads"
