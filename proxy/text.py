"""Text for people: untrusted text made safe to show, and numbers, sizes, rates and times with units.

Untrusted text could forge a log line, or contain commands for a terminal or a CI runner.
"""

import re
from datetime import UTC, datetime
from typing import Literal

LIMIT = 200  # characters; enough for a reference and a sentence
MESSAGE_LIMIT = 600  # characters of a message to a client: several references, and what to do
_STAND_IN = "\N{REPLACEMENT CHARACTER}"
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_KILO = 1024
_DIGEST = re.compile(r"((?:sha256|sha512):[0-9a-f]{12})[0-9a-f]{20,}")
_SPANS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))  # seconds


def safe_text(text: str, limit: int = LIMIT) -> str:
    """Return at most so many characters of a text, on one line and safe to show."""
    shown = sanitize(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def sanitize(text: str) -> str:
    """Return a text of any length without line breaks, control characters, bidi overrides, `##[` and a leading `::`.

    The last two begin commands to the GitHub Actions runner.
    """
    visible = text if text.isprintable() else "".join(each if each.isprintable() else _STAND_IN for each in text)
    broken = visible.replace("##[", "# #[")
    start = broken.lstrip()
    return ": :" + start[2:] if start.startswith("::") else broken


def code(text: str) -> str:
    """Return at most 200 characters of a text as a code span of Markdown, in which nothing is Markdown or HTML.

    It is safe in a table, which is cut at every `|`, even in code: renderers do not agree on how to escape one, so
    another character replaces it.
    """
    shown = safe_text(text).replace("|", "\N{BROKEN BAR}") or " "
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.strip() and {shown[0], shown[-1]} & {"`", " "} else ""  # renderers strip one at both ends
    return f"{fence}{space}{shown}{space}{fence}"


def shorten_digests(text: str) -> str:
    """Return a text with twelve digits of each digest, as docker shows them."""
    return _DIGEST.sub(r"\1", text)


def counted(count: float, noun: str) -> str:
    """Return a number with what it counts: `1 image`, `2 images`, `0.5 seconds`."""
    return f"{count:.15g} {noun}{'' if count == 1 else 's'}"


def format_size(count: float) -> str:
    """Return a number of bytes in the unit that suits it: `512 B`, `3.4 MiB`."""
    if round(count) < _KILO:
        return f"{count:.0f} B"
    count, exponent = count / _KILO, 0
    while round(count, 1) >= _KILO and exponent < len(_UNITS) - 1:
        count, exponent = count / _KILO, exponent + 1
    return f"{count:.1f} {_UNITS[exponent]}"


def format_rate(count: float, seconds: float) -> str:
    """Return the bytes per second of a transfer that took more than no time: `3.4 MiB/s`."""
    return f"{format_size(count / seconds)}/s"


def format_duration(seconds: float) -> str:
    """Return how long something took: `0.52 s`, `12.3 s`, `2 min 5 s`."""
    if round(seconds, 2) < 10:  # noqa: PLR2004 - from here on hundredths say nothing
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def format_time(moment: datetime, precision: Literal["seconds", "milliseconds"] = "seconds") -> str:
    """Return a moment in UTC as RFC 3339 writes it: `2026-03-01T12:00:00Z`."""
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def as_utc(moment: datetime) -> datetime:
    """Return a moment that has a time zone: UTC where it had none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def format_span(seconds: float) -> str:
    """Return a time in its largest unit alone, as short as can be: `3d`, `5m`."""
    length, unit = next((each for each in _SPANS if seconds >= each[0]), _SPANS[-1])
    return f"{int(seconds // length)}{unit}"
