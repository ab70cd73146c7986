"""The life of a pushed reference: every pair of the table, and random walks beside a model that knows no table."""

from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.registry.push_state import Impossible, State, Transition, after

TABLE = {
    #                  HOLD       SEAL       STORE      FAIL      DELETE
    State.UPLOADED: ("pending", "sealing", None, None, None),
    State.PENDING: ("pending", "sealing", "durable", None, "deleted"),
    State.SEALING: ("sealing", "sealing", "durable", "failed", None),
    State.DURABLE: ("durable", "durable", "durable", None, "deleted"),
    State.FAILED: ("pending", "sealing", "durable", None, "deleted"),
    State.DELETED: ("pending", "sealing", None, None, None),
}
PAIRS = list(product(State, Transition))
VISIBLE = {State.PENDING, State.SEALING, State.FAILED, State.DURABLE}  # by digest, from the push on


@pytest.mark.parametrize(("state", "transition"), PAIRS, ids=lambda each: each.value)
def test_every_pair_of_state_and_transition_leads_where_the_table_says(state: State, transition: Transition) -> None:
    expected = TABLE[state][list(Transition).index(transition)]

    if expected is None:
        with pytest.raises(Impossible, match=f"{transition.value} while {state.value}"):
            after(state, transition)
    else:
        assert after(state, transition) is State(expected)


@dataclass
class Model:
    """What is true of a reference, without states."""

    held: bool = False  # in the spool, by digest
    stored: bool = False
    sealing: bool = False
    deleted: bool = False

    @property
    def is_there(self) -> bool:
        return self.held or self.stored


class _Walk(RuleBasedStateMachine):
    """A reference that is pushed, sealed, lost and deleted in every order that can happen."""

    by_digest: bool

    def __init__(self) -> None:
        super().__init__()
        self.state = State.UPLOADED
        self.model = Model()

    def happens(self, transition: Transition) -> None:
        self.state = after(self.state, transition)

    @precondition(lambda self: self.by_digest)
    @rule()
    def push_by_digest(self) -> None:
        self.happens(Transition.HOLD)
        self.model.held, self.model.deleted = not self.model.stored, False

    @precondition(lambda self: not self.by_digest or self.model.is_there)
    @rule()
    def seal(self) -> None:
        self.happens(Transition.SEAL)
        self.model.sealing, self.model.deleted = not self.model.stored, False

    @precondition(lambda self: self.model.sealing or (self.by_digest and self.model.is_there))
    @rule()
    def finish(self) -> None:
        self.happens(Transition.STORE)
        self.model = Model(stored=True)

    @precondition(lambda self: self.model.sealing)
    @rule()
    def fail(self) -> None:
        self.happens(Transition.FAIL)
        self.model.sealing = False

    @precondition(lambda self: self.model.is_there and not self.model.sealing)
    @rule()
    def delete(self) -> None:
        self.happens(Transition.DELETE)
        self.model = Model(deleted=True)

    @precondition(lambda self: not self.model.sealing)
    @rule()
    def what_was_not_begun_can_not_fail(self) -> None:
        with pytest.raises(Impossible):
            after(self.state, Transition.FAIL)

    @precondition(lambda self: not self.model.is_there and not self.model.sealing and self.state is not State.FAILED)
    @rule()
    def what_is_not_there_can_be_neither_stored_nor_deleted(self) -> None:
        for transition in (Transition.STORE, Transition.DELETE):
            with pytest.raises(Impossible):
                after(self.state, transition)

    @invariant()
    def a_tag_answers_only_when_durable(self) -> None:
        assert (self.state is State.DURABLE) == self.model.stored

    @invariant()
    def what_was_deleted_never_answers(self) -> None:
        assert not (self.model.deleted and self.state in VISIBLE)

    @invariant()
    def by_digest_it_answers_from_the_push_on(self) -> None:
        if self.by_digest:
            assert (self.state in VISIBLE) == self.model.is_there


class DigestWalk(_Walk):
    by_digest = True


class TagWalk(_Walk):
    by_digest = False


TestDigestWalk = DigestWalk.TestCase
TestTagWalk = TagWalk.TestCase
