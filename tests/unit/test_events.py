"""The ledger tells everybody who reads along, and notes how requests to other machines end."""

from collections.abc import Generator

import pytest

from proxy.events import Called, Event, EventBus, Retried


def noted() -> tuple[EventBus, list[Event]]:
    events: list[Event] = []
    return EventBus(events.append), events


def test_all_readers_are_told_in_the_order_of_the_events() -> None:
    first: list[Event] = []
    second: list[Event] = []
    ledger = EventBus(first.append, second.append)

    ledger.emit(Retried("storage"))
    ledger.emit(Retried("api"))

    assert first == second == [Retried("storage"), Retried("api")]


@pytest.mark.parametrize(
    ("status", "outcome"), [(0, "no answer"), (201, "ok"), (302, "ok"), (403, "4xx"), (404, "4xx"), (503, "5xx")]
)
def test_a_call_ends_with_what_was_answered(status: int, outcome: str) -> None:
    ledger, events = noted()

    with ledger.call("storage", "PutBlock") as call:
        call.status, call.sent, call.received = status, 7, 8

    (called,) = events
    assert isinstance(called, Called)
    assert (called.service, called.method, called.outcome) == ("storage", "PutBlock", outcome)
    assert (called.sent, called.received) == (7, 8)
    assert called.seconds >= 0


@pytest.mark.parametrize(("status", "outcome"), [(0, "no answer"), (200, "broken"), (403, "4xx")])
def test_a_call_that_fails_is_noted_and_its_failure_goes_on(status: int, outcome: str) -> None:
    ledger, events = noted()

    def fail() -> None:
        with ledger.call("storage", "GetRange") as call:
            call.status = status
            raise ConnectionError

    with pytest.raises(ConnectionError):
        fail()

    assert [each.outcome for each in events if isinstance(each, Called)] == [outcome]


def test_a_call_whose_reader_had_enough_did_not_fail() -> None:
    ledger, events = noted()

    def reading() -> Generator[None]:
        with ledger.call("storage", "GetAll") as call:
            call.status = 200
            yield

    generator = reading()
    next(generator)
    generator.close()

    assert [each.outcome for each in events if isinstance(each, Called)] == ["ok"]
