import base64
import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

from proxy.artifacts.actions.session import Session, SessionHolder, SessionInvalid, State, read
from tests.fakes.actions import tokens

RESULTS = "https://results-receiver.actions.githubusercontent.com/"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def token(claims: object, *, head: str = "e30", signature: str = "c2ln") -> str:
    payload = base64.urlsafe_b64encode(claims if isinstance(claims, bytes) else json.dumps(claims).encode())
    return f"{head}.{payload.decode().rstrip('=')}.{signature}"


def ending(expires: datetime | None) -> Session:
    return Session("a.b.c", URL(RESULTS).origin(), "run", "job", expires)


def test_a_token_tells_the_ids_of_run_and_job_and_when_it_ends() -> None:
    before = int(time.time())

    session = read(tokens.mint("run-id", "job-id", 3600), RESULTS)

    assert (session.run, session.job, session.owner) == ("run-id", "job-id", "run-id:job-id")
    assert session.expires is not None
    assert before + 3600 <= session.expires.timestamp() <= time.time() + 3600


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (RESULTS, "https://results-receiver.actions.githubusercontent.com"),
        (f" {RESULTS}some/prefix/?x=y\n", "https://results-receiver.actions.githubusercontent.com"),
        ("HTTP://LocalHost:8000", "http://localhost:8000"),
        ("http://[::1]:34567/", "http://[::1]:34567"),
    ],
)
def test_only_the_origin_of_the_results_url_counts(url: str, origin: str) -> None:
    assert read(tokens.mint("1", "2"), url).origin == URL(origin)


def test_blanks_around_a_token_do_no_harm_and_a_token_may_be_unsigned() -> None:
    unsigned = token({"scp": "Actions.Results:1:2"}, signature="")

    assert read(f" {unsigned}\n", RESULTS).token == unsigned


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "a.b",
        "a.b.c.d",
        "e30.!!!.c2ln",
        "e30.e.c2ln",
        token({"scp": "Actions.Results:1:2"}) + "\r\nX-Injected: 1",
        token({"scp": "Actions.Results:1:2"}, head="ключ"),
        token(["scp"]),
        token(b"not JSON"),
        token(b"\xff\xfe"),
        token(b"[" * 100_000),
        token(b'{"exp": ' + b"9" * 5000 + b"}"),
    ],
)
def test_what_is_no_token_is_told_without_showing_it(text: str) -> None:
    with pytest.raises(SessionInvalid) as refused:
        read(text, RESULTS)

    assert str(refused.value) == "the token is not a JSON Web Token: is it ACTIONS_RUNTIME_TOKEN of this job?"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"scp": None},
        {"scp": ["Actions.Results:1:2"]},
        {"scp": ""},
        {"scp": "Actions.Other:1:2 Actions.Results"},
        {"scp": "Actions.Results:1"},
        {"scp": "Actions.Results::2"},
        {"scp": "Actions.Results:1:2:3"},
        {"scp": "actions.results:1:2"},
    ],
)
def test_a_token_without_the_scope_of_artifacts_is_refused(claims: object) -> None:
    with pytest.raises(SessionInvalid, match="gives no access to artifacts"):
        read(token(claims), RESULTS)


@pytest.mark.parametrize("url", ["", "results", "/results", "https://", "http://[::1", "http://host:port/"])
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(SessionInvalid, match="the results URL is none"):
        read(tokens.mint("1", "2"), url)


@pytest.mark.parametrize("url", ["ftp://host/", "file://host/x", "https://me@host/", "https://me:secret@host/"])
def test_a_url_that_is_not_plain_http_is_told_without_showing_it(url: str) -> None:
    with pytest.raises(SessionInvalid, match=r"is not http or https, or has credentials in it$"):
        read(tokens.mint("1", "2"), url)


@pytest.mark.parametrize("expires", [None, "soon", True, [], 1e300, -1e300, float("nan"), float("inf"), 10**30])
def test_a_token_whose_end_makes_no_sense_has_none(expires: object) -> None:
    session = read(token({"scp": "Actions.Results:1:2", "exp": expires}), RESULTS)

    assert session.expires is None
    assert not session.has_expired(NOW)


def test_a_session_shows_neither_token_nor_ids(caplog: pytest.LogCaptureFixture) -> None:
    secret = tokens.mint("run-id", "job-id")
    session = read(secret, RESULTS)

    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r %s", session, session, SessionHolder(session))

    for hidden in (secret, secret.split(".")[1], "run-id", "job-id"):
        assert hidden not in caplog.text


@pytest.mark.parametrize(
    ("expires", "state"),
    [
        (None, State.ACTIVE),
        (NOW + timedelta(minutes=11), State.ACTIVE),
        (NOW + timedelta(minutes=10), State.EXPIRING),
        (NOW + timedelta(seconds=1), State.EXPIRING),
        (NOW, State.EXPIRED),
        (NOW - timedelta(days=1), State.EXPIRED),
    ],
)
def test_the_state_of_a_session_follows_the_clock(expires: datetime | None, state: State) -> None:
    assert SessionHolder(ending(expires)).state_at(NOW) is state


def test_without_a_session_the_state_is_none() -> None:
    assert SessionHolder().state_at(NOW) is State.NONE


def test_a_session_that_the_service_refuses_has_expired_until_there_is_another() -> None:
    sessions = SessionHolder(ending(None))
    sessions.note_refusal(sessions.current)
    assert sessions.state_at(NOW) is State.EXPIRED

    sessions.replace(ending(None))

    assert sessions.state_at(NOW) is State.ACTIVE
