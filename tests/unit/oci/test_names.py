"""Names, tags and references, against the grammar of the specification as it is printed there."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import DigestInvalid, NameInvalid, RegistryError, TagInvalid
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label, parse_label, parse_reference

NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
WORD, CAPITALS = r"[a-z0-9]+(-+[a-z0-9]+)*", r"(?=[0-9-]*[A-Z])[A-Z0-9]+(-+[A-Z0-9]+)*"
HOST = rf"({WORD}(\.{WORD})+(:[0-9]+)?|{WORD}:[0-9]+|{CAPITALS})"  # of another registry, in the case that names have
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"

SEPARATORS = (".", "_", "__", "-", "---", "/")  # what the grammar allows between letters and digits
names = st.builds(
    lambda first, rest: (first + "".join(separator + word for separator, word in rest))[:255].rstrip("._-/"),
    st.text("az09", min_size=1, max_size=9),
    st.lists(st.tuples(st.sampled_from(SEPARATORS), st.text("az09", min_size=1, max_size=9)), max_size=40),
)
tags = st.from_regex(TAG, fullmatch=True)
digests = st.builds(Digest.of, st.binary(max_size=10), st.sampled_from(["sha256", "sha512"]))


@given(names)
def test_what_the_grammar_makes_is_a_name(text: str) -> None:
    assert str(Name.parse(text)) == text


@given(st.text(alphabet="aA0._-/ \n\u0430:@", max_size=12))
def test_a_name_is_what_the_grammar_makes(text: str) -> None:
    if re.fullmatch(rf"({HOST}/)?{NAME}", text):
        assert str(Name.parse(text)) == text
    else:
        with pytest.raises(NameInvalid):
            Name.parse(text)


@pytest.mark.parametrize("text", ["a" * 255, "a/" * 127 + "a", "a__b", "a--b", "a.b_c-d/0", "library/app"])
def test_a_name_may_be_odd(text: str) -> None:
    assert Name.parse(text) == Name(text)


@pytest.mark.parametrize(
    "text", ["", "/", "a/", "/a", "a//b", "A", "a" * 256, "a.", "-a", "a___b", "a..b", "a/../b", "..", "a\n", "a\x00"]
)
def test_a_name_may_be_none(text: str) -> None:
    with pytest.raises(NameInvalid, match="not a repository name") as caught:
        Name.parse(text)

    assert len(caught.value.message) < 400


def test_a_name_that_is_long_and_wrong_is_refused_in_an_instant() -> None:
    with pytest.raises(NameInvalid):
        Name.parse("a-" * 10_000_000)


@given(tags)
def test_what_the_grammar_makes_is_a_tag(text: str) -> None:
    assert str(Tag.parse(text)) == text
    assert parse_reference(text) == Tag(text)


@given(st.text(alphabet="aA0._-/ \n:\u0663", max_size=12))
def test_a_tag_is_what_the_grammar_makes(text: str) -> None:
    if re.fullmatch(TAG, text):
        assert str(Tag.parse(text)) == text
    else:
        with pytest.raises(TagInvalid):
            Tag.parse(text)


@pytest.mark.parametrize("text", ["", "x" * 129, ".x", "-x", "v1\n", "v1/..", "a:b", "a b"])
def test_a_tag_may_be_none(text: str) -> None:
    with pytest.raises(TagInvalid, match="not a tag"):
        Tag.parse(text)


@given(digests)
def test_a_reference_with_a_colon_is_a_digest(digest: Digest) -> None:
    assert parse_reference(str(digest)) == digest


@pytest.mark.parametrize("text", ["sha256:abc", "v1:v2", ":", f"md5:{'0' * 32}"])
def test_a_colon_alone_makes_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        parse_reference(text)


def test_a_digest_with_a_dash_is_a_tag() -> None:
    assert parse_reference(f"sha256-{'0' * 64}") == Tag(f"sha256-{'0' * 64}")


@given(names, tags | digests)
def test_a_label_can_be_read_back(name: str, reference: str | Digest) -> None:
    what = Tag(reference) if isinstance(reference, str) else reference

    text = label(Name(name), what)

    assert text == f"{name}{'@' if isinstance(reference, Digest) else ':'}{reference}"
    assert parse_label(text) == (Name(name), what)


@given(st.text(alphabet="ab:@/\n", max_size=12))
def test_a_label_is_one_or_an_error(text: str) -> None:
    try:
        name, reference = parse_label(text)
    except RegistryError:
        return

    assert label(name, reference) == text


def test_names_and_tags_are_listed_in_ascii_order() -> None:
    assert sorted(map(Tag, ["b", "B", "_", "1", "a.b", "a"])) == list(map(Tag, ["1", "B", "_", "a", "a.b", "b"]))
    assert sorted(map(Name, ["b", "a/b", "a-b", "a"])) == list(map(Name, ["a", "a-b", "a/b", "b"]))
