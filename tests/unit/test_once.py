"""Processes that need the same thing have it made once, and the last of them tidies up."""

from pathlib import Path

import pytest

from tests.once import sharing


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    return tmp_path / "popen-gw0", tmp_path / "popen-gw1"


def test_what_one_process_has_made_is_found_by_another_and_gone_after_the_last(folders: tuple[Path, Path]) -> None:
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("made")

    with sharing(folders[0]) as one:
        with sharing(folders[1]) as other:
            paths = {one.made("thing", make), other.made("thing", make), other.made("thing", make)}
        (path,) = paths
        assert path.read_text() == "made"
        assert len(made) == 1

    assert not path.parent.exists()


def test_what_failed_is_made_again(folders: tuple[Path, Path]) -> None:
    attempts = iter(["half", "whole"])

    def make(path: Path) -> None:
        path.write_text(attempt := next(attempts))
        if attempt == "half":
            raise ConnectionError

    with sharing(folders[0]) as once:
        with pytest.raises(ConnectionError):
            once.made("thing", make)

        assert once.made("thing", make).read_text() == "whole"
