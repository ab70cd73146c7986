"""The examples and numbers of docs/archive-format.md, run and compared."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from proxy.archive import limits
from tests.machine import require
from tests.unit.archive.samples import read_index
from tests.unit.archive.test_golden import GOLDEN, two_platforms

PAGE = Path(__file__).parents[3] / "docs" / "archive-format.md"


def example(language: str) -> str:
    [code] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(code)


def test_the_python_example_reads_every_blob() -> None:
    shelf, _ = two_platforms()

    for digest, plain in shelf.plain.items():
        command = [sys.executable, "-c", example("python"), str(GOLDEN), str(digest)]
        done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own text

        assert done.stdout == plain


def test_the_shell_example_reads_a_blob_of_several_pieces(tmp_path: Path) -> None:
    for tool in ("zstd", "jq"):
        require(tool)
    digest, entry = next(iter(read_index(GOLDEN.read_bytes()).blobs.items()))
    script = f"set -eu; file={GOLDEN}; digest={digest}\n{example('sh')}"

    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)  # noqa: S603, S607 - our own text

    assert len(entry.pieces) > 1
    assert hashlib.sha256((tmp_path / "blob").read_bytes()).hexdigest() == digest.hex


def test_the_page_names_the_limits_that_are_enforced() -> None:
    page = PAGE.read_text()

    for limit in ("PIECE", "STORED", "BLOCK", "MANIFEST", "METADATA", "INDEX", "VALUES", "OBJECTS"):
        assert f"{getattr(limits, limit):,}" in page, limit


def test_the_example_of_an_index_is_that_of_the_golden_file() -> None:
    index = read_index(GOLDEN.read_bytes())
    shown = example("json")

    for digest in (index.root, next(iter(index.blobs))):
        assert f'"{str(digest)[:11]}…"' in shown
    entry = index.blobs[index.root]
    assert f'"size": {entry.size}, "offset": {entry.offset}, "pieces": [{list(entry.pieces[0])}]' in shown
