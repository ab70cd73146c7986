"""Content on its way into the spool, written by a thread: what a tarball holds, before it is known what it is good for.

One thread reads and hashes, as many others as there are processors frame; the pieces are those of an upload.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proxy.archive.index import Entry
from proxy.archive.pieces import PIECE, Framed, Piece, pack, unframe
from proxy.errors import TarballInvalid
from proxy.oci.digest import Digest, hashing
from proxy.runtime.files import NewFile
from proxy.spool.blob_file import BlobWriter
from proxy.tarballs.streams import Readable, up_to

WIDTH = os.cpu_count() or 1  # pieces that are framed at once, at most
_LOOK = 64 * 1024 * 1024  # bytes between two looks at the disk
_HEAD = 16  # bytes; enough to tell how something is compressed


@dataclass(frozen=True, slots=True)
class Part:
    """A blob file that no table knows: where it is, what it holds, and how that begins."""

    path: Path
    digest: Digest
    entry: Entry
    head: bytes = b""

    def read(self) -> bytes:
        """Return the whole content, which has to be small. Blocks."""
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes]:
        """Yield the content piece by piece. Blocks."""
        with self.path.open("rb") as file:
            for piece in self.entry.pieces:
                yield b"".join(unframe(file.read(piece.stored), piece))


class Reread:
    """The content of a part as a stream."""

    def __init__(self, part: Part) -> None:
        self._pieces = part.pieces()
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return 1 to `size` bytes, or none at the end. Blocks."""
        self._left = self._left or memoryview(next(self._pieces, b""))
        found, self._left = self._left[:size], self._left[size:]
        return bytes(found)


class Watcher(Protocol):
    """Is told of parts while they are written, by the thread that does that."""

    def grown(self, path: Path, piece: Piece) -> None:
        """Take note that a part has one more piece."""

    def whole(self, path: Path, digest: Digest) -> None:
        """Take note that a part is complete."""


class StagingArea:
    """Makes parts, and removes those that nobody has moved elsewhere when it is closed. All of it blocks.

    `new_path` names a file to be, `check_room` refuses when the disk is full; `width` pieces are framed at once.
    """

    def __init__(
        self,
        new_path: Callable[[], Path],
        check_room: Callable[[], None],
        *,
        level: int,
        width: int,
        watcher: Watcher | None = None,
    ) -> None:
        self._new_path = new_path
        self._check_room = check_room
        self._level = level
        self._width = width
        self._watcher = watcher
        self._pool = ThreadPoolExecutor(width, "framing")
        self._made: list[Path] = []
        self._unseen = 0  # bytes
        self._opening = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Remove what is left; a thread that still writes fails, and leaves nothing."""
        with self._opening:
            self._is_closed = True
        self._pool.shutdown(cancel_futures=True)
        for path in self._made:
            path.unlink(missing_ok=True)

    def write(self, source: Readable, algorithm: str = "sha256") -> Part:
        """Write everything that is left of a source."""
        with self._opening:
            if self._is_closed:
                raise TarballInvalid("nobody waits for it any more")
            path = self._new_path()
            self._made.append(path)
            opened = NewFile(path)
        with closing(opened) as file:
            written, digest = BlobWriter(file), hashing(algorithm)
            head, coming = b"", deque[Future[Framed]]()
            while plain := up_to(PIECE, source):
                digest.update(plain)
                head = head or plain[:_HEAD]
                coming.append(self._pool.submit(pack, plain, self._level))
                if len(coming) > self._width:
                    self._append(path, written, coming.popleft().result())
            for framed in coming:
                self._append(path, written, framed.result())
            found = Digest.finished(algorithm, digest)
            if self._watcher:
                self._watcher.whole(path, found)
            return Part(path, found, written.complete(found), head)

    def _append(self, path: Path, written: BlobWriter, framed: Framed) -> None:
        """Write a piece, and check now and then whether the disk has room for more."""
        self._unseen += framed.piece.stored
        if self._unseen > _LOOK:
            self._check_room()
            self._unseen = 0
        written.append(framed)
        if self._watcher:
            self._watcher.grown(path, framed.piece)
