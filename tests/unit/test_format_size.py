"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.text import format_duration, format_rate, format_size, format_span

UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}


@pytest.mark.parametrize(
    ("count", "written"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1023.7, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2**70, "1024.0 EiB"),
    ],
)
def test_a_size_is_written_in_the_unit_that_suits_it(count: float, written: str) -> None:
    assert format_size(count) == written


@given(st.integers(0, 2**69))
def test_a_size_says_the_number_that_it_stands_for(count: int) -> None:
    number, unit = format_size(count).split()

    assert float(number) < 1024
    assert abs(float(number) * UNITS[unit] - count) <= 0.051 * UNITS[unit]


def test_a_rate_is_of_one_second() -> None:
    assert format_rate(10 * 2**20, 2.0) == "5.0 MiB/s"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0, "0.00 s"),
        (0.523, "0.52 s"),
        (12.34, "12.3 s"),
        (9.996, "10.0 s"),
        (59.96, "1 min 0 s"),
        (60, "1 min 0 s"),
        (125.4, "2 min 5 s"),
    ],
)
def test_a_duration_has_as_many_digits_as_say_something(seconds: float, written: str) -> None:
    assert format_duration(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (1.9, "1s"),
        (59, "59s"),
        (60, "1m"),
        (7300, "2h"),
        (86400, "1d"),
        (3 * 86400 - 1, "2d"),
    ],
)
def test_a_span_is_written_in_its_largest_unit(seconds: float, written: str) -> None:
    assert format_span(seconds) == written
