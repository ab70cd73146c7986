"""Files of the local disk, read by range."""

import errno
import fcntl
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Protocol, Self, TypeVar

from proxy.errors import ContentDamaged, TooManyRequests
from proxy.runtime.tasks import run_in_thread

T = TypeVar("T")
Bytes = bytes | memoryview


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

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read the bytes [start, stop), or fewer where the source ends, and return what `then` makes of them.

        `then` runs in a thread, the one that read where there is one: waking a thread costs as much as a CRC of 1 MiB.
        """


@contextmanager
def exhaustion() -> Iterator[None]:
    """Raise TooManyRequests where this process, or the machine, has too many files open."""
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        message = "the relay has too many files open; raise its limit (ulimit -n), or do less at once, and try again"
        raise TooManyRequests(message, {"Retry-After": "5"}) from error


class _Descriptor:
    """An open file, closed when nobody holds this object any more."""

    def __init__(self, path: Path) -> None:
        with exhaustion():
            self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.number)


class OpenFiles:
    """A budget of files that are kept open between two reads: beyond it the least recently used are closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.RLock()  # a file may be dropped, by the garbage collector, while another is kept
        self._held: OrderedDict[int, _Descriptor] = OrderedDict()

    def keep(self, key: int, descriptor: _Descriptor) -> None:
        """Keep a file open, which was used now."""
        with self._lock:
            self._held[key] = descriptor
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)

    def get(self, key: int) -> _Descriptor | None:
        """Return a file that is open; it counts as used."""
        with self._lock:
            if found := self._held.get(key):
                self._held.move_to_end(key)
            return found

    def drop(self, key: int) -> None:
        """Close a file, once nobody reads it."""
        with self._lock:
            self._held.pop(key, None)


_OPEN = OpenFiles(96)  # of archives and blobs; with what connections and uploads need, fewer than 256 in all
_NUMBERS = count()


class LocalFile:
    """A file that was opened: while it is `pinned` it stays readable after it was replaced or removed.

    One that is not may be closed between two reads, and is opened again by its path then. A descriptor is closed when
    the last reader lets go of it, never earlier: a number that was closed and given to another file while a thread
    still reads would hand out that file's bytes.
    """

    read_ahead = 1
    is_local = True
    entire = False

    def __init__(self, path: Path, descriptor: _Descriptor, *, pinned: bool) -> None:
        status = os.fstat(descriptor.number)
        self.identity = identity(status)
        self.size = status.st_size
        self._path = path
        self._pinned = descriptor if pinned else None
        self._key = next(_NUMBERS)
        if not pinned:
            _OPEN.keep(self._key, descriptor)
            weakref.finalize(self, _OPEN.drop, self._key)

    @classmethod
    def open(cls, path: Path, *, pinned: bool = True) -> Self:
        """Open a file for reading. Raise FileNotFoundError if there is none. Blocks."""
        return cls(path, _Descriptor(path), pinned=pinned)

    def pin(self) -> None:
        """Keep it open from now on. Raise ContentDamaged if it was replaced or removed. Blocks."""
        self._pinned = self._descriptor()

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read the bytes [start, stop), or fewer where the file ends."""

        def work() -> T:
            descriptor = self._descriptor()
            return then(os.pread(descriptor.number, stop - start, start))

        return await run_in_thread(work)

    def _descriptor(self) -> _Descriptor:
        if still_open := self._pinned or _OPEN.get(self._key):
            return still_open
        gone = ContentDamaged(f"the file {self._path.name} was replaced or removed while it was read; pull again")
        try:
            found = _Descriptor(self._path)
        except FileNotFoundError:
            raise gone from None
        if identity(os.fstat(found.number)) != self.identity:
            raise gone
        _OPEN.keep(self._key, found)
        return found


class NewFile:
    """A file that is being written, and read back. All its methods block; OSError after it was closed.

    A thread cannot be stopped: one whose request was cancelled goes on. So the file is closed between two calls, and a
    later call never reaches another file that was given the same number.
    """

    def __init__(self, path: Path) -> None:
        self._alone = threading.Lock()
        with exhaustion():
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


class InMemory:
    """Bytes in memory that are read like a file."""

    read_ahead = 0
    is_local = True
    entire = False

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read the bytes [start, stop)."""
        return then(self._content[start:stop])


def raise_open_files() -> None:
    """Let this process have as many open files as it may, where the system counts them so; macOS allows 10,240."""
    with suppress(ImportError):
        import resource  # noqa: PLC0415 - not every system has it

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        for wanted in (most, _OPEN_MAX):
            with suppress(ValueError, OSError):  # "unlimited" is more than macOS takes
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
                return


_OPEN_MAX = 10_240  # sys/syslimits.h of macOS


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


def trouble_inside(folder: Path, error: OSError) -> str:
    """Return what failed in a folder, and at which file in it: `Is a directory: .lock`."""
    inside = str(error.filename or "").partition(f"{folder}/")[2]
    return f"{error.strerror}: {inside}" if inside else str(error.strerror)


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
