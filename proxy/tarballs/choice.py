"""Which file of an artifact is meant: by names, or by how its files begin. The rule in words is in docs/tarballs.md."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import TypeVar

from proxy.errors import TarballInvalid
from proxy.tarballs.kinds import TARBALLS
from proxy.tarballs.members import members
from proxy.tarballs.streams import Readable, plain

T = TypeVar("T")

_ENDS = (*TARBALLS, ".cnb", ".oci", ".docker", ".img", ".zip")  # what a file is called without
_RUNS = re.compile(r"[^a-z0-9]+")
_SEPARATORS = {".", "_", "__"}  # of a repository name, beside hyphens
_FOLDERS = 8  # in the name of a file that may be asked for
_SHOWN = 5  # names in a message
_LOOK = 64 * 1024  # bytes of a file, decompressed, that say what it is
_OF_IMAGE = re.compile(  # how the first file of a tarball of an image is called, by whatever tool wrote it
    r"blobs/|(oci-layout|index\.json|manifest\.json|repositories|config\.json)$|(sha256:)?[0-9a-f]{64}(/|\.|$)|[^/]+/(VERSION|json|layer\.tar)$"
)


class NotChosen(TarballInvalid):
    """An artifact has no tarball, or several, and nothing says which one is meant."""


class FileKind(IntEnum):
    """What a file is, as far as its beginning tells."""

    OTHER, TARBALL, IMAGE = range(3)


class _Beginning:
    """The beginning of a stream."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._left = _LOOK

    def read(self, size: int, /) -> bytes:
        found = self._source.read(min(size, self._left)) if self._left else b""
        self._left -= len(found)
        return found


def file_kind(source: Readable) -> FileKind:
    """Return what a file is, compressed or not, by its first member. Blocks."""
    try:
        first = next(members(_Beginning(plain(source))), None)
    except TarballInvalid:
        return FileKind.OTHER
    return FileKind.IMAGE if first and _OF_IMAGE.match(first.name) else FileKind.TARBALL if first else FileKind.OTHER


def slug(text: str) -> str:
    """Return a text as a part of a repository name: in lower case, with `-` for what such a name may not have."""
    return _RUNS.sub(lambda run: run[0] if run[0] in _SEPARATORS else "-", text.lower()).strip("-._")


def without_ending(name: str) -> str:
    """Return the name of a file without its ending, if that is one of a tarball."""
    end = max((each for each in _ENDS if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(end)]


def matching(items: Sequence[T], wanted: str, name: Callable[[T], str]) -> list[T]:
    """Return the items that are called as `wanted`, all of them equally well; none if none is called so.

    A whole name comes before the last part of a path, one with its ending before one without, and any of them before
    what only becomes the same as a part of a repository name (`slug`).
    """
    key = slug(wanted.rpartition("/")[2])
    items = [each for each in items if key in keys_of(name(each))]  # far fewer, as a rule
    for level in zip(*(names_of(name(each)) for each in items), strict=True):
        if found := [each for each, names in zip(items, level, strict=True) if wanted in names]:
            return found
    return []


def keys_of(path: str) -> set[str]:
    """Return what the last part of every name that a file may be asked for by (`names_of`) becomes as a `slug`."""
    last = path.rstrip("/").rpartition("/")[2]
    return {slug(last), slug(without_ending(last))}


def names_of(path: str) -> Iterator[set[str]]:
    """Yield by which names a file may be asked for, the likeliest first."""
    path = path.rstrip("/")
    parts = path.lower().split("/")[-_FOLDERS:]
    tails = ["/".join(parts[number:]) for number in range(len(parts))]
    stems = [without_ending(each) for each in tails]
    yield {path}
    yield {path.lower()}
    yield set(tails)
    yield {without_ending(path.lower())}
    yield set(stems)
    yield {"/".join(map(slug, each.split("/"))) for each in (*tails, *stems)}


def is_called(path: str, wanted: str) -> bool:
    """Return whether a file may be asked for by this name."""
    return bool(matching([path], wanted, str))


@dataclass(frozen=True)
class Choice:
    """The files of an artifact, without those of the layouts in it, and the folders of these, each with `/` behind it.

    `kinds` says what the files are that were looked at. There may be thousands, and each request asks.
    """

    files: tuple[str, ...]
    layouts: tuple[str, ...] = ()
    kinds: Mapping[str, FileKind] = field(default_factory=dict)

    @cached_property
    def images(self) -> list[str]:
        """The layouts and files that are images by how they begin."""
        return [*self.layouts, *(each for each in self.files if self.kinds.get(each) is FileKind.IMAGE)]

    @cached_property
    def tarballs(self) -> list[str]:
        """The layouts and files that are tarballs, by their ending or by how they begin."""
        found = (each for each in self.files if each.lower().endswith(TARBALLS) or self.kinds.get(each))
        return [*self.layouts, *found]

    @cached_property
    def by_key(self) -> Mapping[str, list[str]]:
        """The layouts and files by what `keys_of` says of them."""
        found = defaultdict[str, list[str]](list)
        for each in (*self.layouts, *self.files):
            for key in keys_of(each):
                found[key].append(each)
        return found

    def called(self, wanted: str) -> list[str]:
        """Return the files and layouts that may be called so."""
        return self.by_key.get(slug(wanted.rpartition("/")[2]), [])

    def chosen(self, artifact: str, *wanted: str) -> str:
        """Return the file or layout that is called as one of `wanted`, else as the artifact, else the only tarball.

        Raise NotChosen, with the names, if there is none or more than one.
        """
        for name in wanted:
            if found := matching(self.called(name), name, str):
                return _only(found)
        named, among = list[str](), set(self.tarballs)
        for name in (artifact, slug(artifact)):
            named = named or matching([each for each in self.called(name) if each in among], name, str)
        there, tarballs = [*self.layouts, *self.files], self.tarballs
        for group in (named, self.images, tarballs, there):
            if len(group) == 1:
                return group[0]
        return _only(tarballs, there)


def _only(found: Sequence[str], there: Sequence[str] = ()) -> str:
    if len(found) == 1:
        return found[0]
    among = found or there
    shown = ", ".join(each.rstrip("/") or "." for each in among[:_SHOWN]) + (", …" if len(among) > _SHOWN else "")
    raise NotChosen(f"{'several tarballs are' if found else 'no tarball is'} in it ({shown or 'nothing'})")


def is_litter(path: str) -> bool:
    """Return whether a file is one of those that macOS puts beside others."""
    return posixpath.basename(path).startswith(("._", ".DS_Store")) or path.startswith("__MACOSX/")
