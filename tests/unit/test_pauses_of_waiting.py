"""How often a run is listed for those who wait for an image: GitHub counts the requests of a whole repository."""

import re
from collections.abc import Sequence
from itertools import accumulate, chain, repeat, takewhile
from pathlib import Path

import pytest

from proxy.commands import wait
from proxy.runtime.limits import DEFAULT

_ACTION = Path(__file__).parents[2] / "action" / "images.mjs"


def _of_the_action() -> Sequence[float]:
    (pauses,) = re.findall(r"^const PAUSES = \[(.+?)\]", _ACTION.read_text(), re.MULTILINE)
    return tuple(int(each.replace("_", "")) / 1000 for each in pauses.split(", "))


@pytest.mark.parametrize(
    "pauses", [DEFAULT.wait_pauses, wait._PAUSES, _of_the_action()], ids=["pull", "command", "action"]
)
def test_a_run_is_listed_twelve_times_in_the_first_minute_at_most_and_four_times_in_each_later_one(
    pauses: Sequence[float],
) -> None:
    looks = list(takewhile(lambda each: each < 600, accumulate(chain(pauses, repeat(pauses[-1])), initial=0.0)))

    each_minute = [sum(60 * minute <= look < 60 * (minute + 1) for look in looks) for minute in range(10)]

    assert each_minute[0] <= 12
    assert max(each_minute[1:]) <= 4
