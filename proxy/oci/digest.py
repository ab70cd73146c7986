"""Content digests (image-spec, descriptor.md, "Digests"): sha256 and sha512, nothing else."""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from proxy.errors import DigestInvalid

_HEX = {"sha256": re.compile(r"[a-f0-9]{64}"), "sha512": re.compile(r"[a-f0-9]{128}")}


class Hash(Protocol):
    """What the service uses of a hashlib object."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Give the digest of all bytes so far, in lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A digest that is known to be well-formed; `str` gives it as `algorithm:hex`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `algorithm:hex`; anything else is DIGEST_INVALID."""
        algorithm, _, value = text.partition(":")
        grammar = _HEX.get(algorithm)
        if grammar is None or not grammar.fullmatch(value):
            raise DigestInvalid(f"not a sha256 or sha512 digest: {text[:80]!r}")
        return cls(algorithm, value)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Compute the digest of content."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    @classmethod
    def finished(cls, algorithm: str, content: Hash) -> Self:
        """Give the digest that a hash of this algorithm arrived at."""
        return cls(algorithm, content.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def hashing(algorithm: str) -> Hash:
    """Start a hash; an unknown algorithm is DIGEST_INVALID."""
    if algorithm not in _HEX:
        raise DigestInvalid(f"unknown digest algorithm {algorithm[:40]!r}; use sha256 or sha512")
    return hashlib.new(algorithm)
