"""Blobs and manifests are put together to pushes and pulls."""

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.events import Event, EventBus, Pulled
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.registry.push_events import ReceivedBlobs
from proxy.reporting.pulls import PullTracker
from tests.registry_harness import APP, V1, V2, image, index

OTHER = Name.parse("other")
A, B = Digest.of(b"a"), Digest.of(b"b")


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """Pulls, with a clock and what was noted of them."""

    def __init__(self, **limits: int) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.pulls = PullTracker(EventBus(self.events.append), self.clock, **limits)

    def take(self, digest: Digest, size: int, seconds: float = 0.0, name: Name = APP) -> None:
        with self.pulls.blob(name, digest) as went:
            went(size)
            self.clock.now += seconds

    def ended(self, quiet: float = 0.0) -> list[Pulled]:
        self.pulls.end(quiet)
        found = [each for each in self.events if isinstance(each, Pulled)]
        self.events.clear()
        return found


@pytest.fixture
def watched() -> Watched:
    return Watched()


def _joined(parts: Iterable[str]) -> bytes:
    return "".join(parts).encode()


# Pushes


def test_of_a_push_counts_what_came_for_it() -> None:
    received, began = ReceivedBlobs(), time.monotonic() - 10
    received.add(APP, A, 100, began + 2)
    received.add(APP, B, 50, began)
    received.add(OTHER, A, 7, began)

    size, seconds = received.claim(APP, [A, B, Digest.of(b"c")])

    assert size == 150
    assert 10 <= seconds < 60


def test_what_came_counts_for_the_first_manifest_that_names_it() -> None:
    received = ReceivedBlobs()
    received.add(APP, A, 100, 0.0)
    received.claim(APP, [A])

    assert received.claim(APP, [A]) == (0, 0.0)


def test_blobs_that_nobody_names_are_not_remembered_for_ever() -> None:
    received, digests = ReceivedBlobs(most=2), [Digest.of(bytes([each])) for each in range(5)]
    for digest in digests:
        received.add(APP, digest, 1, 0.0)

    assert received.claim(APP, digests)[0] == 2


def test_a_blob_that_was_sent_again_is_not_forgotten_first() -> None:
    received, digests = ReceivedBlobs(most=2), [Digest.of(bytes([each])) for each in range(3)]
    for digest in (digests[0], digests[1], digests[0], digests[2]):
        received.add(APP, digest, 1, 0.0)

    assert received.size(APP, [digests[0]]) == 1


# Pulls


def test_a_pull_is_a_manifest_and_what_is_taken_of_it(watched: Watched) -> None:
    manifest = image(b"a", b"b")
    watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
    watched.clock.now += 1
    watched.take(A, 1000, seconds=2)
    watched.take(B, 500, seconds=1)
    watched.clock.now += 1

    (pulled,) = watched.ended(quiet=1)

    assert pulled == Pulled("app:v1", str(manifest.digest), len(manifest.content) + 1500, 2, 4.0)


def test_a_pull_is_not_over_while_a_blob_is_on_its_way_or_shortly_after(watched: Watched) -> None:
    manifest = image(b"a")
    watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
    with watched.pulls.blob(APP, A):
        watched.clock.now += 1000
        assert watched.ended(quiet=2) == []
    assert watched.ended(quiet=2) == []
    watched.clock.now += 2

    assert len(watched.ended(quiet=2)) == 1
    assert watched.ended() == []


def test_what_is_being_sent_when_the_run_ends_is_of_that_run(watched: Watched) -> None:
    manifest = image(b"a")
    watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
    with watched.pulls.blob(APP, A) as went:
        went(1000)
        watched.pulls.forget()
        (told,) = watched.events
        went(500)

    assert watched.ended() == [told]
    assert watched.pulls.under_way() == []


def test_a_pull_that_is_under_way_can_be_told_of_and_goes_on(watched: Watched) -> None:
    manifest = image(b"a", b"b")
    watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
    watched.take(A, 1000, seconds=1)

    (so_far,) = watched.pulls.under_way()
    watched.take(B, 500, seconds=1)
    (pulled,) = watched.ended()

    assert (so_far.blobs, so_far.seconds, pulled.blobs, pulled.seconds) == (1, 1.0, 2, 2.0)
    assert watched.pulls.under_way() == []


def test_a_manifest_alone_is_a_pull_without_blobs(watched: Watched) -> None:
    manifest = image(b"a")
    watched.pulls.manifest(APP, manifest.digest, manifest.digest, manifest.content)

    (pulled,) = watched.ended()

    assert pulled == Pulled(f"app@{manifest.digest}", str(manifest.digest), len(manifest.content), 0, 0.0)


