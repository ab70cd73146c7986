"""How files of the spool are named and moved, and what a client is told when the disk fails."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxy.errors import Denied, RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import Name, escape, unescape
from proxy.runtime.files import trouble


@contextmanager
def disk_troubles(root: Path) -> Iterator[None]:
    """Raise DENIED for an error of the disk within the block."""
    try:
        yield
    except ConnectionError:
        raise  # of the client, who may come back
    except OSError as error:
        raise Denied(trouble(root, error)) from error


def files_in(folder: Path) -> list[Path]:
    """Return the files two folders below this one."""
    return [path for path in folder.glob("*/*") if path.is_file()]


def files_of_repositories(folder: Path) -> list[tuple[Path, Name, Digest]]:
    """Find the files of repositories; what others put there, such as a file manager, is passed over."""
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


def folder_name(name: Name) -> str:
    """Return the name of a repository's folder."""
    return escape(name.text)


def file_name(digest: Digest) -> str:
    """Return the name of a digest's file in the folder of a repository."""
    return f"{digest.algorithm}+{digest.hex}"
