"""What reads the files of others, fuzzed for a fixed number of inputs; `tests.fuzzing` does it for longer."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from tests.fuzzing.targets import TARGETS, seeds
from tests.machine import missing

_RUNS = 2000
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before_is_no_fault_any_more(name: str) -> None:
    made = [TARGETS[name](each) for each in seeds(name)]

    assert max(made) > 0  # some of it can be read, so that a fuzzer gets beyond the first check


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=150)
@given(data=st.data())
def test_seeds_that_are_damaged_are_read_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(seeds(name))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=12))

    target(float(TARGETS[name](bytes(content))))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_reach_new_code_are_read_or_refused(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        missing("atheris", "make, on Linux for x86-64 with Python 3.11 to 3.13")

    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tests.fuzzing", name, "--runs", str(_RUNS), "--keep", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"stat::number_of_executed_units: {_RUNS}" in ended.stderr
