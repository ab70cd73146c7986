"""Files: a descriptor lives as long as somebody needs it, and never serves another file."""

import asyncio
import errno
import gc
import os
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import ContentDamaged
from proxy.runtime.files import FolderInUse, InMemory, LocalFile, NewFile, identity, locked, raise_open_files


def descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_file_stays_readable_after_it_was_replaced_or_removed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    first = LocalFile.open(path)
    (tmp_path / "part").write_bytes(b"second")
    (tmp_path / "part").rename(path)
    second = LocalFile.open(path)
    path.unlink()

    assert await first.read(0, 99, bytes) == b"first"
    assert await second.read(1, 3, bytes) == b"ec"
    assert first.identity != second.identity


def test_a_descriptor_is_closed_when_nobody_holds_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    before = descriptors()

    files: list[object] = [LocalFile.open(tmp_path / "file") for _ in range(10)]
    files += [NewFile(tmp_path / str(number)) for number in range(10)]
    assert descriptors() == before + 20

    files.clear()
    assert descriptors() == before


async def test_a_read_under_way_keeps_the_file_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    reading = asyncio.create_task(LocalFile.open(tmp_path / "file").read(0, 99, bytes))
    await asyncio.sleep(0)
    gc.collect()

    assert await reading == b"content"


def test_a_file_that_is_not_there_can_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LocalFile.open(tmp_path / "file")


async def test_bytes_in_memory_are_read_like_a_file() -> None:
    assert await InMemory(b"content").read(3, 99, bytes) == b"tent"


def test_every_change_of_a_file_changes_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first = identity(path.stat())
    path.write_bytes(b"xy")
    second = identity(path.stat())
    os.utime(path, ns=(0, 0))

    assert len({first, second, identity(path.stat())}) == 3


@given(st.lists(st.binary(max_size=40), max_size=3000), st.integers(0, 50))
def test_however_many_parts_there_are_all_are_written(parts: list[bytes], offset: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        file = NewFile(path)
        file.write([*parts, *[b"."] * 1500], offset)
        file.close()

        assert path.read_bytes()[offset:] == b"".join(parts) + b"." * 1500


def test_a_write_that_stops_short_goes_on_until_the_disk_is_full(tiny_disk: Path) -> None:
    file = NewFile(tiny_disk / "file")

    with pytest.raises(OSError, match="No space left"):
        file.write([b"x" * 5_000_000, b"y" * 5_000_000], 0)

    assert file.read(2, 4_999_999) == b"xy"


def test_what_is_written_can_be_read_back_and_cut(tmp_path: Path) -> None:
    file = NewFile(tmp_path / "file")
    file.write([b"one", bytearray(b"two"), memoryview(b"three")], 0)

    assert file.read(5, 2) == b"etwot"
    file.end_at(4)
    assert file.status().st_size == 4


def test_a_closed_file_takes_and_gives_nothing(tmp_path: Path) -> None:
    file = NewFile(tmp_path / "file")
    file.close()
    file.close()
    other = NewFile(tmp_path / "other")  # has the number of the descriptor now

    for use in (lambda: file.write([b"x"], 0), lambda: file.read(1, 0), lambda: file.end_at(0), file.status):
        with pytest.raises(OSError, match="closed") as refused:
            use()
        assert refused.value.errno == errno.EBADF
    assert other.status().st_size == 0


def test_a_new_file_takes_no_other_files_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(FileExistsError):
        NewFile(tmp_path / "file")


def test_a_folder_is_kept_from_others_for_as_long_as_it_is_used(tmp_path: Path) -> None:
    with locked(tmp_path / "data"):
        with pytest.raises(FolderInUse, match=r"another relay uses .*data; stop it, or use RELAY_DATA="):
            locked(tmp_path / "data").__enter__()
        assert (tmp_path / "data").is_dir()

    with locked(tmp_path / "data"):
        pass


async def test_few_files_are_open_however_many_there_are(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(300)]
    for path in paths:
        path.write_bytes(path.name.encode())
    before = descriptors()

    files = [LocalFile.open(path, pinned=False) for path in paths]
    read = [await file.read(0, 9, bytes) for file in files]

    assert read == [path.name.encode() for path in paths]
    assert descriptors() - before <= 100
    del files
    assert descriptors() <= before


async def test_a_file_that_was_pinned_outlives_its_name_and_another_is_never_taken_for_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"old")
    pinned, other = [LocalFile.open(tmp_path / name, pinned=False) for name in "ab"]
    pinned.pin()
    (tmp_path / "c").touch()
    many = [LocalFile.open(tmp_path / "c", pinned=False) for _ in range(300)]  # which close the other

    (tmp_path / "a").unlink()
    (tmp_path / "b").unlink()
    (tmp_path / "b").write_bytes(b"new bytes")

    assert many
    assert await pinned.read(0, 9, bytes) == b"old"
    with pytest.raises(ContentDamaged, match="the file b was replaced or removed while it was read; pull again"):
        await other.read(0, 9, bytes)
    with pytest.raises(ContentDamaged):
        other.pin()


def test_a_relay_may_have_as_many_open_files_as_the_machine_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[1], 1024), before[1]))
        raise_open_files()

        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
