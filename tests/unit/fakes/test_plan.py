"""The plan that says which request meets which fault."""

import pytest

from tests.fakes.actions.faults import Answer, Corrupt, Fault, Plan, Reset


def faults_of(plan: Plan, kind: str, times: int) -> list[Fault | None]:
    return [plan.next(kind) for _ in range(times)]


def test_random_faults_are_the_same_for_the_same_seed() -> None:
    plans = [Plan() for _ in range(3)]
    for plan, seed in zip(plans, (7, 7, 8), strict=True):
        plan.at_random(0.1, seed, [Answer(503), Reset(effect=True), Corrupt(at=0)])

    drawn = [faults_of(plan, "put_block", 1000) for plan in plans]

    assert drawn[0] == drawn[1] != drawn[2]
    met = [fault for fault in drawn[0] if fault]
    assert 60 < len(met) < 140
    assert all(fault in (Answer(503), Reset(effect=True)) for fault in met), "a block has no body to corrupt"
    assert [fault for _, fault in plans[0].played] == met
    plans[0].clear()
    assert faults_of(plans[0], "put_block", 1000) == [None] * 1000


def test_a_plan_refuses_what_cannot_happen_and_tells_what_did_not() -> None:
    plan = Plan()

    with pytest.raises(ValueError, match="names no kind of request"):
        plan.play("put_blocks", Answer(503))
    with pytest.raises(ValueError, match="cannot happen"):
        plan.play("put_*", Corrupt(at=0))
    with pytest.raises(ValueError, match="cannot happen"):
        plan.play("get_*", Reset(effect=True))
    plan.play("get_*", Reset(), times=2)
    plan.play("*", Answer(503), times=None)
    plan.next("get_whole")
    assert plan.unplayed == [Reset()]
