"""A folder with an OCI layout, read as the tar that it would be if somebody packed it."""

import errno
import os
import tarfile
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from itertools import accumulate, islice
from pathlib import Path
from typing import TypeVar

from proxy.runtime.files import Bytes, exhaustion
from proxy.runtime.tasks import run_in_thread
from proxy.tarballs.contents import relative
from proxy.tarballs.docker import BEGINNING, first_config
from proxy.tarballs.images import DOCKER, INDEX, LAYOUT

T = TypeVar("T")

_MOST_FILES = 10_000  # more than any reader of the tar takes


def index_of(root: Path) -> Path:
    """Return the file that names the images of a folder: of an OCI layout, or of what `docker save` writes.

    Raise FileNotFoundError if it is another folder, and other OSErrors. Blocks.
    """
    if (root / INDEX).exists():
        blobs = (root / "blobs" / "sha256").glob("[0-9a-f]" * 64)  # where the mark of a layout is missing
        if (root / LAYOUT).exists() or next(blobs, None):
            return root / INDEX
    absent = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(root))
    if not (root / DOCKER).is_file():  # opening a pipe would wait for its other end
        raise absent
    with (root / DOCKER).open("rb") as file:
        config = first_config(file.read(BEGINNING))
    if not config or "\0" in config or not (root / relative(config)).exists():
        raise absent
    return root / DOCKER


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

        def work() -> T:
            found = bytearray()
            for number in range(max(0, bisect_right(self._starts, start) - 1), bisect_left(self._starts, stop)):
                content, size = self._parts[number]
                first, last = max(0, start - self._starts[number]), min(size, stop - self._starts[number])
                if isinstance(content, bytes):
                    found += content[first:last]
                elif first < last:
                    with exhaustion():
                        descriptor = os.open(content, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                    try:
                        found += os.pread(descriptor, last - first, first)
                    finally:
                        os.close(descriptor)
            return then(bytes(found))

        return await run_in_thread(work)
