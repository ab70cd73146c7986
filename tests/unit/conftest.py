"""A registry without HTTP for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.registry_harness import Desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = await Desk.open(tmp_path)
    yield desk
    await desk.crew.cancel_all()
