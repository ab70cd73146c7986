"""Names of artifacts: which reference an artifact holds can be read off its name.

`image-<repository>@<tag>`, or `image-<repository>@sha256+<hex>` for what has no tag. `/` becomes `+` and an upper-case
letter `^x`, since names may be case-insensitive and may not hold a slash. Of the host of a registry `:` becomes
`^-`, `[` `^.` and `]` `^_`. A name over 200 characters is cut and ends in `=<hash>`; only the index of such an artifact
tells its reference. `~2`, `~3`, … follow where the plain name is taken.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, escape, unescape

SUFFIX = ".tar.zst"  # of the file in an artifact, or in a folder
HIGHEST = 99_999_999  # N that counts: what is one more can still be read off a name
_NAMES = 2**17  # whose parts are remembered: every request looks at every name of the listing
_LIMIT = 200  # characters; the artifact service takes 256, and `~N` has to fit
_HASH = 32  # hexadecimal digits, 128 bits
_NUMBERED = re.compile(r"(.*)~([1-9][0-9]{0,8})")


class Numbered(NamedTuple):
    """The name of an artifact without its `~N`, and N, which is 1 where none stands."""

    plain: str
    number: int


@dataclass(frozen=True, slots=True)
class Naming:
    """Encodes references under one prefix, and decodes them again."""

    prefix: str

    def encode(self, name: Name, reference: Tag | Digest) -> str:
        """Return the name of the artifact that holds this reference."""
        what = f"{reference.algorithm}+{reference.hex}" if isinstance(reference, Digest) else reference.text
        full = self.prefix + escape(name.text) + "@" + escape(what)
        if len(full) <= _LIMIT:
            return full
        return full[: _LIMIT - _HASH - 1] + "=" + hashlib.sha256(full.encode()).hexdigest()[:_HASH]

    def decode(self, artifact: str) -> tuple[Name, Tag | Digest] | None:
        """Read a reference off the name of an artifact; None for a shortened name, and for what is none of ours."""
        return _decode(self, artifact)

    def may_be_shortened(self, artifact: str) -> bool:
        """Return whether the reference of this artifact is in its index only."""
        return any(map(self._is_shortened, meanings(artifact)))

    def may_be_of(self, name: Name, artifact: str) -> bool:
        """Return whether an artifact can be of this repository, as far as its name tells."""
        start = (self.prefix + escape(name.text) + "@")[: _LIMIT - _HASH - 1]
        known = (self.decode(plain) for plain in meanings(artifact))
        return any(each and each[0] == name for each in known) or (
            self.may_be_shortened(artifact) and artifact.startswith(start)
        )

    def _is_shortened(self, plain: str) -> bool:
        return plain.startswith(self.prefix) and len(plain) == _LIMIT and plain[-_HASH - 1] == "="


@lru_cache(maxsize=_NAMES)
def _decode(naming: Naming, artifact: str) -> tuple[Name, Tag | Digest] | None:
    plain = numbered(artifact).plain
    name, _, what = plain.removeprefix(naming.prefix).partition("@")
    if not plain.startswith(naming.prefix):
        return None
    try:
        what = unescape(what)
        reference = Digest.parse(what.replace("+", ":", 1)) if "+" in what else Tag.parse(what)
        decoded = Name.parse(unescape(name).replace("+", "/")), reference
    except RegistryError:
        return None
    return decoded if naming.encode(*decoded) == plain else None


@lru_cache(maxsize=_NAMES)
def numbered(artifact: str) -> Numbered:
    """Part `~N` from the name of an artifact."""
    match = _NUMBERED.fullmatch(artifact)
    return Numbered(match[1], int(match[2])) if match else Numbered(artifact, 1)


@lru_cache(maxsize=_NAMES)
def meanings(artifact: str) -> tuple[str, ...]:
    """Return the encoded references that an artifact may answer for, the likelier one first.

    Two for one that is called as a file is: `upload-artifact` gives the name of the file to an artifact that it does
    not zip, and a tag may end so too.
    """
    plain = numbered(artifact).plain
    if not artifact.endswith(SUFFIX):
        return (plain,)
    return numbered(artifact.removesuffix(SUFFIX)).plain, plain
