"""The log of what is in the ledger: a line for each push, seal and pull, with digest, size, time and rate."""

import logging
from dataclasses import asdict

from proxy.figures import duration, rate, size
from proxy.ledger import Accepted, Called, Event, NotStored, Pulled, Stored, Storing, Unchanged
from proxy.printing import printable

_log = logging.getLogger(__name__)


def tell(event: Event) -> None:
    """Write the line of an event, if it has one. A log in JSON has its fields beside the words."""
    match event:
        case Accepted():
            came = "" if event.received >= event.size else f", {size(event.received)} of it sent now,"
            what = f"accepted {event.reference}: {size(event.size)}{came}"
            _say(event, f"{what}{_pace(event.received, event.seconds)}", event.received)
        case Storing():
            share = f"{size(event.done)} of {size(event.size)} ({100 * event.done // event.size} %)"
            _say(event, f"storing {event.reference}: {share}{_pace(event.done, event.seconds)}", event.done)
        case Stored():
            kept = f", {size(event.reused)} of it re-used," if event.reused else ""
            what = f"stored {event.reference}: {size(event.size)}{kept}{_pace(event.size, event.seconds)}"
            _say(event, f"{what} as {event.artifact}", event.size)
        case Pulled():
            blobs = f"{event.blobs} blob{'' if event.blobs == 1 else 's'}"
            what = f"pulled {event.reference}: {size(event.size)} with {blobs}"
            _say(event, f"{what}{_pace(event.size, event.seconds)}", event.size)
        case Unchanged():
            _write(event, logging.INFO, f"{event.reference} is stored already{_digest(event)}")
        case NotStored():
            _write(event, logging.ERROR, f"{event.reference} was not stored: {printable(event.problem)}")
        case Called():
            what = f"{event.service} {event.method}: {event.outcome} in {duration(event.seconds)}"
            _write(event, logging.DEBUG, what)
        case _:
            return  # requests are told of where they are answered, and tried again


def _say(event: Accepted | Storing | Stored | Pulled, what: str, moved: int) -> None:
    more = {"bytes_per_second": round(moved / event.seconds)} if event.seconds else {}
    _write(event, logging.INFO, f"{what}{_digest(event)}", **more)


def _pace(moved: int, seconds: float) -> str:
    return f" in {duration(seconds)} ({rate(moved, seconds)})"


def _digest(event: Accepted | Storing | Stored | Unchanged | Pulled) -> str:
    """Give the digest, where the reference does not say it already."""
    digest = "" if isinstance(event, Storing) else event.digest
    return "" if not digest or event.reference.endswith(digest) else f", {digest}"


def _write(event: Event, level: int, text: str, **more: object) -> None:
    fields = {"event": type(event).__name__.lower(), **asdict(event), **more}
    _log.log(level, "%s", text, extra={"fields": fields})
