"""Which artifact of a tag answers: the same one for every reader, in whatever order and at whatever time it looks."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from proxy.artifacts.base import Artifact
from proxy.artifacts.ranking import following, passing, ranked

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def artifact(number: int, key: int, job: str = "a", seconds: int = 0, run: str = "1") -> Artifact:
    name = f"image-app@v1~{number}" if number > 1 else "image-app@v1"
    return Artifact(name, str(key), NOW + timedelta(seconds=seconds), 5, f"{run}:{job}")


ARTIFACTS = st.lists(
    st.builds(artifact, st.integers(1, 3000), st.integers(1, 10**10), st.sampled_from("abc"), st.integers(0, 3)),
    unique_by=lambda each: each.id,
    max_size=8,
)


@given(ARTIFACTS, st.randoms())
def test_the_order_of_a_listing_does_not_matter(artifacts: list[Artifact], dice: st.DrawFn) -> None:
    mixed = [*artifacts]
    dice.shuffle(mixed)  # type: ignore[attr-defined]

    assert ranked(mixed) == ranked(artifacts)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=8))
def test_where_any_job_moves_a_tag_it_never_goes_back(pushes: list[tuple[str, int]]) -> None:
    numbers, number = [], 0
    for _ in pushes:
        numbers.append(number := following(number))
    artifacts = [artifact(n, 100 + n, job, s) for n, (job, s) in zip(numbers, pushes, strict=True)]
    winners = [ranked(artifacts[: end + 1])[0] for end in range(len(artifacts))]

    orders = [(each.created, int(each.id)) for each in winners]
    assert orders == sorted(orders)


def test_of_artifacts_of_the_same_second_the_later_id_answers_and_not_the_higher_number() -> None:
    assert ranked([artifact(2, 99), artifact(1, 100)])[0].id == "100"


def test_a_twin_is_as_old_as_the_first_of_its_name() -> None:
    assert ranked([artifact(1, 10), artifact(2, 11, "b"), artifact(1, 12)])[0].id == "11"


def test_whoever_passed_over_a_holder_that_was_alive_does_not_answer() -> None:
    slow, mistaken = artifact(1, 10), artifact(passing(1), 11, "b", seconds=5)

    assert ranked([slow, mistaken])[0] is slow
    assert ranked([mistaken])[0] is mistaken
    assert ranked([mistaken, artifact(following(passing(1)), 12, "a", 9)])[0].id == "12"


def test_whoever_passed_over_a_name_of_his_own_or_of_an_earlier_attempt_answers() -> None:
    for below in (artifact(1, 10, "b"), artifact(1, 10, "a", run="0")):
        assert ranked([below, artifact(passing(1), 11, "b", seconds=5)])[0].id == "11"


@given(st.integers(0, 10**8))
def test_no_ordinary_number_looks_like_one_of_who_passed(number: int) -> None:
    assert following(number) % 1000 != 0
    assert following(number) > number
    assert passing(number) % 1000 == 0
    assert passing(number) > number
