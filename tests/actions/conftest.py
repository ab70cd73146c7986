"""Relays in this process, over an emulator of the artifact service. A blocking call in a coroutine fails."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from tests.actions.relays import Relays
from tests.fakes.actions.fixtures import azurite, emulate

__all__ = ["azurite", "emulate"]


@pytest.fixture(autouse=True)
def no_blocking_calls() -> Iterator[None]:
    with blockbuster_ctx("proxy"):
        yield


@pytest.fixture
async def relays(tmp_path: Path) -> AsyncIterator[Relays]:
    async with Relays(tmp_path) as relays:
        yield relays
