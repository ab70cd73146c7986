"""Fuzz one target, guided by what its code covers: `python -m tests.fuzzing TARGET [--runs N] [--keep FOLDER]`.

It needs atheris. Time and memory of one input, and its size, are bounded; an input that breaks the target is written
to the working directory. New inputs that cover more are lost unless `--keep` names a folder for them.
"""

import argparse
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["proxy"]):
    from tests.fuzzing.targets import SEEDS, TARGETS

_LARGEST = 65_536  # bytes of an input
_SECONDS = 20  # of one input
_MEMORY = 2048  # MiB of the process


def main() -> None:
    """Run until an input fails, or for a number of inputs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=-1, help="inputs; -1 for no end")
    parser.add_argument("--keep", help="a folder for inputs that cover more")
    chosen = parser.parse_args()
    target = TARGETS[chosen.target]
    folders = [chosen.keep or tempfile.mkdtemp(), str(SEEDS / chosen.target)]  # new inputs go to the first one
    options = [f"-runs={chosen.runs}", f"-max_len={_LARGEST}", f"-timeout={_SECONDS}", f"-rss_limit_mb={_MEMORY}"]
    atheris.Setup(
        [sys.argv[0], *options, "-seed=1", "-print_final_stats=1", *folders], lambda data: target(bytes(data)) and None
    )
    atheris.Fuzz()


main()
