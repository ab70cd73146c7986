"""How files of the spool are named and moved, and what a client is told when the disk fails."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.errors import Denied, RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import Name, escape, unescape
from proxy.runtime.files import exhaustion, trouble
from proxy.text import format_size


@contextmanager
def disk_troubles(root: Path) -> Iterator[None]:
    """Raise Denied for an error of the disk within the block, TooManyRequests for too many open files."""
    try:
        with exhaustion():
            yield
    except ConnectionError:
        raise  # of the client, who may come back
    except OSError as error:
        raise Denied(trouble(root, error)) from error


def files_in(folder: Path) -> list[Path]:
    """Return the files two folders below this one."""
    return [path for path in folder.glob("*/*") if path.is_file()]


def files_of_repositories(folder: Path) -> list[tuple[Path, Name, Digest]]:
    """Return the files of repositories; files that others put there, such as a file manager, are ignored."""
    found = []
    for path in files_in(folder):
        with suppress(RegistryError):
            name = Name.parse(unescape(path.parent.name).replace("+", "/"))
            found.append((path, name, Digest.parse(path.name.replace("+", ":", 1))))
    return found


def move(part: Path, target: Path) -> None:
    """Rename a file that is complete to its final path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part.rename(target)


def touch(path: Path) -> None:
    """Make an empty file, or renew its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def path_in_repository(folder: Path, name: Name, digest: Digest) -> Path:
    """Return the path of the file that a repository has for a digest below a folder."""
    return folder / escape(name.text) / f"{digest.algorithm}+{digest.hex}"


def new_path(root: Path) -> Path:
    """Return a path for a file that is to be written; somebody may have removed the folder. Blocking."""
    path = root / "uploads" / str(uuid.uuid4())
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def free_bytes(root: Path) -> int:
    """Return how many bytes of the disk are free; somebody may have removed the folder. Blocking."""
    root.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(root).free


def check_room(root: Path, least: int) -> None:
    """Raise Denied if fewer than `least` bytes of the disk are free. Blocking."""
    if (free := free_bytes(root)) < least:
        raise Denied(
            f"only {format_size(free)} are free in {root}, and {format_size(least)} are needed: free some space and "
            "push again, or use another disk (RELAY_DATA)"
        )
