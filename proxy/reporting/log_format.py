"""Format the log: one line for each record, as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from proxy.text import format_time, sanitize


def configure(form: Literal["text", "json"], level: Literal["debug", "info", "warning", "error"]) -> None:
    """Write the log of the whole process to standard error, in this form and from this level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


class TextLines(logging.Formatter):
    """`time level message`, with a traceback on the same line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        parts = [record.getMessage(), *_traceback(record)]
        return f"{_time(record)} {record.levelname:<7} {' | '.join(map(sanitize, parts))}"


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, logger, message, and the fields of an event (`extra`).

    An exception also has the lines of its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without its end."""
        fields: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": sanitize(record.getMessage()),
        }
        told: dict[str, object] = getattr(record, "fields", {})
        for key, value in told.items():
            if isinstance(value, float):
                fields[key] = round(value, 3)  # a time in milliseconds is exact enough
            else:
                fields[key] = sanitize(value) if isinstance(value, str) else value
        if lines := [sanitize(line) for line in _traceback(record)]:
            fields["traceback"] = lines
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    return format_time(datetime.fromtimestamp(record.created, UTC), "milliseconds")


def _traceback(record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    return logging.Formatter().formatException(record.exc_info).splitlines()
