"""Log the events: a line for each push, seal and pull, with digest, size, time and rate."""

import logging
from dataclasses import asdict
from functools import singledispatch

from proxy.events import (
    Accepted,
    BlobDeleted,
    Called,
    Deleted,
    Event,
    NotStored,
    Pulled,
    ReadExternal,
    Received,
    RunChanged,
    Stored,
    Storing,
    Unchanged,
)
from proxy.text import counted, format_duration, format_rate, format_size, safe_text, shorten_digests

_log = logging.getLogger(__name__)
_INSTANT = 0.01  # seconds; the rate of what took less means nothing
_LEVELS: dict[type[Event], int] = {NotStored: logging.ERROR, Called: logging.DEBUG}  # INFO for all others


def log_event(event: Event) -> None:
    """Log the line of an event, if it has one; a log in JSON also gets the fields of the event, with whole digests."""
    if words := _words(event):
        fields = {"event": type(event).__name__.lower(), **asdict(event)}
        moved, seconds = _moved(event), getattr(event, "seconds", 0.0)
        if moved is not None and seconds:
            fields["bytes_per_second"] = round(moved / seconds)
        _log.log(_LEVELS.get(type(event), logging.INFO), "%s", shorten_digests(words), extra={"fields": fields})


@singledispatch
def _words(_: Event) -> str:
    """Return an event in words; empty for a request, which is logged where it is answered or retried."""
    return ""


@_words.register
def _(event: Received) -> str:
    return f"received a tarball: {format_size(event.size)}{_pace(event)}"


@_words.register
def _(event: Accepted) -> str:
    came = "" if event.received >= event.size else f", {format_size(event.received)} of it sent now,"
    return f"accepted {event.reference}: {format_size(event.size)}{came}{_pace(event)}{_digest(event)}"


@_words.register
def _(event: Storing) -> str:
    share = f"{format_size(event.done)} of {format_size(event.size)} ({100 * event.done // event.size} %)"
    return f"storing {event.reference}: {share}{_pace(event)}"


@_words.register
def _(event: Stored) -> str:
    kept = f", {format_size(event.reused)} of it re-used," if event.reused else ""
    lacking = f", without {counted(event.missing, 'manifest')} that its index names" if event.missing else ""
    what = f"stored {event.reference}: {format_size(event.size)}{kept}{_pace(event)} as {event.artifact}"
    return f"{what}{lacking}{_digest(event)}"


@_words.register
def _(event: Unchanged) -> str:
    return f"{event.reference} is stored already{_digest(event)}"


@_words.register
def _(event: NotStored) -> str:
    return f"{event.reference} was not stored: {safe_text(event.problem)}"


@_words.register
def _(event: Pulled) -> str:
    blobs = counted(event.blobs, "blob")
    origin = f" from {event.origin}" if event.origin else ""
    return f"pulled {event.reference}{origin}: {format_size(event.size)} with {blobs}{_pace(event)}{_digest(event)}"


@_words.register
def _(event: Called) -> str:
    return f"{event.service} {event.method}: {event.outcome} in {format_duration(event.seconds)}"


@_words.register
def _(event: Deleted) -> str:
    return f"deleted {', '.join(event.references)} (DELETE {event.asked})"


@_words.register
def _(event: BlobDeleted) -> str:
    return f"deleted blob {event.reference}"


@_words.register
def _(event: ReadExternal) -> str:
    size, took = format_size(event.size), format_duration(event.seconds)
    return f"read the artifact {safe_text(event.artifact)} as {event.name}: {size} in {took}"


@_words.register
def _(event: RunChanged) -> str:
    return f"this relay works for {safe_text(event.now)} from now on, and no more for {safe_text(event.before)}"


def _moved(event: Event) -> int | None:
    """Return the bytes whose rate is logged; None if there are none."""
    match event:
        case Accepted():
            return event.received
        case Storing():
            return event.done
        case Received() | Stored() | Pulled():
            return event.size
        case _:
            return None


def _pace(event: Received | Accepted | Storing | Stored | Pulled) -> str:
    """Return how long it took, with the rate if that means anything."""
    took = f" in {format_duration(event.seconds)}"
    return took if event.seconds < _INSTANT else f"{took} ({format_rate(_moved(event) or 0, event.seconds)})"


def _digest(event: Accepted | Stored | Unchanged | Pulled) -> str:
    """Return the digest, unless the reference ends with it."""
    return "" if event.reference.endswith(event.digest) else f", {event.digest}"
