"""The contract of an artifact store; `tests/contract` holds every store to it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Protocol, runtime_checkable

from yarl import URL

from proxy.archive.index import ArchiveInvalid, Index
from proxy.archive.pieces import Piece
from proxy.errors import Denied, ManifestUnknown
from proxy.oci.digest import Digest
from proxy.runtime.files import Source
from proxy.runtime.limits import Rereading

ADVICE = "try again in a minute, or push it again"
_SHOWN = 70  # characters of the name of an artifact in a message, so that the reason has room behind it


class ArtifactGone(ManifestUnknown):
    """The artifact was listed before, and is there no more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} was deleted, or has expired, while it was read; pull again, or push the image again")


class StoreRefused(Denied):
    """The store cannot keep, give or remove an artifact; the message is for the person who pushed: what to do."""


class StoreExpired(StoreRefused):
    """What gave access to the store has expired: nothing can be asked of it any more."""


class Contested(StoreRefused):
    """Another job of this attempt has the tag; what this one stored there is withdrawn.

    Whoever begins again waits for `pause` seconds first, so that two who collide part.
    """

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__("another job of this run has the tag; use another tag, or RELAY_OVERWRITE=run")
        self.pause = pause


class Ownership(Enum):
    """Who may store something else under the name of an artifact."""

    NOBODY = "nobody"  # a digest: who else stores it stores the same
    JOB = "job"  # a tag of the job that stores it first
    ANY = "any"  # a tag that every job may move; the last one that is stored answers


@dataclass(frozen=True, slots=True)
class Claim:
    """What was decided about a name; `known` are the ids of what was there then. Anything else came meanwhile."""

    whose: Ownership = Ownership.NOBODY
    known: frozenset[str] = frozenset()


NOBODYS = Claim()


@dataclass(frozen=True, slots=True)
class Artifact:
    """One entry of an artifact store. An id names these bytes and no others, for ever.

    The size is in bytes, of what the store keeps: an archive may be wrapped in more. `owner` is who stored it, where
    the store tells: nobody else may put something different under the same reference. The clock is the store's, and
    estimated for what was stored a moment ago. Without `finalized` it may be unfinished: this store lists all.
    It goes by itself when it `expires`, if that is known; `digest` is the sha256 of what is kept, where that is told.
    What is `foreign` is no archive of a relay, by its form, whatever it is called.
    """

    name: str
    id: str
    created: datetime = field(compare=False)
    size: int
    owner: str = field(default="", repr=False)
    finalized: bool = field(default=True, compare=False)
    expires: datetime | None = field(default=None, compare=False)
    digest: str = field(default="", compare=False)
    foreign: bool = False


@runtime_checkable
class CopySource(Protocol):
    """An artifact in storage that can copy from it by a signed URL."""

    async def signed(self, refused: URL | None = None) -> URL:
        """Return a URL to read the artifact with, another one than the one that was refused; raise ArtifactGone."""

    async def is_listed(self) -> bool:
        """Return whether a new listing has the artifact."""

    def position(self, offset: int) -> int:
        """Return where in the artifact a byte of the archive is."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Stored bytes that other artifacts of the run have as well, so that the storage may copy them.

    `length` in bytes, their CRC-64/NVME, and in which archives they are, from which offset on. `local`: `parts` yields
    the bytes, as often as it is called, without asking the storage.
    """

    length: int
    crc64: int
    sources: tuple[tuple[CopySource, int], ...]
    local: bool
    parts: Callable[[], AsyncGenerator[bytes]]


class CorruptDownload(ArchiveInvalid):
    """What came of an artifact are not the bytes that were stored, by their digest; reading again may help."""

    def __init__(self) -> None:
        super().__init__("what came is not what was stored")


def refuse(reason: str) -> None:
    """Raise StoreRefused if there is a reason to."""
    if reason:
        raise StoreRefused(reason)


class UnreadableArtifact(StoreRefused):
    """An artifact is listed, and nothing can be made of what was read of it; `problem` says why, and what to do.

    `proven`: what was read are the very bytes that were stored, so that reading again gives nothing else.
    """

    def __init__(
        self, artifact: Artifact, problem: str, *, proven: bool = False, verb: str = " cannot be read"
    ) -> None:
        name = artifact.name
        shown = name if len(name) <= _SHOWN else f"{name[: _SHOWN - 10]}…{name[-9:]}"
        super().__init__(f"{shown}{verb}: {problem}")
        self.artifact = artifact
        self.problem = problem
        self.proven = proven
        self._verb = verb

    def afresh(self) -> "UnreadableArtifact":
        """Return the same failure, to be raised or kept: one that was raised holds on to all that it went through."""
        return type(self)(self.artifact, self.problem, proven=self.proven, verb=self._verb)

    def as_doubt(self) -> "MayBeInside":
        """Return this as a reason why nobody knows whether something is there."""
        return MayBeInside(self.artifact, self.problem, proven=self.proven, verb=self._verb)


