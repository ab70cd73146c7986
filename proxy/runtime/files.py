"""Files of the local disk, read by range."""

import errno
import fcntl
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self, TypeVar

from proxy.runtime.tasks import run_in_thread

T = TypeVar("T")


class Source(Protocol):
    """Stored bytes that can be read by range, wherever they are."""

    size: int
    """How many there are."""

    read_ahead: int
    """How many reads side by side, beyond the first, make it faster."""

    is_local: bool
    """Whether the bytes are on this machine."""

    @property
    def entire(self) -> bool:
        """Return whether all of it was downloaded from another machine, which serves no ranges."""

    async def read(self, start: int, stop: int, then: Callable[[bytes], T]) -> T:
        """Read the bytes [start, stop), or fewer where the source ends, and return what `then` makes of them.

        `then` runs in a thread, the one that read where there is one: waking a thread costs as much as a CRC of 1 MiB.
        """


class LocalFile:
    """An open file: it stays readable after it was replaced or removed, as long as somebody holds this object.

    The descriptor is closed when the last reader lets go of it, never earlier: a number that was closed and given to
    another file while a thread still reads would hand out that file's bytes.
    """

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self.identity = identity(status)
        self.size = status.st_size
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file for reading. Raise FileNotFoundError if there is none. Blocks."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(descriptor, os.fstat(descriptor))

    async def read(self, start: int, stop: int, then: Callable[[bytes], T]) -> T:
        """Read the bytes [start, stop), or fewer where the file ends."""
        return await run_in_thread(lambda: then(os.pread(self._descriptor, stop - start, start)))


class NewFile:
    """A file that is being written, and read back. All its methods block; OSError after it was closed.

    A thread cannot be stopped: one whose request was cancelled goes on. So the file is closed between two calls, and a
    later call never reaches another file that was given the same number.
    """

    def __init__(self, path: Path) -> None:
        self._alone = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._close = weakref.finalize(self, os.close, self._descriptor)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        with self._alone:
            if not self._close.alive:
                raise OSError(errno.EBADF, "the file was closed")
            yield self._descriptor

    def write(self, parts: list[bytes | bytearray | memoryview], offset: int) -> None:
        """Write every byte of all parts from `offset` on."""
        with self._opened() as descriptor:
            write_all(descriptor, parts, offset)

    def read(self, length: int, offset: int) -> bytes:
        """Read back what was written."""
        with self._opened() as descriptor:
            return os.pread(descriptor, length, offset)

    def end_at(self, size: int) -> None:
        """Drop what lies behind `size`."""
        with self._opened() as descriptor:
            os.ftruncate(descriptor, size)

    def status(self) -> os.stat_result:
        """Return the status of the file."""
        with self._opened() as descriptor:
            return os.fstat(descriptor)

    def close(self) -> None:
        """Close the file, once; OSError if the file system could not keep what was written."""
        with self._alone:
            self._close()


class Held:
    """Bytes in memory that are read like a file."""

    read_ahead = 0
    is_local = True
    entire = False

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    async def read(self, start: int, stop: int, then: Callable[[bytes], T]) -> T:
        """Read the bytes [start, stop)."""
        return then(self._content[start:stop])


class FolderInUse(Exception):
    """Another process works in the folder; the message says what to do."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other relays out of a folder, for as long as the block or the process lives. Blocking."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(f"another relay uses {folder}; stop it, or use RELAY_DATA=<another folder>") from error
        yield


def trouble(folder: Path, error: OSError) -> str:
    """Return a sentence on why nothing can be written below a folder; it names no path below it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"the disk is full: {folder} takes no more; free some space and push again"
    return f"cannot write to {folder}: {error.strerror or error}"


def identity(status: os.stat_result) -> str:
    """Return what tells a file from another one of the same name, and from later states of itself."""
    return f"{status.st_dev:x}-{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def write_all(descriptor: int, parts: list[bytes | bytearray | memoryview], offset: int) -> None:
    """Write every byte of all parts from `offset` on, however many calls that takes. Blocking."""
    views = [memoryview(part) for part in parts if len(part)]
    while views:
        written = os.pwritev(descriptor, views[:_PARTS_AT_ONCE], offset)
        offset += written
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if views:
            views[0] = views[0][written:]


_PARTS_AT_ONCE = 1024  # IOV_MAX on Linux
