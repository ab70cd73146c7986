"""What happens, as plain data.

Whoever does something emits it on the event bus, once. The log, the metrics and the summary read along, so that all
three tell the same; none of them is known to who does the work. References and digests are as they are written for
people, sizes are bytes, times are seconds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Received:
    """A tarball has come, and is unpacked."""

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """A manifest was taken in: all that it names is there. `received` bytes came for it, in so many seconds."""

    reference: str
    digest: str
    size: int
    received: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SentGzip:
    """For an image without zstd layers, a client whose layers a build compressed has sent so many bytes of gzip."""

    reference: str
    size: int


@dataclass(frozen=True, slots=True)
class Storing:
    """An archive is on its way to the store for some time already."""

    reference: str
    done: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stored:
    """An archive is an artifact now. Of its `size`, `reused` bytes were in other archives before, `new` ones not.

    It lacks `missing` manifests that its index names.
    """

    reference: str
    digest: str
    artifact: str
    size: int
    new: int
    reused: int
    seconds: float
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What was pushed is what the reference answers with already."""

    reference: str
    digest: str


@dataclass(frozen=True, slots=True)
class NotStored:
    """An archive could not be stored; what was pushed is kept, and tried again."""

    reference: str
    problem: str


@dataclass(frozen=True, slots=True)
class Pulled:
    """A client has taken what it wanted of an image: so many bytes, of so many blobs; `origin` if not from here."""

    reference: str
    digest: str
    size: int
    blobs: int
    seconds: float
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """A request is over. Status 0: it got no answer, or half of one; without a message its client wanted no more.

    `route` is the template of its path, `path` what was asked; `message` is what a failure said.
    """

    method: str
    route: str
    path: str
    status: int
    message: str = ""
    received: int = 0
    sent: int = 0
    credentials: bool = False  # did it come with a password, right or wrong?
    tells_itself: bool = False  # did it come from the action, which shows its failures in the step that has them?


@dataclass(frozen=True, slots=True)
class Called:
    """A request to the artifact service, to blob storage, to GitHub's API or to an upstream is over."""

    service: str
    method: str
    outcome: str
    seconds: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Retried:
    """What failed is tried again."""

    service: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A blob that is elsewhere was wanted, and was here already (`hit`), under way, or had to be downloaded."""

    result: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """References are gone, because deletion of one of them, or of a digest that all of them had, was `asked`."""

    references: tuple[str, ...]
    asked: str


@dataclass(frozen=True, slots=True)
class BlobDeleted:
    """A blob that no manifest needs is gone from a repository."""

    reference: str


@dataclass(frozen=True, slots=True)
class ReadExternal:
    """An artifact that no relay stored was read into the spool, as an image of a repository."""

    artifact: str
    name: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunChanged:
    """From now on the relay works for another run."""

    before: str
    now: str


Event = (
    Received
    | Accepted
    | SentGzip
    | Storing
    | Stored
    | Unchanged
    | NotStored
    | Pulled
    | Answered
    | Called
    | Retried
    | Fetched
    | Deleted
    | BlobDeleted
    | ReadExternal
    | RunChanged
)


class Call:
    """A request to another machine while it runs; who makes it fills in what it learns."""

    def __init__(self) -> None:
        self.status = 0  # of HTTP; none yet
        self.sent = 0
        self.received = 0

    @property
    def outcome(self) -> str:
        """Return in one of a few words how it went, if nothing more happens."""
        if not self.status:
            return "no answer"
        return "ok" if self.status < 400 else f"{self.status // 100}xx"  # noqa: PLR2004 - HTTP


class EventBus:
    """Hands on what happened to everybody who reads along; they must not fail."""

    def __init__(self, *readers: Callable[[Event], None]) -> None:
        self._readers = readers

    def emit(self, event: Event) -> None:
        """Tell that something has happened."""
        for read in self._readers:
            read(event)

    @contextmanager
    def call(self, service: str, method: str) -> Iterator[Call]:
        """Note how a request within the block ends."""
        began, call, outcome = time.monotonic(), Call(), ""
        try:
            yield call
        except GeneratorExit:
            raise  # a reader that had enough
        except BaseException:
            outcome = "broken" if call.outcome == "ok" else ""
            raise
        finally:
            took = time.monotonic() - began
            self.emit(Called(service, method, outcome or call.outcome, took, call.sent, call.received))
