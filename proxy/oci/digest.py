"""Content digests (image-spec, descriptor.md, "Digests"): sha256 and sha512 only."""

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol, Self

from proxy.errors import DigestInvalid

_HEX = {"sha256": re.compile(r"[a-f0-9]{64}"), "sha512": re.compile(r"[a-f0-9]{128}")}


class Hash(Protocol):
    """The part of a hashlib object that the service uses."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far, in lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A well-formed digest; `str` returns it as `algorithm:hex`."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `algorithm:hex`; raise DigestInvalid for anything else."""
        algorithm, _, value = text.partition(":")
        grammar = _HEX.get(algorithm)
        if grammar is None or not grammar.fullmatch(value):
            raise DigestInvalid(f"not a sha256 or sha512 digest: {text[:80]!r}")
        return cls(algorithm, value)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Return the digest of content."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    @classmethod
    def finished(cls, algorithm: str, content: Hash) -> Self:
        """Return the digest that a hash of this algorithm has computed."""
        return cls(algorithm, content.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def hashing(algorithm: str) -> Hash:
    """Return a new hash; raise DigestInvalid if the algorithm is unknown."""
    if algorithm not in _HEX:
        raise DigestInvalid(f"unknown digest algorithm {algorithm[:40]!r}; use sha256 or sha512")
    return hashlib.new(algorithm)
