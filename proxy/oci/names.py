"""Names of repositories, tags and references (distribution-spec, "Pulling manifests")."""

import re
from dataclasses import dataclass
from typing import Self

from proxy.errors import NameInvalid, RegistryError, TagInvalid
from proxy.oci.digest import Digest

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HUB = frozenset({"docker.io", "index.docker.io"})
_NAME_LIMIT = 255  # characters; clients refuse more, host included


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A repository name, such as `app` or `team/app`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; anything else is NAME_INVALID."""
        if len(text) > _NAME_LIMIT or not _NAME.fullmatch(text):
            raise NameInvalid(f"not a repository name: {text[:160]!r} (lower case, digits and . _ - / between them)")
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag, such as `latest`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a tag; anything else is TAG_INVALID."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(f"not a tag: {text[:160]!r} (up to 128 letters, digits and . _ -)")
        return cls(text)

    def __str__(self) -> str:
        return self.text


def parse_reference(text: str) -> Tag | Digest:
    """Read what stands behind `/manifests/`: with a colon a digest, else a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def label(name: Name, reference: Tag | Digest) -> str:
    """Write `name:tag` or `name@digest`."""
    return f"{name}@{reference}" if isinstance(reference, Digest) else f"{name}:{reference}"


def parse_label(text: str) -> tuple[Name, Tag | Digest]:
    """Read `name:tag` or `name@digest`."""
    name, at, digest = text.partition("@")
    if at:
        return Name.parse(name), Digest.parse(digest)
    name, _, tag = text.rpartition(":")
    return Name.parse(name), Tag.parse(tag)


def split_host(text: str) -> tuple[str, str]:
    """Part the host of a registry, if there is one, from the rest of a reference.

    As `ParseNormalizedNamed` of the Go module distribution/reference: the first component is a host if it has a dot, a
    colon or a capital, or is `localhost`.
    """
    first, slash, rest = text.partition("/")
    is_host = first == "localhost" or first != first.lower() or not {".", ":"}.isdisjoint(first)
    return (first, rest) if slash and is_host else ("", text)


def without_host(text: str) -> tuple[Name, Tag] | None:
    """Read `[host/]name:tag`, as engines name images, and leave the host out; None for anything else."""
    host, rest = split_host(text)
    name, _, tag = (rest.removeprefix("library/") if host in _HUB else rest).rpartition(":")
    try:
        return Name.parse(name), Tag.parse(tag)
    except RegistryError:
        return None