def test_the_children_of_an_index_belong_to_its_pull(watched: Watched) -> None:
    child = image(b"a")
    both = index(child)
    watched.pulls.manifest(APP, V1, both.digest, both.content)
    watched.pulls.manifest(APP, child.digest, child.digest, child.content)
    watched.take(A, 1000)

    (pulled,) = watched.ended()

    assert (pulled.reference, pulled.blobs) == ("app:v1", 1)
    assert pulled.size == len(both.content) + len(child.content) + 1000


def test_who_asks_for_the_digest_of_a_tag_pulls_the_tag(watched: Watched) -> None:
    manifest = image(b"a")
    watched.pulls.resolve(APP, V1, manifest.digest)  # HEAD, as containerd does
    watched.pulls.manifest(APP, manifest.digest, manifest.digest, manifest.content)

    assert [each.reference for each in watched.ended()] == ["app:v1"]


def test_two_pulls_side_by_side_are_told_apart(watched: Watched) -> None:
    first, second = image(b"a"), image(b"b")
    watched.pulls.manifest(APP, V1, first.digest, first.content)
    watched.pulls.manifest(APP, V2, second.digest, second.content)
    watched.take(A, 1000)
    watched.take(B, 2000)

    assert [(each.reference, each.size) for each in watched.ended()] == [
        ("app:v1", len(first.content) + 1000),
        ("app:v2", len(second.content) + 2000),
    ]


def test_the_same_image_again_is_another_pull_when_the_first_has_its_blobs(watched: Watched) -> None:
    manifest = image(b"a")
    for _ in range(2):
        for _ in range(2):  # some clients ask twice before they begin
            watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
        watched.take(A, 1000)

    assert [(each.reference, each.blobs) for each in watched.ended()] == [("app:v1", 1), ("app:v1", 1)]


def test_a_blob_without_a_manifest_and_one_of_another_repository_are_no_pull(watched: Watched) -> None:
    manifest = image(b"a")
    watched.take(A, 1000)
    watched.pulls.manifest(APP, V1, manifest.digest, manifest.content)
    watched.take(A, 1000, name=OTHER)

    assert [(each.reference, each.blobs) for each in watched.ended()] == [("app:v1", 0)]


def test_a_crowd_of_pulls_and_tags_is_bounded() -> None:
    watched = Watched(most_open=3, most_tags=3)
    for number in range(10):
        manifest = image(bytes([number]))
        watched.pulls.manifest(APP, Tag.parse(f"t{number}"), manifest.digest, manifest.content)

    assert len(watched.pulls._open) == len(watched.pulls._resolved) == 3
    assert [each.reference for each in watched.ended()] == [f"app:t{number}" for number in range(10)]


def test_a_tag_that_was_asked_for_again_is_not_forgotten_first() -> None:
    watched, manifests = Watched(most_tags=2), [image(bytes([number])) for number in range(3)]
    for number in (0, 1, 0, 2):
        watched.pulls.resolve(APP, Tag.parse(f"t{number}"), manifests[number].digest)

    first = manifests[0]
    watched.pulls.manifest(APP, first.digest, first.digest, first.content)
    assert [each.reference for each in watched.ended()] == ["app:t0"]


def test_pulls_of_manifests_that_name_much_are_bounded_too() -> None:
    watched = Watched(most_named=25)
    for number in range(5):
        manifest = image(*(bytes([number, each]) for each in range(9)))
        watched.pulls.manifest(APP, Tag.parse(f"t{number}"), manifest.digest, manifest.content)

    assert sum(len(pull.named) for pull in watched.pulls._open.values()) <= 25
    assert [each.reference for each in watched.ended()] == [f"app:t{number}" for number in range(5)]


@given(st.binary(max_size=2000) | st.lists(st.sampled_from([str(A), str(B), '"', "sha512:" + "0" * 128])).map(_joined))
def test_any_content_of_a_manifest_is_taken(content: bytes) -> None:
    watched = Watched()

    watched.pulls.manifest(APP, V1, Digest.of(content), content)

    assert [each.size for each in watched.ended()] == [len(content)]


def test_a_pull_of_which_a_blob_broke_off_is_none_unless_it_came_whole_later(watched: Watched) -> None:
    content = image(b"a")
    for comes_again in (False, True):
        watched.pulls.manifest(APP, V1, content.digest, content.content)
        with pytest.raises(ConnectionError), watched.pulls.blob(APP, A):
            raise ConnectionError
        if comes_again:
            watched.take(A, 1)

        assert [each.blobs for each in watched.ended()] == ([2] if comes_again else [])
