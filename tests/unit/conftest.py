"""A registry without HTTP for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.registry_harness import RegistryHarness


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RegistryHarness]:
    registry = await RegistryHarness.open(tmp_path)
    yield registry
    await registry.crew.cancel_all()
