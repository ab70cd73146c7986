"""A machine without the tools: what is missing is named once, with the number of tests, and fails none but in CI."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.machine import require_open_files

ROOT = Path(__file__).parents[2]
INSTALLER = ROOT / "tools" / "install-actions-emulator"
NODE = "Node 20 or newer on PATH"


def bare(folder: Path, *tools: str) -> dict[str, str]:
    """Return the environment of a machine that has these programs and bash, and no other."""
    programs = folder / "bin"
    programs.mkdir()
    for tool in ("bash", *tools):
        (programs / tool).symlink_to(str(shutil.which(tool)))
    return {"PATH": str(programs), "HOME": str(folder), "IMAGE_RELAY_TOOLS": str(folder / "tools")}


def run(environment: Mapping[str, str], *arguments: str, before: Sequence[str] = ()) -> tuple[int, list[str]]:
    """Run tests; gives the status of pytest, and all lines that it printed."""
    done = subprocess.run(  # noqa: S603
        [*before, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def named(said: Sequence[str]) -> dict[str, int]:
    """Return what the end of a run names: how many tests were skipped for want of which thing."""
    (start,) = [number for number, line in enumerate(said) if "skipped, for want of" in line]
    counted = [line.split(maxsplit=1) for line in said[start + 1 : -1]]
    return {rest.partition(": ")[0]: int(number) for number, rest in counted}


def test_what_is_missing_is_named_in_one_line_with_the_number_of_tests(tmp_path: Path) -> None:
    status, said = run(bare(tmp_path), "tests/action/test_node.py", "tests/unit/test_workflows.py")

    flows = len(list((ROOT / ".github" / "workflows").glob("*.yml")))
    assert status == 0
    assert named(said) == {"actionlint": flows, NODE: 2}
    assert f" {flows + 2} skipped" in said[-1]
    assert [line for line in said if line.startswith("SKIPPED")] == []


def test_where_nothing_may_be_skipped_what_is_missing_is_a_failure(tmp_path: Path) -> None:
    status, said = run({**bare(tmp_path), "REQUIRE_TOOLS": "1"}, "tests/action/test_node.py")

    assert status == 1
    assert any(f"needs {NODE}" in line for line in said)


def test_what_has_passed_is_left_out_of_a_second_run(tmp_path: Path) -> None:
    environment, passed = bare(tmp_path), tmp_path / "passed"
    select = ("tests/action/test_node.py", "tests/unit/test_text.py")

    _, first = run(environment, *select, f"--passed-to={passed}")
    status, second = run(environment, *select, f"--without={passed}")

    count = len(passed.read_text().splitlines())
    assert status == 0
    assert f"{count} passed, 2 skipped" in first[-1]
    assert f"2 skipped, {count} deselected" in second[-1]
    assert f"left out: {count} tests that passed before" in second


def test_the_tests_raise_the_limit_of_open_files_and_skip_where_they_may_not(tmp_path: Path) -> None:
    require_open_files()
    select = ("tests/unit/spool/test_upload.py", "-k", "a_thousand_sessions")

    environment = bare(tmp_path)

    enough, passed = run(environment, *select, before=["/usr/bin/prlimit", "--nofile=1024:4096"])
    few, skipped = run(environment, *select, before=["/usr/bin/prlimit", "--nofile=1024:1024"])

    assert (enough, few) == (0, 0)
    assert "1 passed" in passed[-1]
    assert named(skipped) == {"4096 open files": 1}


def test_an_old_node_is_no_node(tmp_path: Path) -> None:
    environment = bare(tmp_path)
    node = tmp_path / "bin" / "node"
    node.write_text("#!/bin/sh\necho v18.20.4\n")
    node.chmod(0o755)

    status, said = run(environment, "tests/action/test_node.py")

    assert status == 0
    assert named(said) == {NODE: 2}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"IMAGE_RELAY_TOOLS": "/a b"}, "/a b/actions"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/image-relay-tools/actions"),
        ({"HOME": "/home/me"}, "/home/me/.cache/image-relay-tools/actions"),
    ],
)
def test_the_tools_of_the_emulator_are_where_the_user_may_write(settings: dict[str, str], wanted: str) -> None:
    if os.geteuid() == 0 and "IMAGE_RELAY_TOOLS" not in settings:
        wanted = "/opt/image-relay-tools/actions"

    told = subprocess.run(  # noqa: S603
        [str(INSTALLER), "--where"],
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        check=True,
        text=True,
    )

    assert told.stdout == f"{wanted}\n"


@pytest.mark.parametrize("present", [(), ("npm",), ("node",)])
def test_without_node_or_npm_the_emulator_says_what_it_needs(tmp_path: Path, present: tuple[str, ...]) -> None:
    environment = bare(tmp_path, "dirname", "sed")
    for tool in present:
        (tmp_path / "bin" / tool).symlink_to("/bin/true")

    done = subprocess.run(  # noqa: S603
        [str(INSTALLER)],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("install-actions-emulator: needs Node 20 or newer, with npm, on PATH")
    assert not (tmp_path / "tools").exists()
