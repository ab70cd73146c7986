import json
import logging
import sys
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.reporting.log_format import JsonLines, TextLines, configure
from proxy.text import counted, safe_text, sanitize

HOSTILE = "a\nb\r\x1b[31m\x85\u2028\u202e##[error]x"


@given(st.text(st.characters(), max_size=400))
@example(HOSTILE)
@example("##[[##[" * 100)
@example("\t ::error::x")
@example("::::")
@example("#" * 199 + "#[x")
def test_no_text_can_command_a_terminal_or_a_runner(text: str) -> None:
    shown = safe_text(text)

    assert len(shown) <= 200
    assert len(shown.splitlines()) <= 1
    assert all(unicodedata.category(each) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for each in shown)
    assert "##[" not in shown
    assert not shown.lstrip().startswith("::")


@given(st.text(st.characters(categories=["L", "N", "P"], exclude_characters="#:"), max_size=200))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert safe_text(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("app:v1", "app:v1"),
        ("a b", "a b"),
        ("líne ✓ 漢字", "líne ✓ 漢字"),
        ("a\nb", "a�b"),
        ("\x1b[2J", "�[2J"),
        ("x##[group]", "x# #[group]"),
        ("::error::no", ": :error::no"),
        ("  ::error::no", ": :error::no"),
        ("a::b", "a::b"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
    ],
)
def test_text_from_outside_is_shown_harmlessly(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_inert_text_keeps_its_length() -> None:
    assert sanitize("x" * 1000) == "x" * 1000


def fail() -> None:
    raise ValueError(HOSTILE)


def record(message: str, *arguments: object, failed: bool = False) -> logging.LogRecord:
    caught = None
    try:
        fail()
    except ValueError:
        caught = sys.exc_info() if failed else None
    made = logging.LogRecord("proxy.front", logging.WARNING, __file__, 1, message, arguments, caught)
    made.created = datetime(2026, 3, 4, 5, 6, 7, 89_000, UTC).timestamp()
    return made


def test_a_text_line_has_time_level_and_message() -> None:
    assert TextLines().format(record("pushed %s", "app:v1")) == "2026-03-04T05:06:07.089Z WARNING pushed app:v1"


def test_a_json_line_has_time_level_logger_and_message() -> None:
    assert json.loads(JsonLines().format(record("pushed %s", "app:v1"))) == {
        "time": "2026-03-04T05:06:07.089Z",
        "level": "warning",
        "logger": "proxy.front",
        "message": "pushed app:v1",
    }


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_a_record_is_one_harmless_line_whatever_it_holds(formatter: logging.Formatter) -> None:
    line = formatter.format(record("no %s", HOSTILE, failed=True))

    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "##[" not in line
    assert "Traceback" in line
    assert "ValueError" in line
    assert "test_text.py" in line


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger without the handlers of pytest, which come back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers, logger.level
    logger.handlers = []
    yield logger
    logger.handlers = handlers
    logger.setLevel(level)


def test_the_log_goes_to_standard_error_from_its_level_on(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("text", "warning")

    root.info("not shown")
    root.warning("shown")

    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith("Z WARNING shown\n")
    assert shown.err.count("\n") == 1


def test_the_log_can_be_had_as_json(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "debug")

    root.debug("one")
    root.error("two")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("debug", "one"), ("error", "two")]


def test_configuring_again_replaces_the_first_form(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    configure("text", "info")

    root.info("once")

    assert capsys.readouterr().err.count("once") == 1


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 images"),
        (1, "1 image"),
        (1.0, "1 image"),
        (0.5, "0.5 images"),
        (2, "2 images"),
        (4194304, "4194304 images"),
    ],
)
def test_what_is_counted_is_one_thing_or_several(count: float, text: str) -> None:
    assert counted(count, "image") == text
