"""Names of repositories, tags and references (distribution-spec, "Pulling manifests")."""

import re
from dataclasses import dataclass
from typing import Self

from proxy.errors import NameInvalid, TagInvalid
from proxy.oci.digest import Digest

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_WORD = r"[a-zA-Z0-9]+(?:-+[a-zA-Z0-9]+)*"
_HOST = re.compile(
    rf"(?:{_WORD}(?:\.{_WORD})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
)  # `domainAndPort` of distribution/reference
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_NAME_LIMIT = 255  # characters; clients refuse longer names, and folders are named so
_ESCAPES = {":": "^-", "[": "^.", "]": "^_"}
_PLAIN = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\^([a-z._-])")


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A repository: a path such as `team/app`, or one of another registry, such as `ghcr.io/team/app`.

    The host is in lower case; or all in upper case if in lower case it would look like the first part of a path.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a name; raise NameInvalid for anything else."""
        if len(text) > _NAME_LIMIT:
            raise _no_name(text)
        host, path = ("", text) if is_path(text) else split_host(text)
        if host and (host != checked_host(host) or len(escape(text)) > _NAME_LIMIT):
            raise _no_name(text)
        checked_path(path)
        return cls(text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """A tag, such as `latest`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a tag; raise TagInvalid for anything else."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(f"not a tag: {text[:80]!r} (up to 128 letters, digits and . _ -)")
        return cls(text)

    def __str__(self) -> str:
        return self.text


def parse_reference(text: str) -> Tag | Digest:
    """Parse the reference in a `/manifests/` path: a digest if it has a colon, else a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


def label(name: Name, reference: Tag | Digest) -> str:
    """Return `name:tag` or `name@digest`."""
    return f"{name}@{reference}" if isinstance(reference, Digest) else f"{name}:{reference}"


def parse_label(text: str) -> tuple[Name, Tag | Digest]:
    """Parse `name:tag` or `name@digest`."""
    name, at, digest = text.partition("@")
    if at:
        return Name.parse(name), Digest.parse(digest)
    name, _, tag = text.rpartition(":")
    return Name.parse(name), Tag.parse(tag)


def split_host(text: str) -> tuple[str, str]:
    """Return the host of a registry, empty if there is none, and the rest of a reference.

    As `ParseNormalizedNamed` of the Go module distribution/reference does: the first component is a host if it has a
    dot, a colon or a capital, or is `localhost`; but `a_b.c` can only be part of a path.
    """
    first, slash, rest = text.partition("/")
    is_part = not is_host(first) and is_path(first)
    return (first, rest) if slash and _looks_like_host(first) and not is_part else ("", text)


def _looks_like_host(text: str) -> bool:
    return text == "localhost" or text != text.lower() or not {".", ":"}.isdisjoint(text)


def is_host(text: str) -> bool:
    """Return whether a text is a host or an IPv6 address in brackets, with or without a port."""
    return bool(_HOST.fullmatch(text))


def checked_host(text: str) -> str:
    """Return a host in the case that names have; raise NameInvalid if it is no host."""
    if not is_host(text):
        raise NameInvalid(f"not the host of a registry: {text[:80]!r}")
    lower = text.lower()
    return lower if _looks_like_host(lower) else text.upper()


def is_path(text: str) -> bool:
    """Return whether a text can be the path of a repository below `/v2/`."""
    return bool(_PATH.fullmatch(text))


def checked_path(text: str) -> str:
    """Return the path of a repository unchanged; raise NameInvalid if it is none, for example with `host:5000/`."""
    if len(text) > _NAME_LIMIT or not is_path(text):
        raise _no_name(text)
    return text


def _no_name(text: str) -> NameInvalid:
    return NameInvalid(f"not a repository name: {text[:80]!r} (lower case, digits and . _ - / between them)")


def escape(text: str) -> str:
    """Return a name or tag without capitals, slashes, colons and brackets, for places where they are not safe."""
    escaped = (f"^{each.lower()}" if each.isupper() else _ESCAPES.get(each, each) for each in text)
    return "".join(escaped).replace("/", "+")


def unescape(text: str) -> str:
    """Return what `escape` escaped, with `+` for slashes; for any other text, something that escapes differently."""
    return _ESCAPED.sub(lambda match: _PLAIN.get(match[1], match[1].upper()), text)
