"""What is remembered of what happened, and that it is bounded."""

from dataclasses import replace

import pytest

from proxy.events import Answered, Called, Event, Fetched, Pulled, SentGzip, Stored, Unchanged
from proxy.reporting.history import History, Moved, Refusal

MANIFEST = "/v2/{name}/manifests/{reference}"
BLOB = "/v2/{name}/blobs/{digest}"
UPLOAD = "/v2/{name}/blobs/uploads/{upload}"
DIGEST = "sha256:" + "ab" * 32
STORED = Stored("app:v1", DIGEST, "image-app@v1", 100, 60, 40, 1.5)


def remembered(*events: Event, most_images: int = 1000) -> History:
    history = History(most_images=most_images)
    for event in events:
        history.handle(event)
    return history


def answered(status: int, path: str = "/v2/app/manifests/v1", method: str = "PUT", message: str = "why") -> Answered:
    return Answered(method, MANIFEST, path, status, message)


def refused(*events: Event) -> list[tuple[int, str, int]]:
    return [(each.status, each.path, count) for each, count in remembered(*events).refused]


# Images


def test_an_image_that_was_pushed_and_pulled_is_one() -> None:
    history = remembered(STORED, Pulled("app:v1", DIGEST, 100, 2, 0.5), Pulled("app:v1", DIGEST, 100, 2, 0.7))

    (image,) = history.images()

    assert (image.reference, image.digest, image.pushed, image.pulls) == ("app:v1", DIGEST, True, 2)
    assert (image.stored_in, image.pulled_in, image.new, image.reused) == (1.5, 0.7, 60, 40)


def test_an_image_that_was_only_pulled_or_is_unchanged_has_no_time_of_a_seal() -> None:
    history = remembered(Pulled("app:v1", DIGEST, 100, 2, 0.5), Unchanged("app:v2", DIGEST))

    assert [(each.reference, each.pushed, each.stored_in) for each in history.images()] == [
        ("app:v1", False, None),
        ("app:v2", True, None),
    ]


def test_pulls_that_are_not_over_are_told_and_not_remembered() -> None:
    history, pull = remembered(STORED), Pulled("app:v1", DIGEST, 100, 2, 0.5)

    (image,) = history.images([pull])

    assert (image.pulls, image.pulled_in, image.stored_in) == (1, 0.5, 1.5)
    assert [each.pulls for each in history.images()] == [0]


def test_a_tag_that_has_moved_is_another_image_and_the_last_one() -> None:
    history = remembered(STORED, replace(STORED, reference="app:v2"), replace(STORED, digest="sha256:other"))

    assert [(each.reference, each.digest) for each in history.images()] == [
        ("app:v2", DIGEST),
        ("app:v1", "sha256:other"),
    ]


def test_the_last_images_are_kept_and_the_others_counted() -> None:
    history = remembered(*[replace(STORED, reference=f"app:t{number}") for number in range(5)], most_images=3)

    assert [each.reference for each in history.images()] == ["app:t2", "app:t3", "app:t4"]
    assert history.forgotten == 2


def test_bytes_are_added_up_by_where_they_went() -> None:
    history = remembered(
        Answered("PATCH", UPLOAD, "/v2/app/blobs/uploads/1", 202, received=100),
        Answered("GET", BLOB, f"/v2/app/blobs/{DIGEST}", 200, sent=70),
        Answered("PUT", "/relay/session", "/relay/session", 204, received=5, sent=5),
        STORED,
        Called("storage", "GetRange", "ok", 0.1, 0, 30),
        Called("artifacts", "ListArtifacts", "ok", 0.1, 3, 4),
        Fetched("hit"),
    )

    assert history.moved == Moved(received=100, sent=70, new=60, reused=40, fetched=30)


def test_of_the_gzip_that_builds_made_the_largest_push_is_remembered() -> None:
    assert remembered().gzip == 0
    assert remembered(SentGzip("app:v1", 7), SentGzip("app:v2", 9), SentGzip("app:v1", 8)).gzip == 9


# What was refused


@pytest.mark.parametrize("status", [400, 401, 403, 408, 409, 413, 421, 429, 500, 503])
def test_what_a_user_should_know_of_is_remembered(status: int) -> None:
    event = replace(answered(status), credentials=True)

    assert refused(event) == [(status, "/v2/app/manifests/v1", 1)]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 307, 404, 405, 416])
def test_what_is_none_or_only_a_try_is_not_remembered(status: int) -> None:
    assert refused(answered(status)) == []


def test_the_same_again_is_counted_and_the_last_comes_last() -> None:
    first, second = answered(403), answered(403, "/v2/app/manifests/v2")

    assert refused(first, second, first) == [(403, second.path, 1), (403, first.path, 2)]


def test_the_last_different_ones_are_kept() -> None:
    many = [answered(403, f"/v2/app/manifests/v{number}") for number in range(100)]

    assert refused(*many) == [(403, each.path, 1) for each in many[-20:]]


def test_uploads_differ_by_more_than_their_ids() -> None:
    uploads = [replace(answered(403, f"/v2/app/blobs/uploads/{number}"), route=UPLOAD) for number in range(3)]

    assert refused(*uploads) == [(403, "/v2/app/blobs/uploads/…", 3)]


def test_what_got_no_answer_is_remembered_but_not_who_had_enough() -> None:
    assert refused(answered(0, message="the client left before the answer"), answered(0, message="")) == [
        (0, "/v2/app/manifests/v1", 1)
    ]


def test_what_the_action_was_refused_is_told_by_the_action() -> None:
    of_the_action = replace(answered(403), tells_itself=True)

    assert refused(of_the_action, answered(403, "/v2/app/manifests/v2")) == [(403, "/v2/app/manifests/v2", 1)]


def test_who_logs_in_after_being_asked_was_not_refused() -> None:
    challenge = Answered("GET", "/v2/", "/v2/", 401, "this relay has a password")
    by_the_action = Answered("GET", "/relay/summary", "/relay/summary", 200, credentials=True)

    assert refused(challenge, challenge, by_the_action) == [(401, "/v2/", 2)]
    assert refused(challenge, replace(challenge, status=200, credentials=True)) == []


def test_a_wrong_password_stays_a_refusal() -> None:
    wrong = Answered("GET", "/v2/", "/v2/", 401, "that is not the password of this relay", credentials=True)

    assert refused(wrong, replace(wrong, status=200)) == [(401, "/v2/", 1)]


# What is missing


def missing(*events: Event) -> list[Refusal]:
    return remembered(*events).missing


def test_a_tag_that_is_not_there_is_remembered_until_it_is() -> None:
    head, get = answered(404, method="HEAD", message=""), answered(404, method="GET")

    assert missing(head, get) == [Refusal("GET", "/v2/app/manifests/v1", 404, "why")]
    assert missing(head, answered(201)) == []
    assert missing(get, answered(200, method="HEAD")) == []


def test_digests_and_blobs_that_are_not_there_are_nobodys_business() -> None:
    assert missing(answered(404, f"/v2/app/manifests/{DIGEST}")) == []
    assert missing(replace(answered(404), route=BLOB)) == []


def test_the_last_missing_tags_are_kept() -> None:
    many = [answered(404, f"/v2/app/manifests/v{number}") for number in range(100)]

    assert [each.path for each in missing(*many)] == [each.path for each in many[-20:]]
