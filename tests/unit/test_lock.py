"""The lock of the relay as a process: it has what pyproject.toml asks for, and nothing else."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "action" / "requirements.txt").read_text(encoding="utf-8")
PINNED = {
    canonicalize_name(name): Version(version) for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", LOCK, re.M)
}


def asked() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(text) for text in project["dependencies"]]


def closure() -> set[str]:
    """Return the names of all packages that the relay needs with this Python."""
    found: set[str] = set()
    left = asked()
    while left:
        name = canonicalize_name(left.pop().name)
        if name in found:
            continue
        found.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        left += [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def test_the_lock_has_every_dependency_in_a_version_that_is_allowed() -> None:
    wrong = {
        str(each) for each in asked() if PINNED.get(canonicalize_name(each.name), Version("0")) not in each.specifier
    }

    assert wrong == set()


def test_the_lock_has_all_that_those_need_and_nothing_else() -> None:
    assert closure() == set(PINNED)


def test_every_package_of_the_lock_has_hashes_and_no_address() -> None:
    blocks = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]

    assert len(blocks) == len(PINNED)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert "://" not in LOCK
