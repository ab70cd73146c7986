"""The lines of the log, and their fields where it is JSON."""

import json
import logging

import pytest

from proxy.events import (
    Accepted,
    Answered,
    Called,
    Event,
    Fetched,
    NotStored,
    Pulled,
    Received,
    Retried,
    Stored,
    Storing,
    Unchanged,
)
from proxy.reporting.event_log import log_event
from proxy.reporting.log_format import JsonLines, TextLines

MIB = 2**20
DIGEST = "sha256:" + "ab" * 32
SHORT = "sha256:" + "ab" * 6
HOSTILE = "a\n::error::b\x1b[2J##[group]"


def told(caplog: pytest.LogCaptureFixture, event: Event) -> list[logging.LogRecord]:
    caplog.clear()
    caplog.set_level(logging.DEBUG, "proxy.reporting.event_log")
    log_event(event)
    return caplog.records


@pytest.mark.parametrize(
    ("event", "level", "line"),
    [
        (Received(10 * MIB, 2.0), "INFO", "received a tarball: 10.0 MiB in 2.00 s (5.0 MiB/s)"),
        (
            Accepted("app:v1", DIGEST, 10 * MIB, 10 * MIB, 2.0),
            "INFO",
            f"accepted app:v1: 10.0 MiB in 2.00 s (5.0 MiB/s), {SHORT}",
        ),
        (
            Accepted("app:v1", DIGEST, 10 * MIB, MIB, 0.5),
            "INFO",
            f"accepted app:v1: 10.0 MiB, 1.0 MiB of it sent now, in 0.50 s (2.0 MiB/s), {SHORT}",
        ),
        (
            Accepted(f"app@{DIGEST}", DIGEST, 1000, 1000, 1.0),
            "INFO",
            f"accepted app@{SHORT}: 1000 B in 1.00 s (1000 B/s)",
        ),
        (
            Storing("app:v1", 512 * MIB, 4096 * MIB, 5.0),
            "INFO",
            "storing app:v1: 512.0 MiB of 4.0 GiB (12 %) in 5.00 s (102.4 MiB/s)",
        ),
        (
            Stored("app:v1", DIGEST, "image-app@v1~2", 8 * MIB, 8 * MIB, 0, 2.0),
            "INFO",
            f"stored app:v1: 8.0 MiB in 2.00 s (4.0 MiB/s) as image-app@v1~2, {SHORT}",
        ),
        (
            Stored("app:v1", DIGEST, "image-app@v1", 8 * MIB, 6 * MIB, 2 * MIB, 2.0),
            "INFO",
            f"stored app:v1: 8.0 MiB, 2.0 MiB of it re-used, in 2.00 s (4.0 MiB/s) as image-app@v1, {SHORT}",
        ),
        (Unchanged("app:v1", DIGEST), "INFO", f"app:v1 is stored already, {SHORT}"),
        (NotStored("app:v1", "the disk is full"), "ERROR", "app:v1 was not stored: the disk is full"),
        (
            Pulled("app:v1", DIGEST, 3 * MIB, 1, 1.5),
            "INFO",
            f"pulled app:v1: 3.0 MiB with 1 blob in 1.50 s (2.0 MiB/s), {SHORT}",
        ),
        (
            Pulled("app:v1", DIGEST, 700, 0, 0.0),
            "INFO",
            f"pulled app:v1: 700 B with 0 blobs in 0.00 s, {SHORT}",
        ),
        (Called("storage", "PutBlock", "5xx", 0.25, 5, 6), "DEBUG", "storage PutBlock: 5xx in 0.25 s"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else None,
)
def test_an_event_is_one_line(event: Event, level: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    (record,) = told(caplog, event)

    assert (record.levelname, record.getMessage()) == (level, line)
    assert TextLines().format(record).endswith(f" {line}")


@pytest.mark.parametrize("event", [Answered("GET", "/v2/", "/v2/", 200), Retried("storage"), Fetched("hit")])
def test_what_is_told_elsewhere_has_no_line(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, event) == []


def test_a_log_in_json_has_the_fields_beside_the_words(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = told(caplog, Stored("app:v1", DIGEST, "image-app@v1", 8 * MIB, 6 * MIB, 2 * MIB, 2.00049))

    written = json.loads(JsonLines().format(record))

    assert written["message"].startswith("stored app:v1: 8.0 MiB")
    assert {key: value for key, value in written.items() if key not in {"time", "message"}} == {
        "level": "info",
        "logger": "proxy.reporting.event_log",
        "event": "stored",
        "reference": "app:v1",
        "digest": DIGEST,
        "artifact": "image-app@v1",
        "missing": 0,
        "size": 8 * MIB,
        "new": 6 * MIB,
        "reused": 2 * MIB,
        "seconds": 2.0,
        "bytes_per_second": 4193277,
    }


def test_text_from_outside_is_harmless_in_both_forms(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = told(caplog, NotStored("app:v1", HOSTILE))

    for line in (TextLines().format(record), JsonLines().format(record)):
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "##[" not in line
    assert json.loads(JsonLines().format(record))["problem"] == "a\ufffd::error::b\ufffd[2J# #[group]"
