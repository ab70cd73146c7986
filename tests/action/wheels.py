"""The files of the lock, for this Python, so that a relay as a process needs no index."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.action.runner import ROOT

LOCK = ROOT / "action" / "requirements.txt"
_DOWNLOAD = ("-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, *_DOWNLOAD, "--dest", str(folder), "--requirement", str(LOCK)]
    subprocess.run(command, check=True)  # noqa: S603
    return folder
