"""What is made once in a run, whichever of its processes needs it first, and shared by all of them."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Once:
    """Makes files and folders, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the path of this name, which `make` has filled."""
        self._folder.mkdir(exist_ok=True)
        path, unfinished = self._folder / name, self._folder / f"{name}.unfinished"
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make(unfinished)
                unfinished.rename(path)
        return path


@contextmanager
def sharing(base: Path) -> Iterator[Once]:
    """Share with the other processes of a run, whose folders lie beside `base`; the last one removes what was made."""
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = together / "shared"
    with (together / "shared.users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        yield Once(folder)
        with suppress(BlockingIOError):  # others still use it
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
