"""A folder with an OCI layout, read as the tar that it would be if somebody packed it."""

import os
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import TypeVar

from proxy.runtime.files import Bytes
from proxy.runtime.tasks import run_in_thread

T = TypeVar("T")

_MOST_FILES = 10_000  # more than any reader of the tar takes


class LayoutFolder:
    """The files of a folder as a source of a plain tar. The constructor blocks; symbolic links are left out."""

    read_ahead = 0
    is_local = True
    entire = False

    def __init__(self, root: Path) -> None:
        self._parts: list[tuple[bytes | Path, int]] = []  # headers and padding, or files, and how many bytes each has
        paths = (Path(parent, each) for parent, _, files in os.walk(root) for each in files)
        for path in islice((each for each in paths if each.is_file() and not each.is_symlink()), _MOST_FILES):
            header = tarfile.TarInfo(path.relative_to(root).as_posix())
            header.size = path.lstat().st_size
            padding = bytes(-header.size % tarfile.BLOCKSIZE)
            text = header.tobuf(tarfile.GNU_FORMAT, errors="surrogateescape")
            self._parts += [(text, len(text)), (path, header.size), (padding, len(padding))]
        self._parts.append((bytes(2 * tarfile.BLOCKSIZE), 2 * tarfile.BLOCKSIZE))
        self._starts = list(accumulate((size for _, size in self._parts), initial=0))
        self.size = self._starts.pop()

    async def read(self, start: int, stop: int, then: Callable[[Bytes], T]) -> T:
        """Read the bytes [start, stop), fewer if a file has become shorter."""
        return await run_in_thread(lambda: then(b"".join(self._between(start, stop))))

    def _between(self, start: int, stop: int) -> Iterator[bytes]:
        for number in range(max(0, bisect_right(self._starts, start) - 1), len(self._parts)):
            content, begin = self._parts[number][0], self._starts[number]
            if begin >= stop:
                return
            first, last = max(0, start - begin), min(self._parts[number][1], stop - begin)
            if isinstance(content, bytes):
                yield content[first:last]
            elif first < last:
                descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    yield os.pread(descriptor, last - first, first)
                finally:
                    os.close(descriptor)
