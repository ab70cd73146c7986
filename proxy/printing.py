"""Text from outside, made harmless: it can forge no log line, and command no terminal and no runner of a CI.

The log is written by the same rules, one line for each record.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Literal

LIMIT = 200  # characters; enough for a reference and a sentence
_STAND_IN = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Give at most 200 characters of a text, on one line, as they may be shown to a person."""
    shown = inert(text[: LIMIT + 1])
    return shown if len(shown) <= LIMIT else shown[: LIMIT - 1] + "…"


def inert(text: str) -> str:
    """Give a text of any length without line breaks, control characters, bidi overrides, `##[` and a leading `::`.

    The last two are commands of the GitHub Actions runner.
    """
    visible = "".join(each if each.isprintable() else _STAND_IN for each in text)
    broken = visible.replace("##[", "# #[")
    start = broken.lstrip()
    return ": :" + start[2:] if start.startswith("::") else broken


def code(text: str) -> str:
    """Give at most 200 characters of a text as a code span of Markdown, such that nothing in it is Markdown or HTML.

    It may stand in a cell of a table: those are cut at every `|`, in code too, and readers do not agree on how to write
    one, so none is written.
    """
    shown = printable(text).replace("|", "\N{BROKEN BAR}") or " "
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    space = " " if shown.strip() and {shown[0], shown[-1]} & {"`", " "} else ""  # readers take one away at both ends
    return f"{fence}{space}{shown}{space}{fence}"


def configure(form: Literal["text", "json"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Send the log of the whole process to standard error, in this form and from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


class TextLines(logging.Formatter):
    """`time level message`, with a traceback on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line without its end."""
        parts = [record.getMessage(), *_traceback(record)]
        return f"{_time(record)} {record.levelname:<7} {' | '.join(map(inert, parts))}"


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, logger, message, and the fields of an event (`extra`).

    Of an error it has the lines of its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one line without its end."""
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": inert(record.getMessage()),
        }
        told: dict[str, object] = getattr(record, "fields", {})
        fields |= {key: inert(value) if isinstance(value, str) else _rounded(value) for key, value in told.items()}
        if lines := [inert(line) for line in _traceback(record)]:
            fields["traceback"] = lines
        return json.dumps(fields)


def _rounded(value: object) -> object:
    """Milliseconds are enough of a time."""
    return round(value, 3) if isinstance(value, float) else value


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return logging.Formatter().formatException(record.exc_info).splitlines()
