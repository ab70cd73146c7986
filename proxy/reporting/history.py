"""Remember from the events what this relay has handled since its start: images, bytes, and what was refused.

All of it is bounded: only the latest images, and the latest different refusals, are kept.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TypeVar

from proxy.events import Answered, Called, Deleted, Event, Pulled, RunChanged, SentGzip, Stored, Unchanged

K = TypeVar("K")
V = TypeVar("V")

_REFUSALS = 20  # different ones that are kept; nobody would read more
_TRIED = frozenset({404, 405, 416})  # answers from which clients learn something: nothing is wrong
_REGISTRY = "/v2"
_TARBALLS = "/relay/images"
_MANIFEST = "/v2/{name}/manifests/{reference}"
_UPLOAD = "{upload}"


@dataclass(slots=True)
class ImageActivity:
    """An image that was pushed to this relay, or pulled from it; times in seconds, None for what did not happen."""

    reference: str
    digest: str
    new: int = 0
    reused: int = 0
    stored_in: float | None = None
    pulled_in: float | None = None
    pushed: bool = False
    pulls: int = 0
    origin: str = ""  # of what was pulled, if it is not from here

    def handle(self, event: Stored | Unchanged | Pulled) -> None:
        """Remember what an event says about this image."""
        match event:
            case Stored():
                self.pushed, self.stored_in = True, event.seconds
                self.new, self.reused = event.new, event.reused
            case Unchanged():
                self.pushed = True
            case Pulled():
                self.pulls += 1
                self.pulled_in, self.origin = event.seconds, event.origin


@dataclass(slots=True)
class Moved:
    """Bytes that went from one place to another."""

    received: int = 0  # from clients
    sent: int = 0  # to clients
    new: int = 0  # into artifacts, for the first time
    reused: int = 0  # into artifacts, out of others
    fetched: int = 0  # from remote artifacts


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request and its answer; status 0 if there was no answer."""

    method: str
    path: str
    status: int
    message: str


@dataclass(slots=True)
class History:
    """A handler of events that remembers what they say."""

    moved: Moved = field(default_factory=Moved)
    forgotten: int = 0
    deleted: int = 0  # images
    gzip: int = 0  # bytes of layers that a build has compressed, in the push that had most of them
    most_images: int = field(default=1000, kw_only=True)  # remembered; older ones are forgotten
    _images: OrderedDict[str, ImageActivity] = field(default_factory=OrderedDict)
    _refused: OrderedDict[Refusal, int] = field(default_factory=OrderedDict)
    _challenged: OrderedDict[Refusal, int] = field(default_factory=OrderedDict)
    _missing: OrderedDict[str, Refusal] = field(default_factory=OrderedDict)

    def images(self, under_way: Iterable[Pulled] = ()) -> list[ImageActivity]:
        """Return the images that were handled, the latest last, with the pulls that are not over yet."""
        copies = OrderedDict((key, replace(image)) for key, image in self._images.items())
        known = History(most_images=self.most_images, _images=copies)
        for pull in under_way:
            known.handle(pull)
        return list(known._images.values())

    @property
    def refused(self) -> list[tuple[Refusal, int]]:
        """Return the requests that were refused or got no answer, and how often, the latest last."""
        return [*self._refused.items(), *self._challenged.items()]

    @property
    def missing(self) -> list[Refusal]:
        """Return the tags that were requested, were missing, and still are."""
        return list(self._missing.values())

    def handle(self, event: Event) -> None:
        """Remember what an event says."""
        match event:
            case Stored() | Unchanged() | Pulled():
                self._note_image(event)
            case SentGzip():
                self.gzip = max(self.gzip, event.size)
            case Called(service="storage"):
                self.moved.fetched += event.received
            case Deleted():
                self.deleted += len(event.references)
            case Answered():
                self._answer(event)
            case RunChanged():
                self._clear()
            case _:
                pass

    def _note_image(self, event: Stored | Unchanged | Pulled) -> None:
        if isinstance(event, Stored):
            self.moved.new += event.new
            self.moved.reused += event.reused
        image = self._images.get(event.reference)
        if image is None or image.digest != event.digest:  # a tag that has moved is another image
            image = self._images[event.reference] = ImageActivity(event.reference, event.digest)
            self._images.move_to_end(event.reference)
        image.handle(event)
        if len(self._images) > self.most_images:
            self._images.popitem(last=False)
            self.forgotten += 1

    def _clear(self) -> None:
        """Forget all: it was about another run."""
        self.moved, self.forgotten, self.deleted, self.gzip = Moved(), 0, 0, 0
        self._images.clear()
        self._refused.clear()
        self._challenged.clear()
        self._missing.clear()

    def _answer(self, event: Answered) -> None:
        """Count the bytes, and remember what was refused, and which tags are missing: a push asks for its tag first."""
        is_list = event.route == _TARBALLS and event.method == "GET"
        if event.route.startswith((_REGISTRY, _TARBALLS)) and not is_list:
            self.moved.received += event.received
            self.moved.sent += event.sent
        folder, _, last = event.path.rpartition("/")
        path = f"{folder}/…" if event.route.endswith(_UPLOAD) else event.path  # each upload has another id
        status, refusal = event.status, Refusal(event.method, path, event.status, event.message)
        if event.route == _MANIFEST and ":" not in last:
            self._missing.pop(path, None)
            if status == HTTPStatus.NOT_FOUND:
                _keep(self._missing, path, refusal)
        if event.tells_itself:
            return
        if status == HTTPStatus.UNAUTHORIZED and not event.credentials:
            _keep(self._challenged, refusal, self._challenged.pop(refusal, 0) + 1)
        elif (not status and event.message) or (status >= HTTPStatus.BAD_REQUEST and status not in _TRIED):
            _keep(self._refused, refusal, self._refused.pop(refusal, 0) + 1)
        elif event.credentials and event.route.startswith(_REGISTRY):
            self._challenged.clear()  # a client asks first whether it has to log in, and then does


def _keep(table: OrderedDict[K, V], key: K, value: V) -> None:
    """Put a new entry last, and drop the first one if there are too many."""
    table[key] = value
    if len(table) > _REFUSALS:
        table.popitem(last=False)
