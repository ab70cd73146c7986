"""The garbage collector passes over what stays, and still finds garbage."""

import gc
from collections.abc import Iterator
from weakref import ref

import pytest

from proxy.runtime import garbage


class Thing:
    """Part of a cycle."""

    other: "Thing"


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_has_settled_is_not_looked_at_any_more_and_garbage_goes_before() -> None:
    kept, lost = Thing(), Thing()
    kept.other, lost.other = kept, lost
    gone = ref(lost)
    del lost

    garbage.settle()

    assert gone() is None
    assert gc.get_freeze_count() > 0
    assert all(each is not kept for each in gc.get_objects())
