"""The budget for buffers: nobody waits, and what was taken comes back."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.runtime.memory import MemoryBudget, keep_freed_memory


@given(st.integers(0, 100), st.lists(st.integers(0, 60), max_size=10))
def test_never_more_is_taken_than_there_is_and_all_comes_back(limit: int, wanted: list[int]) -> None:
    memory = MemoryBudget(limit)

    def nest(rest: list[int], held: int) -> None:
        if rest:
            with memory.try_reserve(rest[0]) as taken:
                assert taken == (rest[0] <= limit - held)
                nest(rest[1:], held + rest[0] if taken else held)

    nest(wanted, 0)

    with memory.try_reserve(limit) as everything:
        assert everything


def test_a_block_that_fails_gives_back_what_it_took() -> None:
    memory = MemoryBudget(10)

    with pytest.raises(ValueError, match="x"), memory.try_reserve(10):
        raise ValueError("x")

    with memory.try_reserve(10) as taken:
        assert taken


def test_threads_that_share_an_arena_allocate_as_before() -> None:
    keep_freed_memory()

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(len, threads.map(bytes, [1_000_000] * 20))) == [1_000_000] * 20
