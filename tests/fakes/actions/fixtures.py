"""Fixtures for everybody who tests against the Actions artifact service.

In a conftest: `from tests.fakes.actions.fixtures import azurite, emulate  # noqa: F401`. Then

    def test_something(emulate: Emulate) -> None:
        actions = emulate()                      # or emulate(flavour=Flavour.ACT), or any field of Options
        client = Client(actions.environment(actions.job("build")))

At the end of the test an emulator fails it if a client did what none may do (`actions.violations`), or if a planned
fault met nobody (`actions.plan.unplayed`); a test that means it empties them.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.fakes.actions import azurite as azurite_process
from tests.fakes.actions.azurite import TOOLS
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.options import Flavour, Options
from tests.fakes.actions.threads import in_thread
from tests.machine import missing, require_node

ON_DISK = "IMAGE_RELAY_AZURITE_ON_DISK"  # set to 1 where gigabytes are uploaded


class Emulate(Protocol):
    """Starts an emulator with options that are not the usual ones."""

    def __call__(self, **options: Any) -> Emulator: ...


def require_tools() -> Path:
    """Return where Azurite and the official client are."""
    require_node()
    if not azurite_process.installed():
        missing(f"Azurite in {TOOLS}", "tools/install-actions-emulator")
    return TOOLS


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Azurite for the session: each emulator has a container of its own in it."""
    require_tools()
    folder = tmp_path_factory.mktemp("azurite")
    location = folder / "data" if os.environ.get(ON_DISK) == "1" else None
    with azurite_process.running(folder / "azurite.log", location) as origin:
        yield origin
    shutil.rmtree(folder)


@pytest.fixture
def emulate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emulate]:
    """Start emulators, and judge at the end what the clients did with them."""
    started: list[Emulator] = []
    with ExitStack() as stack:

        def start(**fields: Any) -> Emulator:
            options = Options(**fields)
            origin = request.getfixturevalue("azurite") if options.flavour is Flavour.GITHUB else None
            folder = tmp_path / f"emulator-{len(started)}"
            started.append(stack.enter_context(in_thread(options, folder, origin)))
            return started[-1]

        yield start
    for emulator in started:
        assert not emulator.violations, "a client did what none may do"
        assert not emulator.plan.unplayed, "a planned fault met nobody"
