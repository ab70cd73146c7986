"""What is particular to the directory store: its files, and what else may lie beside them."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from proxy.artifacts.base import ArtifactGone, StoreRefused
from proxy.artifacts.directory import DirectoryStore
from tests.fakes.memory_store import Bytes


@pytest.fixture
async def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    await store.prepare()
    return store


class Watched(Bytes):
    """A body that looks around in the folder when it is half done."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.seen: list[str] = []

    async def parts(self) -> AsyncIterator[bytes]:
        yield bytes(5 * 1024 * 1024)
        self.seen = await asyncio.to_thread(files, self.root)
        yield b"end"

    def stretches(self) -> AsyncIterator[bytes]:
        return self.parts()


def files(root: Path) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file()]


async def names(store: DirectoryStore) -> list[str]:
    return sorted(artifact.name for artifact in await store.listed())


async def test_an_artifact_is_a_file_of_that_name(store: DirectoryStore, tmp_path: Path) -> None:
    await store.put("image-app@v1", Bytes(b"one", b"two"))

    assert (tmp_path / "image-app@v1.tar.zst").read_bytes() == b"onetwo"


async def test_a_folder_in_the_place_of_a_file_is_named(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "image-app@v1.tar.zst").mkdir()

    with pytest.raises(StoreRefused, match=r"image-app@v1\.tar\.zst is a folder in .*; remove it and push again"):
        await store.put("image-app@v1", Bytes(b"one"))


async def test_while_it_is_written_a_file_has_another_ending(store: DirectoryStore, tmp_path: Path) -> None:
    body = Watched(tmp_path)

    await store.put("image-app@v1", body)

    assert len(body.seen) == 1
    assert not body.seen[0].endswith(".tar.zst")
    assert files(tmp_path) == ["image-app@v1.tar.zst"]


async def test_what_a_dead_process_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".incoming" / "deep").mkdir(parents=True)
    (tmp_path / ".incoming" / "part").write_bytes(b"half")
    (tmp_path / "image-app@v1.tar.zst").write_bytes(b"whole")
    store = DirectoryStore(tmp_path)

    await store.prepare()

    assert list((tmp_path / ".incoming").iterdir()) == []
    assert await names(store) == ["image-app@v1"]


async def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "a" / "b")

    await store.prepare()

    assert await store.listed() == []


async def test_a_folder_that_was_removed_while_the_relay_runs_is_made_anew(
    store: DirectoryStore, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path)

    assert await store.listed() == []
    await store.put("image-app@v1", Bytes(b"x"))
    assert await names(store) == ["image-app@v1"]


@contextmanager
def as_anybody() -> Iterator[None]:
    """Give up the rights of root for the block, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


async def test_only_regular_files_are_artifacts(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "image-app@dir.tar.zst").mkdir()
    os.mkfifo(tmp_path / "image-app@pipe.tar.zst")
    (tmp_path / "image-app@dangling.tar.zst").symlink_to("nowhere")
    (tmp_path / "image-app@loop.tar.zst").symlink_to("image-app@loop.tar.zst")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "image-app@v1.tar.zst").write_bytes(b"x")
    (tmp_path / "image-app@link.tar.zst").symlink_to("image-app@v1.tar.zst")

    assert await names(store) == ["image-app@link", "image-app@v1"]


async def test_a_file_that_may_not_be_read_is_not_called_gone(store: DirectoryStore, tmp_path: Path) -> None:
    artifact = await store.put("image-app@v1", Bytes(b"x"))
    (tmp_path / "image-app@v1.tar.zst").chmod(0)

    with as_anybody(), pytest.raises(StoreRefused, match=r"Permission denied; check the file image-app@v1\.tar\.zst"):
        await store.open(artifact)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder to which everybody finds; pytest's are below one that is closed to others."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


async def test_a_folder_that_may_not_be_read_is_not_called_empty(reachable: Path) -> None:
    store = DirectoryStore(reachable)
    await store.put("image-app@v1", Bytes(b"x"))

    reachable.chmod(0o311)
    with as_anybody(), pytest.raises(StoreRefused, match=r"cannot read .*: Permission denied"):
        await store.listed()


async def test_a_file_whose_state_is_not_told_is_listed_and_cannot_be_opened(reachable: Path) -> None:
    store = DirectoryStore(reachable)
    artifact = await store.put("image-app@v1", Bytes(b"x"))

    reachable.chmod(0o444)  # names can be read, and nothing else
    with as_anybody():
        (listed,) = await store.listed()
        with pytest.raises(StoreRefused, match="Permission denied"):
            await store.open(listed)
    reachable.chmod(0o755)

    assert listed.name == artifact.name
    with pytest.raises(ArtifactGone):  # it is another one that can be read now
        await store.open(listed)
    await store.delete(listed)
    assert await store.listed() == []


async def test_files_that_share_their_content_are_all_found(store: DirectoryStore, tmp_path: Path) -> None:
    await store.put("image-app@v1", Bytes(b"x"))
    (tmp_path / "image-app@v2.tar.zst").hardlink_to(tmp_path / "image-app@v1.tar.zst")

    found = await store.listed()

    assert sorted(each.name for each in found) == ["image-app@v1", "image-app@v2"]
    assert len({each.id for each in found}) == 2
    assert [await (await store.open(each)).read(0, 9, bytes) for each in found] == [b"x", b"x"]


async def test_a_file_that_was_overwritten_in_place_is_another_artifact(store: DirectoryStore, tmp_path: Path) -> None:
    artifact = await store.put("image-app@v1", Bytes(b"x"))
    (tmp_path / "image-app@v1.tar.zst").write_bytes(b"longer")

    (now,) = await store.listed()

    assert now.id != artifact.id
    with pytest.raises(ArtifactGone):
        await store.open(artifact)
    await store.delete(artifact)
    assert await store.listed() == [now]


async def test_many_small_parts_are_gathered_and_none_is_lost(store: DirectoryStore, tmp_path: Path) -> None:
    parts = [os.urandom(30_000) for _ in range(300)] + [b"x"] * 2000

    await store.put("image-app@v1", Bytes(*parts))

    assert (tmp_path / "image-app@v1.tar.zst").read_bytes() == b"".join(parts)


async def test_other_troubles_of_the_disk_are_not_called_a_full_one(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / ".incoming").rmdir()
    (tmp_path / ".incoming").write_bytes(b"a file in the way")

    with pytest.raises(StoreRefused, match=r"cannot write to .*: (File exists|Not a directory)$"):
        await store.put("image-app@v1", Bytes(b"x"))


async def test_a_listing_while_files_come_and_go_never_fails(store: DirectoryStore) -> None:
    async def come_and_go(number: int) -> None:
        for _ in range(10):
            await store.delete(await store.put(f"image-app@v{number}", Bytes(b"x")))

    coming = asyncio.gather(*(come_and_go(number) for number in range(4)))
    while not coming.done():
        await store.listed()

    await coming
    assert await store.listed() == []


async def test_a_file_of_an_odd_time_is_there_and_hides_no_others(tiny_disk: Path) -> None:
    store = DirectoryStore(tiny_disk)
    await store.prepare()
    await store.put("image-app@v1", Bytes(b"x"))
    (tiny_disk / "odd.tar.zst").touch()
    os.utime(tiny_disk / "odd.tar.zst", (253402300800, 253402300800))  # the year 10000

    assert await names(store) == ["image-app@v1", "odd"]
