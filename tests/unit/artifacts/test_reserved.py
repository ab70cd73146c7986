"""The names that a job may have taken, on disk."""

import asyncio
from pathlib import Path

import pytest

from proxy.artifacts.actions.reserved_names import ReservedNames


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "reserved.json"


def reserved(path: Path, owner: str = "run:job") -> ReservedNames:
    made = ReservedNames(path)
    made.begin(owner)
    return made


async def test_a_relay_that_is_started_again_knows_the_names_of_its_job(path: Path) -> None:
    first = reserved(path)
    for name in ("x", "y"):
        await first.add(name)
    await first.drop("y")

    again = reserved(path)
    assert await again.has("x")
    assert not await again.has("y")


async def test_names_that_are_taken_side_by_side_are_all_known(path: Path) -> None:
    first, taken = reserved(path), [f"n{number}" for number in range(8)]
    await asyncio.gather(*(first.add(name) for name in taken))

    for names in (first, reserved(path)):
        assert [name for name in taken if not await names.has(name)] == []


async def test_another_job_knows_none_and_no_id_is_on_disk(path: Path) -> None:
    await reserved(path).add("x")

    assert not await reserved(path, "run:other").has("x")
    assert "run:job" not in path.read_text()


async def test_another_session_of_the_same_job_forgets_nothing(path: Path) -> None:
    names = reserved(path)
    await names.add("x")

    names.begin("run:job")
    assert await names.has("x")
    names.begin("run:other")
    assert not await names.has("x")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"owner": 1, "names": 2}'])
async def test_a_damaged_file_says_nothing(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    names = reserved(path)
    assert not await names.has("x")
    await names.add("x")
    assert await reserved(path).has("x")


async def test_a_name_that_cannot_be_dropped_from_the_file_is_dropped_in_memory(path: Path) -> None:
    names = reserved(path)
    await names.add("x")
    path.with_name(path.name + ".part").mkdir()

    await names.drop("x")

    assert not await names.has("x")
