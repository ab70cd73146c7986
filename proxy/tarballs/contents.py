"""The files and links of a tarball, found by their names."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proxy.errors import RegistryError, TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.manifest import LIMIT, Manifest, parse

_HOPS = 40  # links that are followed to a file, as many as Linux follows


def relative(path: str) -> str:
    """Return a path without `.`, inner `..` and leading slashes, as tar strips it."""
    return posixpath.normpath(path).lstrip("/")


@dataclass(frozen=True, slots=True)
class File:
    """A file of the tarball: its digest, its size in bytes, and its first bytes."""

    digest: Digest
    size: int
    head: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """The files and links of a tarball.

    `read` returns the bytes of a file that is small enough to be a manifest or a config, by its digest.
    """

    files: Mapping[str, File]
    links: Mapping[str, str]
    read: Callable[[Digest], bytes]

    def file(self, name: str) -> File | None:
        """Find a file by its path, or by that of a link to it."""
        name = relative(name)
        for _ in range(_HOPS):
            if name not in self.links:
                break
            name = self.links[name]
        return self.files.get(name)

    def text(self, file: File, name: str) -> bytes:
        """Return the bytes of a small file; raise TarballInvalid, with the name, if it is not small."""
        if file.size > LIMIT:
            raise TarballInvalid(f"{name} has {file.size} bytes, a reader takes {LIMIT}")
        return self.read(file.digest)

    def manifest(self, file: File, media_type: str, name: str) -> Manifest:
        """Parse a file as a manifest; raise TarballInvalid, with the name, if it is none."""
        text = self.text(file, name)
        try:
            return parse(text, media_type)
        except RegistryError as error:
            raise TarballInvalid(f"{name} cannot be read: {error.message}") from error
