"""A folder as the tar that it would be."""

import asyncio
import io
import tarfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.artifacts.layout_folder import LayoutFolder

FILES = {"index.json": b"{}", "blobs/sha256/" + "a" * 64: b"x" * 1500, "blobs/empty": b"", "n" * 120: b"y" * 512}


def written(root: Path) -> LayoutFolder:
    for name, content in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return LayoutFolder(root)


async def whole(folder: LayoutFolder) -> bytes:
    return await folder.read(0, folder.size, bytes)


def test_the_tar_has_the_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    folder = written(tmp_path)

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(whole(folder)))) as archive:
        found = {each.name: opened.read() for each in archive if (opened := archive.extractfile(each))}

    assert found == FILES


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_range_is_a_part_of_the_tar(data: st.DataObject, tmp_path: Path) -> None:
    folder = written(tmp_path)
    everything = asyncio.run(whole(folder))
    start = data.draw(st.integers(0, folder.size))
    stop = data.draw(st.integers(start, folder.size + 100))

    assert len(everything) == folder.size
    assert asyncio.run(folder.read(start, stop, bytes)) == everything[start:stop]
