"""Archives as a stranger reads them: with zstd and tar alone, knowing nothing of the relay."""

import hashlib
import subprocess
import tarfile
from pathlib import Path
from typing import IO

from tests.machine import require

_CHUNK = 1 << 20  # bytes per read


def members(archive: Path) -> set[str]:
    """Return the names of all members; every blob must have the digest that is its name."""
    command = [require("zstd"), "--decompress", "--stdout", "--quiet", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as zstd:
        assert zstd.stdout is not None
        with tarfile.open(fileobj=zstd.stdout, mode="r|") as tar:
            names = {_checked(tar, member) for member in tar if member.isfile()}
        while zstd.stdout.read(_CHUNK):
            pass
        status = zstd.wait()
    assert status == 0, f"zstd refuses {archive.name}"
    return names


def blobs(archive: Path) -> set[str]:
    """Return the digests of all blobs inside, each checked."""
    parts = [name.split("/") for name in members(archive) if name.startswith("blobs/")]
    return {f"{algorithm}:{encoded}" for _, algorithm, encoded in parts}


def _checked(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    assert file is not None
    top, _, rest = member.name.partition("/")
    if top == "blobs":
        algorithm, _, encoded = rest.partition("/")
        assert _hash(file, algorithm) == encoded, f"{member.name} has other bytes"
    return member.name


def _hash(file: IO[bytes], algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
