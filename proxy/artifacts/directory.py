"""The directory store: one file `<artifact>.tar.zst` per artifact, the embedded default.

A file is written beside its place and appears by a rename, whole or not at all; so it also takes the place of an older
one. It is safe against the death of the process, not against that of the machine: nothing is forced to the disk.
Tarballs with other endings, and folders with an OCI layout, are artifacts that others put there.
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
from proxy.artifacts.layout_folder import LayoutFolder, index_of
from proxy.artifacts.naming import SUFFIX
from proxy.runtime.files import LocalFile, NewFile, Source, exhaustion, identity, trouble
from proxy.runtime.limits import Policy, Rereading
from proxy.runtime.tasks import run_in_thread
from proxy.tarballs.kinds import TARBALLS

_INCOMING = ".incoming"  # files being written; a name no archive can have
_BATCH = 4 * 1024 * 1024  # bytes per write; small parts are gathered
_NOWHERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # what a name leads to that leads to no file
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class DirectoryStore:
    """Artifacts as files of one folder."""

    overwrites = True
    is_remote = False
    closed = undeletable = ""
    rereading = Rereading(Policy(attempts=1), rest=2.0)  # what is read here does not change on its way

    def __init__(self, root: Path) -> None:
        self._root = root

    async def prepare(self) -> None:
        """Make the folder, and remove what a process that died was writing."""
        await run_in_thread(shutil.rmtree, self._root / _INCOMING, ignore_errors=True)
        await makedirs(self._root / _INCOMING, exist_ok=True)

    def may_replace(self, artifact: Artifact) -> bool:
        """Return that there is only one owner."""
        return artifact.owner == ""

    def now(self) -> datetime:
        """Return the time by the clock of this machine."""
        return datetime.now(UTC)

    async def listed(self) -> list[Artifact]:
        """Return all artifacts, in no particular order; raise StoreRefused if the folder cannot be read."""
        return await run_in_thread(self._scan)

    def expire(self) -> None:
        """Do nothing: each listing is new."""

    def _scan(self) -> list[Artifact]:
        try:
            with exhaustion(), os.scandir(self._root) as entries:
                there = [each for each in entries if not each.name.startswith(".")]
                folders = [each.name for each in there if each.is_dir(follow_symlinks=False)]
        except FileNotFoundError:  # somebody has tidied up
            return []
        except OSError as error:
            raise StoreRefused(f"cannot read {self._root}: {error.strerror}") from error
        files = [each for each in there if each.name.lower().endswith(TARBALLS)]
        found = (*map(self._artifact, files), *map(self._layout, folders))
        return [each for each in found if each]

    def _artifact(self, entry: os.DirEntry[str]) -> Artifact | None:
        """Describe a file; None for what is none, or not any more. One that keeps its state to itself is listed too."""
        file = entry.name
        try:
            status = entry.stat()
        except OSError as error:
            return None if error.errno in _NOWHERE else Artifact(file.removesuffix(SUFFIX), f"?/{file}", _LATEST, 0)
        return _artifact(file, status) if stat.S_ISREG(status.st_mode) else None

    def _layout(self, folder: str) -> Artifact | None:
        """Describe a folder with an OCI layout, which is another one when its index is; None for any other folder."""
        try:
            return _artifact(folder, index_of(self._root / folder).stat())
        except OSError:
            return None

    async def put(self, name: str, body: Body, claim: Claim = NOBODYS) -> Artifact:
        """Store a file, in the place of one of the same name."""
        part = self._root / _INCOMING / str(uuid.uuid4())
        others = {_file(key) for key in claim.known} - {name + SUFFIX}
        try:
            status = await run_in_thread(self._newest, await self._write(part, body), part, others)
            await run_in_thread(part.rename, self._root / (name + SUFFIX))
            return _artifact(name + SUFFIX, status)
        except OSError as error:
            if error.errno is None:  # not of this disk: the body has failed
                raise
            if isinstance(error, IsADirectoryError):
                raise StoreRefused(f"{name + SUFFIX} is a folder in {self._root}; remove it and push again") from error
            raise StoreRefused(trouble(self._root, error)) from error
        finally:
            with suppress(OSError):  # the failure before this one is told; the next start removes the rest
                await run_in_thread(part.unlink, missing_ok=True)

    def _newest(self, status: os.stat_result, part: Path, others: set[str]) -> os.stat_result:
        """Make a file newer than others of its reference, whatever clock wrote those; return its status."""
        latest = 0.0
        for other in others:
            with suppress(OSError):  # it is gone, or cannot be looked at
                latest = max(latest, (self._root / other).stat().st_mtime)
        if latest < status.st_mtime:
            return status
        os.utime(part, (latest + 1, latest + 1))
        return part.stat()

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

    async def open(self, artifact: Artifact) -> Source:
        """Open the file, or the folder, if it still is the one that was listed."""
        try:
            opened, content = await run_in_thread(_opened, self._root / _file(artifact.id))
        except OSError as error:
            if error.errno in _NOWHERE:
                raise ArtifactGone(artifact.name) from error
            raise StoreRefused(f"{error.strerror}; check the file {_file(artifact.id)}") from error
        if _id(content, _file(artifact.id)) != artifact.id:
            raise ArtifactGone(artifact.name)
        return opened

    async def delete(self, artifact: Artifact) -> bool:
        """Remove the file, if it still is the one that was listed; return whether it was."""
        try:
            return await run_in_thread(self._remove, artifact)
        except OSError as error:
            raise StoreRefused(trouble(self._root, error)) from error

    def _remove(self, artifact: Artifact) -> bool:
        path = self._root / _file(artifact.id)
        with suppress(FileNotFoundError):
            if artifact.id in {_id(identity(path.stat()), path.name), f"?/{path.name}"}:
                path.unlink()
                return True
        return False


def _artifact(file: str, status: os.stat_result) -> Artifact:
    """Describe a file, or a folder by the status of its index."""
    seconds = status.st_mtime
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError):  # a file may have the year 10000
        time = _LATEST if seconds > 0 else _EARLIEST
    name = file.removesuffix(SUFFIX)
    return Artifact(name, _id(identity(status), file), time, status.st_size, foreign=name == file)


def _opened(path: Path) -> tuple[Source, str]:
    """Open a file or a layout; return what tells its content from others, too. Blocks."""
    if path.is_dir():
        return LayoutFolder(path), identity(index_of(path).stat())
    opened = LocalFile.open(path, pinned=False)
    return opened, opened.identity


def _id(content: str, file: str) -> str:
    """Distinguish files of the same content: of hard links each has a name of its own."""
    return f"{content}/{file}"


def _file(key: str) -> str:
    """Return the name of the file, or folder, with this id."""
    return key.partition("/")[2]
