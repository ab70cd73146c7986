"""Digests are sha256 and sha512 in one spelling, or none."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DigestInvalid
from proxy.oci.digest import Digest, hashing

ALGORITHMS = {"sha256": 64, "sha512": 128}
algorithms = st.sampled_from(sorted(ALGORITHMS))


@given(algorithms, st.binary(max_size=200))
def test_a_digest_is_that_of_its_content(algorithm: str, content: bytes) -> None:
    digest = Digest.of(content, algorithm)

    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    assert Digest.parse(str(digest)) == digest


@given(algorithms, st.lists(st.binary(max_size=50)))
def test_a_digest_may_be_computed_in_parts(algorithm: str, parts: list[bytes]) -> None:
    running = hashing(algorithm)
    for part in parts:
        running.update(part)

    assert Digest.finished(algorithm, running) == Digest.of(b"".join(parts), algorithm)


@given(algorithms, st.text(alphabet="0123456789abcdefABCDEFg\n \u0663", min_size=60, max_size=130))
def test_a_digest_has_so_many_lower_case_hexadecimal_digits(algorithm: str, value: str) -> None:
    right = len(value) == ALGORITHMS[algorithm] and set(value) <= set("0123456789abcdef")

    if right:
        assert str(Digest.parse(f"{algorithm}:{value}")) == f"{algorithm}:{value}"
    else:
        with pytest.raises(DigestInvalid, match="not a sha256 or sha512 digest"):
            Digest.parse(f"{algorithm}:{value}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 65}",
        f"sha256:{'a' * 64}\n",
        f" sha256:{'a' * 64}",
        f"sha256::{'a' * 64}",
        f"SHA256:{'a' * 64}",
        f"sha256:{'a' * 128}",
        f"sha512:{'a' * 64}",
        f"md5:{'a' * 32}",
    ],
)
def test_anything_else_is_invalid(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@pytest.mark.parametrize("algorithm", ["md5", "SHA256", "", "blake2b", "sha256 ", "x" * 10_000])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    with pytest.raises(DigestInvalid, match="use sha256 or sha512") as caught:
        hashing(algorithm)

    assert len(caught.value.message) < 200


def test_digests_have_an_order() -> None:
    digests = [
        Digest.parse(f"sha512:{'0' * 128}"),
        Digest.parse(f"sha256:{'b' * 64}"),
        Digest.parse(f"sha256:{'a' * 64}"),
    ]

    assert sorted(digests) == digests[::-1]