class MayBeInside(UnreadableArtifact):
    """What was asked for is in no artifact that can be read; it may be in this one."""


@contextmanager
def told_of(artifact: Artifact) -> Iterator[None]:
    """Name the artifact in what is raised within the block where it cannot be read (UnreadableArtifact)."""
    try:
        yield
    except (StoreExpired, UnreadableArtifact):
        raise
    except StoreRefused as error:
        raise UnreadableArtifact(artifact, str(error), verb="") from error  # which says so itself
    except CorruptDownload as error:
        raise UnreadableArtifact(artifact, f"{error}; {ADVICE}") from error
    except OSError as error:
        raise UnreadableArtifact(
            artifact, f"{error.strerror or 'no answer within the time limit'}; {ADVICE}"
        ) from error


class Body(Protocol):
    """A file to be: its size in bytes is known before its first byte is asked for."""

    @property
    def size(self) -> int:
        """The length of all parts together."""

    @property
    def crc(self) -> int:
        """The CRC-32 of all parts together."""

    def parts(self) -> AsyncIterator[bytes]:
        """Return the bytes in order, in parts of any size; may be called again, for the same bytes."""

    def stretches(self) -> AsyncIterator[bytes | Stretch]:
        """Yield what `parts` yields, but large parts that the run has already as a Stretch."""


class Ahead(Protocol):
    """An upload that begins before all of an image is there. A thread tells it of files that grow; close it after."""

    def grown(self, path: Path, piece: Piece) -> None:
        """Take note that a file has one more piece."""

    def whole(self, path: Path, digest: Digest) -> None:
        """Take note of the digest of a file that is complete."""

    async def close(self) -> None:
        """Give up what is under way, unless `put` has taken it."""


@runtime_checkable
class Indexed(Protocol):
    """A body that says where in it which blobs are; none of its parts is of two pieces."""

    @property
    def index(self) -> Index:
        """What it contains."""


@runtime_checkable
class SendsAhead(Protocol):
    """A store that can begin to upload before all of an image is there."""

    def begin(self, name: str, look: Callable[[], Awaitable[frozenset[Piece]]]) -> Ahead | None:
        """Begin an upload that `put` under this name goes on with, if it is of use then; None if it cannot be.

        `look` returns the first pieces of what the store has already, or raises why nothing can be stored.
        """


class ArtifactStore(Protocol):
    """Whole files under names. Whatever is listed can be read to its end."""

    overwrites: bool
    """Does a new artifact take the place of one of the same name? Otherwise both stay."""

    is_remote: bool
    """Whether it takes requests to other machines to list and to read it."""

    @property
    def rereading(self) -> Rereading:
        """How often, and when, an artifact is read again whose bytes are not what they have to be."""

    @property
    def closed(self) -> str:
        """Why nothing can be stored now; empty where it can."""

    @property
    def undeletable(self) -> str:
        """Why nothing can be deleted now; empty where it can."""

    def may_replace(self, artifact: Artifact) -> bool:
        """Return whether this relay may put something else under the reference of an artifact that somebody stored."""

    def now(self) -> datetime:
        """Return the time by the clock of the store, as far as that is known."""

    async def listed(self) -> list[Artifact]:
        """Return all finished artifacts, in no particular order; StoreRefused where that cannot be told."""

    def expire(self) -> None:
        """Forget what was listed, if that is kept: what comes next is to be the newest."""

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store a file, whole or not at all; durable when it returns. StoreRefused if it cannot be.

        Raise Contested where the name is another job's, as far as the store knows of jobs.
        """

    async def open(self, artifact: Artifact) -> Source:
        """Return access to the bytes; ArtifactGone if they are not there, StoreRefused if they cannot be read.

        They stay readable as long as the source is held; in a store elsewhere, until somebody deletes the artifact.
        """

    async def delete(self, artifact: Artifact) -> bool:
        """Remove an artifact, and return whether this did; one that is gone already is no error.

        StoreRefused if it stays.
        """
