"""The files of the lock, for this Python, so that a relay as a process needs no index."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.action.runner import ROOT
from tests.once import Once

LOCK = ROOT / "action" / "requirements.txt"
_DOWNLOAD = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")


@pytest.fixture(scope="session")
def wheels(once: Once) -> Path:
    def download(folder: Path) -> None:
        command = [sys.executable, *_DOWNLOAD, "--dest", str(folder), "--requirement", str(LOCK)]
        subprocess.run(command, check=True)  # noqa: S603

    return once.made("wheels-of-this-python", download)
