"""What a hand-over may be: whatever it is, it is taken, or refused in a sentence that shows nothing of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.actions.handover import SessionRequest, _read
from proxy.errors import SessionRefused
from tests.fakes.actions import tokens

RESULTS = "https://results-receiver.actions.githubusercontent.com/"
TOKEN = tokens.mint("run", "job")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


def content(**fields: object) -> bytes:
    return json.dumps({"token": TOKEN, "results_url": RESULTS, **fields}).encode()


@given(st.binary(max_size=300))
def test_no_bytes_are_more_than_a_sentence(body: bytes) -> None:
    with pytest.raises(SessionRefused, match=r"^the session was not accepted: "):
        _read(body)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(SessionRequest.model_fields, VALUES)))
def test_no_values_of_the_fields_are_more_than_a_sentence(fields: dict[str, Any]) -> None:
    try:
        told = repr(_read(content(**fields)))
    except SessionRefused as refused:
        told = refused.message

    assert told.startswith(("(SessionRequest(", "the session was not accepted: "))
    assert TOKEN not in told


@pytest.mark.parametrize("host", ["", "localhost", "localhost:5000", "relay.example", "relay:5000", "[::1]:5000"])
def test_a_host_is_what_docker_takes_for_one(host: str) -> None:
    assert _read(content(public_host=host))[0].public_host == host


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "this job"),
        ({"repository": "octo/relay"}, "octo/relay"),
        ({"run_id": 7, "run_attempt": "2"}, "run 7 #2"),
        ({"repository": "octo/relay", "run_id": "7", "action_version": "1.2"}, "octo/relay run 7 (action 1.2)"),
    ],
)
def test_an_offer_describes_itself_without_its_token(fields: dict[str, object], shown: str) -> None:
    offer, _ = _read(content(**fields))

    assert str(offer) == shown
    assert TOKEN not in repr(offer)
