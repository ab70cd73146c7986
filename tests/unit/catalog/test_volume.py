"""What images use of the storage of a run, by size and time; also those that are gone."""

from datetime import UTC, datetime, timedelta

from proxy.artifacts.base import Artifact
from proxy.catalog.volume import Usage, Volume
from tests.fakes.memory_store import MemoryStore

BEGIN = datetime(2026, 3, 4, tzinfo=UTC)
FIRST, SECOND = (Artifact(name, name, BEGIN, size) for name, size in (("first", 1000), ("second", 10)))


class Clock(MemoryStore):
    """A store elsewhere, so many hours after its first artifact."""

    is_remote = True
    hours = 0

    def now(self) -> datetime:
        return BEGIN + timedelta(hours=self.hours)


def test_what_is_there_uses_its_size_in_each_hour() -> None:
    store = Clock()
    usage, store.hours = Usage(store), 3

    assert usage.volume([FIRST, SECOND], {}) == Volume(2, 1010, 3030.0)
    assert usage.volume([FIRST, SECOND], {"second": 20}) == Volume(2, 1020, 3060.0)


def test_what_was_deleted_has_used_what_it_had_by_then() -> None:
    store = Clock()
    usage, store.hours = Usage(store), 2
    usage.delete(FIRST, 1000)
    store.hours = 5

    assert usage.volume([SECOND], {}) == Volume(1, 10, 50.0, deleted=2000.0)
    usage.clear()
    assert usage.volume([SECOND], {}) == Volume(1, 10, 50.0)


def test_a_folder_is_not_billed() -> None:
    assert Usage(MemoryStore()).volume([FIRST], {}) == Volume(1, 1000)
