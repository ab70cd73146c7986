"""The garbage collector passes over what stays, and still finds garbage."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from proxy import collecting


class Thing:
    """Part of a cycle."""

    other: "Thing"


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_has_settled_is_not_looked_at_any_more_and_garbage_goes_before() -> None:
    kept, garbage = Thing(), Thing()
    kept.other, garbage.other = kept, garbage
    gone = ref(garbage)
    del garbage

    collecting.settle()

    assert gone() is None
    assert gc.get_freeze_count() > 0
    assert all(each is not kept for each in gc.get_objects())
