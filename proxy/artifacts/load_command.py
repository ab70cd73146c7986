"""How a person gets at an artifact without a relay: the command for it, safe to copy."""

import re
import shlex
from pathlib import Path

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


def out_of_run(artifact: str, run_id: str, repository: str) -> str:
    """Load an image out of a run, with GitHub's program; nothing if it is not known which run that is."""
    if not (run_id.isascii() and run_id.isdigit()):
        return ""
    where = f" -R {repository}" if _REPOSITORY.fullmatch(repository) else ""
    file = shlex.quote(f"{artifact}.tar.zst")
    return f"gh run download {run_id}{where} -n {shlex.quote(artifact)} && docker load -i {file}"


def out_of_folder(artifact: str, folder: Path) -> str:
    """Load an image out of a folder of this machine."""
    return f"docker load -i {shlex.quote(str(folder / artifact))}.tar.zst"
