"""The faults that tests play, by names for their ids."""

from proxy.runtime.limits import Timeouts
from tests.actions_store.relays import AGAIN, QUICK, WAITS
from tests.fakes.actions.faults import (
    Answer,
    BodyReset,
    BodyStall,
    BodyTrickle,
    Corrupt,
    Delay,
    Fault,
    HeadTrickle,
    RangeIgnored,
    Reset,
    Truncated,
    WrongContentRange,
    edge_page,
    intermediary,
    rate_limited,
    twirp_error,
)

FOR_EVER = 30.0  # seconds; longer than anybody waits here
IMPATIENT = Timeouts(
    QUICK, QUICK, AGAIN, connect=2, call=1, finalize=1, commit=1, transfer=2, stall=1, answer=1, **WAITS
)

CONNECTION: dict[str, Fault] = {
    "reset": Reset(),
    "408": Answer(408),
    "425": Answer(425),
    "500": Answer(500, "internal"),
    "502": Answer(502),
    "503": Answer(503),
    "529": Answer(529),
    "stall": Delay(FOR_EVER),
    "trickle": HeadTrickle(0.05),
    "page of the edge": edge_page(503),
    "too many": rate_limited(0),
}
OF_CALLS: dict[str, Fault] = CONNECTION | {
    "page with 200": edge_page(200),
    "intermediary": intermediary(),
    "another 403": twirp_error(403, "permission_denied", "not now"),
}
WITH_EFFECT: dict[str, Fault] = {
    "reset": Reset(effect=True),
    "503": Answer(503, effect=True),
    "page": Answer(502, "<!DOCTYPE html>", "text/html", effect=True),
    "stall": Delay(FOR_EVER, effect=True),
}
OF_RANGES: dict[str, Fault] = CONNECTION | {
    "no byte": BodyReset(0),
    "broken": BodyReset(100),
    "stalled": BodyStall(100, FOR_EVER),
    "drops": BodyTrickle(100, 0.05),
    "ended early": Truncated(100),
    "shorter": Truncated(100, agreed=True),
    "first byte": Corrupt(0),
    "other bytes": Corrupt(5000),
    "whole": RangeIgnored(),
    "no place": WrongContentRange(),
    "other place": WrongContentRange("bytes 0-1/2"),
    "401": Answer(401),
    "403": Answer(403),
}
EVERYWHERE: list[Fault] = [
    Reset(),
    Reset(effect=True),
    Answer(503),
    Answer(503, effect=True),
    edge_page(),
    BodyReset(1000),
    Truncated(1000),
    Truncated(1000, agreed=True),
    Corrupt(300),
    WrongContentRange("bytes 5-6/7"),
]
