"""What all tests share: how hypothesis searches, a guard against blocking calls, and a disk that is soon full.

Two options let a second run leave out what has passed in a first one: `--passed-to FILE` and `--without FILE`.
"""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import machine
from tests.blocking import no_blocking
from tests.once import Once, sharing

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), max_examples=200, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


machine.raise_open_files()


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Name what this machine lacks, in one line for each thing; show why tests were tried again."""
    yield
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.write_sep("_", f"tried again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_sep("=", "skipped, for want of")
    for line in machine.counted([report.longrepr[2].removeprefix("Skipped: ") for report in skipped]):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what has passed; fail a run in which something was skipped, where nothing may be."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    file: Path | None = session.config.getoption("passed_to")
    if file and reporter:
        file.write_text("".join(f"{report.nodeid}\n" for report in reporter.stats.get("passed", [])), "utf-8")
    if os.environ.get("REQUIRE_TOOLS") == "1" and reporter and reporter.stats.get("skipped"):
        reporter.write_line("REQUIRE_TOOLS=1: nothing may be skipped", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("image-relay")
    group.addoption("--passed-to", type=Path, metavar="FILE", help="write the tests that pass to this file")
    group.addoption("--without", type=Path, metavar="FILE", help="leave out the tests that are in this file")


def pytest_report_header(config: pytest.Config) -> list[str]:
    passed = _passed(config)
    return [f"left out: {len(passed)} tests that passed before"] if passed else []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has passed; begin with what may take minutes, for which the others would wait at the end."""
    passed = _passed(config)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = sorted((item for item in items if item.nodeid not in passed), key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    """Return how long a test may take, in steps of five minutes: within one they stay in order."""
    marker = item.get_closest_marker("timeout")
    return marker.args[0] // 300 if marker and marker.args else 0


def _passed(config: pytest.Config) -> set[str]:
    file: Path | None = config.getoption("without")
    return set(file.read_text("utf-8").splitlines()) if file else set()


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    with no_blocking():
        yield


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Once]:
    with sharing(tmp_path_factory.getbasetemp()) as once:
        yield once


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 8 MiB."""
    machine.require_root()
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)  # noqa: S603, S607
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S603, S607


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """List the files that are opened during the test."""
    listening, paths = True, list[str]()

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event == "open":
            paths.append(str(arguments[0]))

    sys.addaudithook(listen)  # which stays as long as the process
    yield paths
    listening = False
