"""A relay for each test, over the directory store in a folder of the test. A blocking call in a coroutine fails."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.runtime.limits import DEFAULT, Limits
from tests.api.relay import Relay, running
from tests.blocking import no_blocking
from tests.fakes.actions.fixtures import azurite, emulate

__all__ = ["azurite", "emulate", "limits", "no_blocking_calls", "relay"]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    with no_blocking():
        yield


@pytest.fixture
def limits() -> Limits:
    """Those of `relay`; a test that needs others parametrizes this."""
    return DEFAULT


@pytest.fixture
async def relay(tmp_path: Path, limits: Limits) -> AsyncIterator[Relay]:
    async with running(tmp_path / "data", limits=limits) as relay:
        yield relay
