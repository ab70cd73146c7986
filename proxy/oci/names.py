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
_NAME_LIMIT = 255  # characters; clients refuse more, and a folder has this name
_ESCAPES = {":": "^-", "[": "^.", "]": "^_"}
_PLAIN = {escaped[1]: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\^([a-z._-])")


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """A repository: a path such as `team/app`, or one of another registry, such as `ghcr.io/team/app`.

    The host is written in lower case. Where only a capital tells it from the first part of a path, it is all capitals.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; anything else is NAME_INVALID."""
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
        """Read a tag; anything else is TAG_INVALID."""
        if not _TAG.fullmatch(text):
            raise TagInvalid(f"not a tag: {text[:80]!r} (up to 128 letters, digits and . _ -)")
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
    colon or a capital, or is `localhost`; but `a_b.c` can only be a part of a path.
    """
    first, slash, rest = text.partition("/")
    is_part = not is_host(first) and is_path(first)
    return (first, rest) if slash and _looks_like_host(first) and not is_part else ("", text)


def _looks_like_host(text: str) -> bool:
    return text == "localhost" or text != text.lower() or not {".", ":"}.isdisjoint(text)


def is_host(text: str) -> bool:
    """Tell whether a text is a host, an IPv6 address in brackets, or one of them with a port."""
    return bool(_HOST.fullmatch(text))


def checked_host(text: str) -> str:
    """Return a host as names have it, whatever its case was; NAME_INVALID for what is none."""
    if not is_host(text):
        raise NameInvalid(f"not the host of a registry: {text[:80]!r}")
    lower = text.lower()
    return lower if _looks_like_host(lower) else text.upper()


def is_path(text: str) -> bool:
    """Tell whether a text can stand below `/v2/`."""
    return bool(_PATH.fullmatch(text))


def checked_path(text: str) -> str:
    """Return the path of a repository as it is; NAME_INVALID for what is none, such as one after `host:5000/`."""
    if len(text) > _NAME_LIMIT or not is_path(text):
        raise _no_name(text)
    return text


def _no_name(text: str) -> NameInvalid:
    return NameInvalid(f"not a repository name: {text[:80]!r} (lower case, digits and . _ - / between them)")


def escape(text: str) -> str:
    """Write a name or tag for where case may not count, and neither slash, colon nor brackets are allowed."""
    escaped = (f"^{each.lower()}" if each.isupper() else _ESCAPES.get(each, each) for each in text)
    return "".join(escaped).replace("/", "+")


def unescape(text: str) -> str:
    """Read what `escape` wrote, but for the slashes; of anything else give something that is written otherwise."""
    return _ESCAPED.sub(lambda match: _PLAIN.get(match[1], match[1].upper()), text)
