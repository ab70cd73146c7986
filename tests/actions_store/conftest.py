"""Relays in this process, over an emulator of the artifact service. A blocking call in a coroutine fails."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.actions_store.relays import Relays
from tests.blocking import no_blocking
from tests.fakes.actions.fixtures import azurite, emulate

__all__ = ["azurite", "emulate"]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    with no_blocking():
        yield


@pytest.fixture
async def relays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Relays]:
    """Start relays, and search for secrets what they logged, answered to errors, and left on disk."""
    caplog.set_level(logging.DEBUG, "proxy")
    async with Relays(tmp_path) as relays:
        yield relays
    said = caplog.text + "".join(text for each in relays.started for text in each.told)
    assert [secret for secret in relays.secrets if secret in said] == []
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("relay-*/**/*") if path.is_file())
    assert [secret for secret in relays.secrets if secret.encode() in kept] == []
