"""How a person gets at an artifact without a relay, in commands that are safe to copy."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from proxy.artifacts.naming import SUFFIX

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class FileByHand(NamedTuple):
    """The file of an artifact, not quoted, and the command that downloads it; empty if it is on this machine."""

    path: str
    download: str = ""


def out_of_run(artifact: str, run_id: str, repository: str) -> FileByHand | None:
    """Return the file that GitHub's program downloads from a run; None if it is not known which run that is."""
    if not (run_id.isascii() and run_id.isdigit()):
        return None
    where = f" -R {repository}" if _REPOSITORY.fullmatch(repository) else ""
    return FileByHand(f"{artifact}{SUFFIX}", f"gh run download {run_id}{where} -n {shlex.quote(artifact)}")


def out_of_folder(artifact: str, folder: Path) -> FileByHand:
    """Return the file in a folder of this machine."""
    return FileByHand(f"{folder / artifact}{SUFFIX}")
