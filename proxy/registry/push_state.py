"""The life of a pushed reference, from the bytes of its manifest to an artifact, as one table.

A push by tag is *uploaded*, then *sealing*, then *durable* or *failed*; its tag answers only when it is durable. A push
by digest is *pending* first, and its digest answers from then on. A pair that is not in the table cannot happen.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from weakref import WeakValueDictionary

from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag


class State(Enum):
    """The state of a pushed reference."""

    UPLOADED = "uploaded"
    PENDING = "pending"
    SEALING = "sealing"
    DURABLE = "durable"
    FAILED = "failed"
    DELETED = "deleted"


class Transition(Enum):
    """What happens to a pushed reference."""

    HOLD = "hold"  # pushed by digest: kept in the spool
    SEAL = "seal"  # pushed by tag, claimed, settled or flushed
    STORE = "store"  # its artifact is finished: its own, or that of a tag or an index that claimed it
    FAIL = "fail"
    DELETE = "delete"


_NEXT = {
    (State.UPLOADED, Transition.HOLD): State.PENDING,
    (State.UPLOADED, Transition.SEAL): State.SEALING,
    (State.PENDING, Transition.HOLD): State.PENDING,
    (State.PENDING, Transition.SEAL): State.SEALING,
    (State.PENDING, Transition.STORE): State.DURABLE,
    (State.PENDING, Transition.DELETE): State.DELETED,
    (State.SEALING, Transition.HOLD): State.SEALING,
    (State.SEALING, Transition.SEAL): State.SEALING,
    (State.SEALING, Transition.STORE): State.DURABLE,
    (State.SEALING, Transition.FAIL): State.FAILED,
    (State.FAILED, Transition.HOLD): State.PENDING,
    (State.FAILED, Transition.SEAL): State.SEALING,
    (State.FAILED, Transition.STORE): State.DURABLE,
    (State.FAILED, Transition.DELETE): State.DELETED,
    (State.DURABLE, Transition.HOLD): State.DURABLE,
    (State.DURABLE, Transition.SEAL): State.DURABLE,
    (State.DURABLE, Transition.STORE): State.DURABLE,
    (State.DURABLE, Transition.DELETE): State.DELETED,
    (State.DELETED, Transition.HOLD): State.PENDING,
    (State.DELETED, Transition.SEAL): State.SEALING,
}


class Impossible(Exception):
    """A transition that a state does not have: a defect of this program."""


def after(state: State, transition: Transition) -> State:
    """Return the next state. Raise Impossible."""
    try:
        return _NEXT[state, transition]
    except KeyError:
        raise Impossible(f"{transition.value} while {state.value}") from None


@dataclass(slots=True)
class Pushed:
    """A reference that was pushed, its state, and why it failed if it did."""

    name: Name
    reference: Tag | Digest
    digest: Digest
    state: State
    problem: str = ""
    takes: frozenset[Digest] = frozenset()  # digests that a tag takes along into the artifact it is getting

    @property
    def is_refused(self) -> bool:
        """Whether nothing is left of it: pushed by tag, and not stored, as the client was told."""
        return self.state is State.FAILED and isinstance(self.reference, Tag)

    def advance(self, transition: Transition, *, problem: str = "", takes: Iterable[Digest] = ()) -> None:
        """Go to the next state. Raise Impossible."""
        self.state = after(self.state, transition)
        self.problem = problem
        self.takes = frozenset(takes)


class PushTable:
    """What was pushed and is not durable yet, and the locks under which a reference gets another answer."""

    def __init__(self) -> None:
        self._pushed: dict[tuple[Name, Tag | Digest, Digest], Pushed] = {}
        self._locks: WeakValueDictionary[tuple[Name, Tag | Digest], asyncio.Lock] = WeakValueDictionary()

    def lock(self, name: Name, reference: Tag | Digest) -> asyncio.Lock:
        """Return the lock of a reference; requests get it in the order in which they arrived."""
        return self._locks.setdefault((name, reference), asyncio.Lock())

    def record(self, name: Name, reference: Tag | Digest, digest: Digest) -> Pushed:
        """Return the record of a manifest that was pushed under a reference; a new one if there is none."""
        fresh = Pushed(name, reference, digest, State.UPLOADED)
        return self._pushed.setdefault((name, reference, digest), fresh)

    def hold(self, name: Name, digest: Digest) -> None:
        """Record that a manifest that was pushed by digest is pending now."""
        self.record(name, digest, digest).advance(Transition.HOLD)

    def forget(self, name: Name, reference: Tag | Digest) -> None:
        """Forget all records of a reference that is durable, so that earlier failures no longer matter, or deleted."""
        for key in [key for key in self._pushed if key[:2] == (name, reference)]:
            del self._pushed[key]

    def clear(self) -> None:
        """Forget all records: what is pushed from now on is of another run."""
        self._pushed.clear()

    def records(self) -> list[Pushed]:
        """Return what is not durable: pending, being sealed, or failed."""
        return list(self._pushed.values())

    def sealing(self, name: Name | None = None) -> list[Pushed]:
        """Return what is being sealed, in one repository or in all."""
        return [each for each in self._pushed.values() if each.state is State.SEALING and name in {None, each.name}]
