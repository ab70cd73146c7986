"""References of images as people and engines write them, parsed as the Go module distribution/reference does.

`[host/]path[:tag][@digest]`. `action/references.mjs` does the same in JavaScript; both are tested with the same cases.
"""

import re
from dataclasses import dataclass
from typing import Self

from proxy.errors import NameInvalid, TagInvalid
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, checked_host, checked_path, is_host, label, split_host

_HUB = frozenset({"docker.io", "index.docker.io"})
_LOOPBACK = re.compile(r"(?:(?:[a-z0-9.-]+\.)?localhost|127(?:\.[0-9]+)+|\[(?:0*:)+0*1\])(?::[0-9]+)?")
_ID = re.compile(r"(?:sha256:)?[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_FILE = re.compile(r"(?:.*/)?[^/:@]*\.(?:tar|tgz)(?:\.[a-z0-9]+)?", re.IGNORECASE)  # a tag may be anything
LATEST = Tag("latest")  # what a reference without a tag means


def is_file(text: str) -> bool:
    """Return whether a text is the name of a tarball: `image.tar`, which is an image name by its grammar only."""
    return bool(_FILE.fullmatch(text))


def is_id(text: str) -> bool:
    """Return whether a text is the whole id of an image, and so no name."""
    return bool(_ID.fullmatch(text))


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. The host is empty for Docker Hub and if none was given; then the path has no `library/`."""

    host: str
    path: str
    tag: Tag | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a reference, not the id of an image; raise NameInvalid, TagInvalid or DigestInvalid."""
        if is_id(text):
            raise NameInvalid(f"{text[:19]}… is the id of an image; write its name, such as app:v1")
        if "://" in text:
            raise NameInvalid(f"{text[:80]!r} is a URL, not an image name; leave out what is before the host")
        host, rest = split_host(text)
        tagged, at, digest = rest.partition("@")
        path, colon, tag = tagged.partition(":")
        if host and not is_host(host):
            raise NameInvalid(
                f"not an image name: {text[:80]!r} (the part before its first slash is not a host; tags have no slash)"
            )
        if colon and not tag:
            raise TagInvalid(f"{text[:80]!r} has no tag after its colon: is a variable empty?")
        official = host in {"", *_HUB}
        path = checked_path(path)
        return cls(
            "" if official else host,
            _short(path) if official else path,
            Tag.parse(tag) if colon else None,
            Digest.parse(digest) if at else None,
        )

    def name(self, relay: str) -> Name:
        """Return the repository that it names; `relay` is the public host of this relay, if it has one."""
        return repository(self.host, self.path, relay)

    @property
    def wanted(self) -> Tag | Digest:
        """The digest if there is one, as Docker does, else the tag, else `latest`."""
        return self.digest or self.tag or LATEST

    def __str__(self) -> str:
        """Return it as engines show it: with a tag or a digest, without the parts that Docker omits."""
        path = f"{self.host}/{self.path}" if self.host else self.path
        return label(Name(path), self.wanted)


def repository(host: str, path: str, relay: str = "") -> Name:
    """Return the repository of a host and a path under its only name; raise NameInvalid.

    Docker Hub, the hosts of this machine, and `relay`, do not count as other registries; the path may begin with one.
    """
    while host:
        known = checked_host(host)
        if not (known in _HUB or known == relay.lower() or is_loopback(known)):
            return Name.parse(f"{known}/{path}")
        host, path = split_host(path)
    return Name.parse(_short(path))


def is_loopback(place: str) -> bool:
    """Return whether a host in lower case, with or without a port, means this machine."""
    return bool(_LOOPBACK.fullmatch(place))


def repository_below(path: str, registry: str = "", relay: str = "") -> Name:
    """Return the repository of a path below `/v2/`, in a registry if one is named; raise NameInvalid."""
    checked_path(path)
    return repository(registry, path, relay) if registry else repository(*split_host(path), relay)


def _short(path: str) -> str:
    """Return the path of an image without the `library/` of official ones."""
    return path.removeprefix("library/") if path.count("/") == 1 else path
