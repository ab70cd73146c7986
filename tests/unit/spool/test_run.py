"""Of which run a spool is, on the disk."""

from pathlib import Path

import pytest

from proxy.spool.run import FOLDER, Run, read_run, write_run

RUN = Run.of("run 7 of octo/app", ("session", "https://results.example", "octo/app", "7"))


def test_the_run_is_known_after_a_restart_and_no_identity_is_on_the_disk(tmp_path: Path) -> None:
    write_run(tmp_path, RUN)

    assert read_run(tmp_path) == RUN
    (file,) = tmp_path.iterdir()
    assert "results.example" not in file.read_text()


def test_without_a_file_the_spool_is_of_a_folder(tmp_path: Path) -> None:
    assert read_run(tmp_path) == FOLDER
    write_run(tmp_path, RUN)
    write_run(tmp_path, FOLDER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", "{}", '{"name": "run 7"}', '{"name": "run 7", "keys": 7}'])
def test_a_damaged_file_tells_of_a_run_that_is_no_other(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "run.json").write_text(damaged)

    found = read_run(tmp_path)

    assert not found.is_same(RUN)
    assert not found.is_same(FOLDER)
    assert not found.is_same(found)


def test_attempts_that_share_one_identity_are_the_same_run() -> None:
    again = Run.of("run 7 of octo/app", ("token", "x"), ("session", "https://results.example", "octo/app", "7"))
    assert again.is_same(RUN)
    assert not Run.of("run 8 of octo/app", ("session", "https://results.example", "octo/app", "8")).is_same(RUN)
