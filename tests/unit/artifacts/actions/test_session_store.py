"""A store whose session ends: over a store in memory, whose session is told to be what the test needs."""

from datetime import UTC, datetime, timedelta

import pytest
from yarl import URL

from proxy.artifacts.actions.session import Session, SessionHolder, State
from proxy.artifacts.actions.session_store import SessionStore
from proxy.artifacts.base import NOBODYS, Artifact, Body, Claim, StoreExpired, StoreRefused
from tests.fakes.memory_store import Bytes, MemoryStore

SOON = timedelta(days=2)


class Closing(MemoryStore):
    """A store that refuses from a moment on that the test chooses."""

    problem: StoreRefused | None = None

    async def listed(self) -> list[Artifact]:
        if self.problem:
            raise self.problem
        return await super().listed()

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        if self.problem:
            raise self.problem
        return await super().put(name, body, claim)


@pytest.fixture
def sessions() -> SessionHolder:
    return SessionHolder(Session("a.b.c", URL("https://results.example"), "run", "job", None, SOON))


@pytest.fixture
def store() -> Closing:
    return Closing()


@pytest.fixture
def session_store(store: Closing, sessions: SessionHolder) -> SessionStore:
    return SessionStore(store, sessions)


def expired(sessions: SessionHolder) -> None:
    sessions.replace(Session("a.b.c", URL("https://results.example"), "run", "job", datetime.now(UTC)))


async def test_when_an_artifact_expires_is_known_to_who_stored_it(session_store: SessionStore, store: Closing) -> None:
    others = await store.put("image-app@v0", Bytes(b"of another relay"))

    stored = await session_store.put("image-app@v1", Bytes(b"ours"))

    assert stored.expires is not None
    assert timedelta(0) <= datetime.now(UTC) + SOON - stored.expires < timedelta(minutes=1)
    assert {each.id: each.expires for each in await session_store.listed()} == {
        others.id: None,
        stored.id: stored.expires,
    }


async def test_what_was_listed_stays_listed_when_the_session_has_expired(
    session_store: SessionStore, store: Closing, sessions: SessionHolder
) -> None:
    first = await store.put("image-app@v1", Bytes(b"seen"))
    assert await session_store.listed() == [first]
    second = await session_store.put("image-app@v2", Bytes(b"ours"))

    expired(sessions)
    await store.put("image-app@v3", Bytes(b"not seen"))

    assert await session_store.listed() == [first, second]
    assert session_store.closed.startswith("the session of this job has expired")
    assert session_store.undeletable == session_store.closed


async def test_a_service_that_takes_the_token_no_longer_ends_the_session(
    session_store: SessionStore, store: Closing, sessions: SessionHolder
) -> None:
    first = await session_store.put("image-app@v1", Bytes(b"ours"))
    store.problem = StoreExpired("the token is not taken")

    assert await session_store.listed() == [first]
    assert sessions.state is State.EXPIRED
    store.problem = StoreRefused("not asked any more")
    assert await session_store.listed() == [first]


async def test_a_push_that_finds_its_token_refused_ends_the_session(
    session_store: SessionStore, store: Closing, sessions: SessionHolder
) -> None:
    store.problem = StoreExpired("the token is not taken")

    with pytest.raises(StoreExpired):
        await session_store.put("image-app@v1", Bytes(b"ours"))

    assert sessions.state is State.EXPIRED


async def test_any_other_refusal_is_passed_on_and_ends_nothing(
    session_store: SessionStore, store: Closing, sessions: SessionHolder
) -> None:
    store.problem = StoreRefused("try again later")

    with pytest.raises(StoreRefused, match="try again later"):
        await session_store.listed()
    with pytest.raises(StoreRefused, match="try again later"):
        await session_store.put("image-app@v1", Bytes(b"ours"))

    assert sessions.state is State.ACTIVE
    assert (session_store.closed, session_store.undeletable) == (store.closed, store.undeletable)


async def test_another_session_sees_nothing_of_what_was_known_before(
    session_store: SessionStore, store: Closing, sessions: SessionHolder
) -> None:
    await session_store.put("image-app@v1", Bytes(b"ours"))
    expired(sessions)

    session_store.forget()

    assert await session_store.listed() == []


async def test_what_was_deleted_is_not_known_any_more(session_store: SessionStore, sessions: SessionHolder) -> None:
    stored = await session_store.put("image-app@v1", Bytes(b"ours"))

    await session_store.delete(stored)
    expired(sessions)

    assert await session_store.listed() == []


async def test_bytes_and_owners_are_those_of_the_store(session_store: SessionStore, store: Closing) -> None:
    stored = await session_store.put("image-app@v1", Bytes(b"ours"))

    assert await (await session_store.open(stored)).read(0, 99, bytes) == b"ours"
    assert session_store.may_replace(stored) is store.may_replace(stored)
