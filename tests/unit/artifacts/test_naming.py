"""Names of artifacts: every reference has one, of which it can be read off again."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.artifacts.naming import Naming, Numbered, numbered
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.oci.references import repository
from tests.references import hosts, paths

NAMING = Naming("image-")
_ALNUM = string.ascii_lowercase + string.digits
_words = st.text(_ALNUM, min_size=1, max_size=12)
_separators = st.sampled_from([".", "_", "__", "-", "---", "/"])


@st.composite
def _joined(draw: st.DrawFn, words: int) -> str:
    text = draw(_words)
    for _ in range(draw(st.integers(0, words))):
        text += draw(_separators) + draw(_words)
    return text[:255].rstrip("._-/")


names = st.one_of(_joined(3).map(Name.parse), _joined(40).map(Name.parse), st.builds(repository, hosts, paths))
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True).map(Tag.parse)
digests = st.one_of(
    st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: Digest("sha256", text)),
    st.text("0123456789abcdef", min_size=128, max_size=128).map(lambda text: Digest("sha512", text)),
)
references = st.one_of(tags, digests)
prefixes = st.sampled_from(["image-", "", "my.images_", "X-"])


@given(prefixes, names, references)
def test_every_reference_comes_back_unless_its_name_was_shortened(
    prefix: str, name: Name, reference: Tag | Digest
) -> None:
    naming = Naming(prefix)

    encoded = naming.encode(name, reference)

    if naming.may_be_shortened(encoded):
        assert len(encoded) == 200
        assert naming.decode(encoded) is None
    else:
        assert naming.decode(encoded) == (name, reference)
    assert len(encoded) <= 200
    assert numbered(encoded) == (encoded, 1)


@given(names, references, names)
def test_a_shortened_name_may_be_one_of_its_own_repository_and_of_few_others(
    name: Name, reference: Tag | Digest, other: Name
) -> None:
    encoded = NAMING.encode(name, reference)

    assert NAMING.may_be_of(name, encoded)
    assert NAMING.may_be_of(name, f"{encoded}~2")
    if other.text[:100] != name.text[:100]:
        assert not NAMING.may_be_of(other, encoded)


@given(names, references, st.integers(2, 999_999_999))
def test_a_number_changes_neither_the_reference_nor_what_is_shortened(
    name: Name, reference: Tag | Digest, number: int
) -> None:
    encoded = NAMING.encode(name, reference)

    assert numbered(f"{encoded}~{number}") == Numbered(encoded, number)
    assert NAMING.decode(f"{encoded}~{number}") == NAMING.decode(encoded)
    assert NAMING.may_be_shortened(f"{encoded}~{number}") == NAMING.may_be_shortened(encoded)


@given(names, references, names, references)
def test_different_references_differ_where_names_are_case_insensitive(
    name: Name, reference: Tag | Digest, other_name: Name, other_reference: Tag | Digest
) -> None:
    assume((name, reference) != (other_name, other_reference))

    assert NAMING.encode(name, reference).lower() != NAMING.encode(other_name, other_reference).lower()


@given(names, tags)
def test_tags_that_differ_in_case_only_have_names_that_differ_in_more(name: Name, tag: Tag) -> None:
    swapped = Tag.parse(tag.text.swapcase())
    assume(swapped != tag)

    assert NAMING.encode(name, tag).lower() != NAMING.encode(name, swapped).lower()


@given(names, references)
def test_names_hold_nothing_that_a_file_system_or_the_artifact_service_refuses(
    name: Name, reference: Tag | Digest
) -> None:
    encoded = NAMING.encode(name, reference)

    assert set(encoded) <= set(_ALNUM + "._-+@^=")


@given(st.text(max_size=300))
def test_any_other_text_is_no_reference_or_one_that_is_encoded_like_this(text: str) -> None:
    for each in (text, "image-" + text, f"image-{text}@{text}"):
        decoded = NAMING.decode(each)

        assert decoded is None or NAMING.encode(*decoded) == numbered(each).plain


@pytest.mark.parametrize(
    ("reference", "artifact"),
    [
        (("app", Tag("v1")), "image-app@v1"),
        (("team/app", Tag("RC1")), "image-team+app@^r^c1"),
        (("app", Digest("sha256", "0" * 64)), "image-app@sha256+" + "0" * 64),
        (("ghcr.io/org/app", Tag("pr")), "image-ghcr.io+org+app@pr"),
        (("registry:5000/app", Tag("v1")), "image-registry^-5000+app@v1"),
        (("[fd00::1]:80/app", Tag("v1")), "image-^.fd00^-^-1^_^-80+app@v1"),
        (("MYHOST/app", Tag("v1")), "image-^m^y^h^o^s^t+app@v1"),
    ],
)
def test_examples_of_names(reference: tuple[str, Tag | Digest], artifact: str) -> None:
    name, what = reference

    assert NAMING.encode(Name(name), what) == artifact


FOREIGN = [
    *("app@v1", "image-app", "image-@v1", "image-app@", "image-App@v1", "image-app@V1", "image-app@^V1", "image-a@b@c"),
    *(
        "image-a^-b+app@v1",
        "image-^-5000+app@v1",
        "image-^.+app@v1",
        "image-a^.b@v1",
        "image-app@v^-1",
        "image-^mhost+app@v1",
    ),
    *("image-app@sha256+00", "image-app@sha1+" + "0" * 40, "image-^app@v1", "image-app@v1~", "image-app@v1~02"),
]


@pytest.mark.parametrize("artifact", FOREIGN)
def test_what_is_none_of_ours_is_no_reference(artifact: str) -> None:
    assert NAMING.decode(artifact) is None
    assert not NAMING.may_be_shortened(artifact)
