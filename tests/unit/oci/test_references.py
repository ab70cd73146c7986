"""References of images, against what the Go module distribution/reference says, and the repositories they mean."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from proxy.errors import NameInvalid, RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, escape, label, parse_label, split_host, unescape
from proxy.oci.references import Reference, repository, repository_below
from tests.references import CASES, TEXTS, hosts, paths

_IDS = [f"{number} {case['text'][:40]!r}" for number, case in enumerate(CASES)]
RELAY = "relay.example:5000"
OURS = st.sampled_from(
    [
        "localhost",
        "localhost:5000",
        "LOCALHOST:1",
        "a.localhost",
        "127.0.0.1:5000",
        "127.1.2.3",
        "[::1]",
        "[::1]:80",
        RELAY,
    ]
)
HUBS = st.sampled_from(["docker.io", "index.docker.io", "Docker.io"])


@pytest.mark.parametrize("case", CASES, ids=_IDS)
def test_a_reference_is_read_as_docker_reads_it(case: dict[str, Any]) -> None:
    if "refused" in case:
        with pytest.raises(RegistryError) as caught:
            Reference.parse(case["text"])
        assert 0 < len(caught.value.message) <= 200
        return

    read = Reference.parse(case["text"])

    found = {"host": read.host, "path": read.path, "tag": str(read.tag or ""), "digest": str(read.digest or "")}
    assert found == {key: value for key, value in case.items() if key != "text"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "app:feature/foo",
            "not an image name: 'app:feature/foo' (the part before its first slash is not a host; tags have no slash)",
        ),
        ("", "not a repository name: '' (lower case, digits and . _ - / between them)"),
        ("http://x:1/app", "'http://x:1/app' is a URL, not an image name; leave out what is before the host"),
        (f"sha256:{'0' * 64}", "sha256:000000000000… is the id of an image; write its name, such as app:v1"),
        ("app:", "'app:' has no tag after its colon: is a variable empty?"),
        ("app@v1", "not a sha256 or sha512 digest: 'v1'"),
    ],
)
def test_what_is_no_reference_is_told_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(RegistryError) as caught:
        Reference.parse(text)

    assert caught.value.message == said


@given(TEXTS)
def test_what_is_read_is_written_so_that_it_is_read_again(text: str) -> None:
    try:
        first = Reference.parse(text)
    except RegistryError:
        return

    again = Reference.parse(str(first))

    assert (again.host, again.path, again.wanted) == (first.host, first.path, first.wanted)
    assert again.name(RELAY) == first.name(RELAY)


@given(TEXTS)
@example("docker.io/localhost:5000/app")
@example("localhost/docker.io/library/app")
@example("docker.io/library/library/app")
def test_a_repository_is_found_under_the_name_that_is_shown(text: str) -> None:
    try:
        name = Reference.parse(text).name(RELAY)
    except RegistryError:
        return

    assert Reference.parse(label(name, Tag("v1"))).name(RELAY) == name
    assert Reference.parse(label(name, Tag("v1"))).name("") == name
    assert parse_label(label(name, Tag("v1"))) == (name, Tag("v1"))
    assert Name.parse(name.text) == name


@given(paths, st.lists(OURS | HUBS, max_size=3))
def test_hosts_that_are_no_other_registry_change_nothing(path: str, before: list[str]) -> None:
    plain = repository_below(path, relay=RELAY)

    assert repository(*split_host("/".join([*before, path])), RELAY) == plain


@given(hosts, hosts, paths)
def test_of_two_registries_the_same_path_is_two_repositories(one: str, other: str, path: str) -> None:
    assume(one.lower() != other.lower())
    assume(not split_host(path)[0])

    names = [repository(host, path, RELAY) for host in (one, other, "")]

    assert len(set(names)) == 3
    assert len({escape(name.text).lower() for name in names}) == 3


@given(hosts, paths)
def test_the_case_of_a_host_is_no_other_registry(host: str, path: str) -> None:
    name = repository(host, path, RELAY)

    for same in {host.lower(), host.upper(), host.swapcase()}:
        if split_host(f"{same}/{path}")[0]:  # without its capitals it may be a part of a path
            assert repository(same, path, RELAY) == name


@given(hosts, paths)
def test_a_registry_that_a_parameter_names_is_that_of_a_name(host: str, path: str) -> None:
    assert repository_below(path, host, RELAY) == repository(host, path, RELAY)
    if host == host.lower() and not {":", "["} & set(host):
        assert repository_below(f"{host}/{path}", "", RELAY) == repository(host, path, RELAY)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("localhost:5000/ghcr.io/team/app:v1", "ghcr.io/team/app"),
        ("relay.example:5000/ghcr.io/team/app:v1", "ghcr.io/team/app"),
        ("RELAY.example:5000/app", "app"),
        ("relay.example/app", "relay.example/app"),
        ("GHCR.io/team/app", "ghcr.io/team/app"),
        ("MyHost/app", "MYHOST/app"),
        ("myhost/app", "myhost/app"),
        ("MyHost:80/app", "myhost:80/app"),
        ("[FD00::1]:5000/app", "[fd00::1]:5000/app"),
        ("[0:0:0:0:0:0:0:1]:5000/app", "app"),
        ("localhost/localhost", "localhost"),
        ("library/app", "app"),
        ("library/team/app", "library/team/app"),
        ("ghcr.io/library/app", "ghcr.io/library/app"),
        ("a_b.c/app", "a_b.c/app"),
        ("localhostile/app", "localhostile/app"),
        ("127.evil.example/app", "127.evil.example/app"),
    ],
)
def test_examples_of_repositories(text: str, name: str) -> None:
    assert str(Reference.parse(text).name(RELAY)) == name


@pytest.mark.parametrize("path", ["registry:5000/app", "[::1]/app", "MYHOST/app", "", "app/"])
def test_a_host_with_a_port_is_no_part_of_a_path(path: str) -> None:
    with pytest.raises(NameInvalid):
        repository_below(path)


def test_a_mirror_of_docker_hub_finds_an_official_image_by_its_short_name() -> None:
    for path, registry in (("library/app", ""), ("library/app", "docker.io"), ("docker.io/library/app", "")):
        assert repository_below(path, registry, RELAY) == Name("app")
    assert repository_below("library/app", "ghcr.io", RELAY) == Name("ghcr.io/library/app")


def test_a_name_with_its_host_has_a_bound() -> None:
    fits = f"{'x' * 100}.example:5000/{'a' * 100}"
    assert str(Reference.parse(fits).name("")) == fits

    for text in (f"{'x' * 200}.example:5000/{'a' * 200}", f"{'X' * 200}/app"):
        with pytest.raises(NameInvalid):
            Reference.parse(text).name("")


@given(TEXTS)
def test_what_is_escaped_is_read_back(text: str) -> None:
    try:
        name = Reference.parse(text).name("")
    except RegistryError:
        return

    written = escape(name.text)

    assert unescape(written).replace("+", "/") == name.text
    assert written == written.lower()
    assert not set(written) & set('":<>|*?\r\n\\/')


def test_the_digest_is_wanted_where_there_is_a_tag_too() -> None:
    digest = Digest.of(b"")

    assert Reference.parse(f"app:v1@{digest}").wanted == digest
    assert Reference.parse("app").wanted == Tag("latest")
    assert str(Reference.parse(f"docker.io/library/app:v1@{digest}")) == f"app@{digest}"


def test_the_table_has_every_kind_of_answer() -> None:
    assert json.loads((Path(__file__).parents[2] / "references.json").read_text()) == CASES
    assert sum("refused" in case for case in CASES) > 50 < sum("host" in case for case in CASES)
