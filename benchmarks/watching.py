"""The memory and the descriptors that a process has now, and the most descriptors meanwhile."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

_LOOK = 0.05  # seconds between two looks at descriptors


def resident(pid: int) -> int:
    """Return the memory in bytes that a process has resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Descriptors(NamedTuple):
    """How many descriptors a process has: connections, and all others, which are files but for a few."""

    files: int
    sockets: int

    @classmethod
    def of(cls, pid: int) -> Self:
        """Look at a process now."""
        kinds = list[bool]()
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                kinds.append(str(each.readlink()).startswith("socket:"))
        return cls(kinds.count(False), kinds.count(True))

    def __str__(self) -> str:
        """Write it."""
        return f"{self.files} and {self.sockets} sockets"


class Watch:
    """The most descriptors that a process has for as long as the block lasts."""

    def __init__(self, pid: int) -> None:
        self.most = Descriptors(0, 0)
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(_LOOK):
            found = Descriptors.of(self._pid)
            self.most = Descriptors(max(self.most.files, found.files), max(self.most.sockets, found.sockets))
