"""The directory store: one file `<artifact>.tar.zst` per artifact, the embedded default.

A file is written beside its place and appears by a rename, whole or not at all; so it also takes the place of an older
one. It is safe against the death of the process, not against that of the machine: nothing is forced to the disk.
"""

import errno
import os
import shutil
import stat
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiofiles.os import makedirs

from proxy.artifacts.base import NOBODYS, Artifact, ArtifactGone, Body, Claim, StoreRefused
from proxy.artifacts.naming import SUFFIX
from proxy.runtime.files import LocalFile, NewFile, identity, trouble
from proxy.runtime.limits import Policy, Rereading
from proxy.runtime.tasks import run_in_thread

_INCOMING = ".incoming"  # files being written; a name no archive can have
_BATCH = 4 * 1024 * 1024  # bytes per write; small parts are gathered
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # what a name leads to that leads to no file
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class DirectoryStore:
    """Artifacts as files of one folder."""

    overwrites = True
    is_remote = False
    closed = ""
    rereading = Rereading(Policy(attempts=1), rest=2.0)  # what is read here does not change on its way

    def __init__(self, root: Path) -> None:
        self._root = root

    async def prepare(self) -> None:
        """Make the folder, and remove what a process that died was writing."""
        await run_in_thread(shutil.rmtree, self._root / _INCOMING, ignore_errors=True)
        await makedirs(self._root / _INCOMING, exist_ok=True)

    def may_replace(self, artifact: Artifact) -> bool:
        """Tell that there is only one owner."""
        return artifact.owner == ""

    def now(self) -> datetime:
        """Return the time by the clock of this machine."""
        return datetime.now(UTC)

    async def listed(self) -> list[Artifact]:
        """Return all artifacts, in no particular order; raise StoreRefused if the folder cannot be read."""
        return await run_in_thread(self._scan)

    def _scan(self) -> list[Artifact]:
        try:
            with os.scandir(self._root) as entries:
                names = [each.name for each in entries if each.name.endswith(SUFFIX)]
        except FileNotFoundError:  # somebody has tidied up
            return []
        except OSError as error:
            raise StoreRefused(f"cannot read {self._root}: {error.strerror}") from error
        return [found for each in names if (found := self._artifact(each.removesuffix(SUFFIX)))]

    def _artifact(self, name: str) -> Artifact | None:
        """Describe a file; None for what is none, or not any more. One that keeps its state to itself is listed too."""
        try:
            status = self._path(name).stat()
        except OSError as error:
            return None if error.errno in _NOWHERE else Artifact(name, f"?/{name}", _LATEST, 0)
        return _artifact(name, status) if stat.S_ISREG(status.st_mode) else None

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store a file, in the place of one of the same name."""
        part = self._root / _INCOMING / str(uuid.uuid4())
        try:
            status = await self._write(part, body)
            await run_in_thread(part.rename, self._path(name))
            return _artifact(name, status)
        except OSError as error:
            if error.errno is None:  # not of this disk: the body has failed
                raise
            raise StoreRefused(trouble(self._root, error)) from error
        finally:
            with suppress(OSError):  # the failure before this one is told; the next start removes the rest
                await run_in_thread(part.unlink, missing_ok=True)

    async def _write(self, part: Path, body: Body) -> os.stat_result:
        await makedirs(part.parent, exist_ok=True)  # somebody may have tidied up
        file = await run_in_thread(NewFile, part)
        try:
            batch: list[bytes | bytearray | memoryview] = []
            held = written = 0
            async for piece in body.parts():
                batch.append(piece)
                held += len(piece)
                if held >= _BATCH:
                    await run_in_thread(file.write, batch, written)
                    written, held, batch = written + held, 0, []
            await run_in_thread(file.write, batch, written)
            return await run_in_thread(file.status)
        finally:
            await run_in_thread(file.close)

    async def open(self, artifact: Artifact) -> LocalFile:
        """Open the file, if it still is the one that was listed."""
        try:
            file = await run_in_thread(LocalFile.open, self._path(artifact.name), pinned=False)
        except OSError as error:
            if error.errno in _NOWHERE:
                raise ArtifactGone(artifact.name) from error
            raise StoreRefused(f"{error.strerror}; check the file {artifact.name}{SUFFIX}") from error
        if _id(file.identity, artifact.name) != artifact.id:
            raise ArtifactGone(artifact.name)
        return file

    async def delete(self, artifact: Artifact) -> None:
        """Remove the file, if it still is the one that was listed."""
        try:
            await run_in_thread(self._remove, artifact)
        except OSError as error:
            raise StoreRefused(trouble(self._root, error)) from error

    def _remove(self, artifact: Artifact) -> None:
        path = self._path(artifact.name)
        with suppress(FileNotFoundError):
            if artifact.id in {_id(identity(path.stat()), artifact.name), f"?/{artifact.name}"}:
                path.unlink()

    def _path(self, name: str) -> Path:
        return self._root / (name + SUFFIX)


def _artifact(name: str, status: os.stat_result) -> Artifact:
    seconds = status.st_mtime
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # a file may have the year 10000
        time = _LATEST if seconds > 0 else _EARLIEST
    return Artifact(name, _id(identity(status), name), time, status.st_size)


def _id(content: str, name: str) -> str:
    """Tell files of the same content apart: of hard links each has a name of its own."""
    return f"{content}/{name}"
