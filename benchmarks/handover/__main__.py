"""How long an image takes from one job to the next, by each way that is in use; writes docs/benchmarks.md.

Every flow ends with the image in the engine of a second job. Real engines build, push, pull, save and load; GitHub's
own client uploads and downloads where a workflow would; the artifact service is the emulator of `tests/fakes/actions`,
with its blobs in a storage that costs little. Each round does every flow once, on an image that is new to all.

Needs root, and what `tools/install-test-tools` and `tools/install-actions-emulator` install.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.handover import page
from benchmarks.handover.flows import FLOWS, Flow
from benchmarks.handover.results import Result
from benchmarks.handover.rounds import bench
from benchmarks.measuring import ROOT, Failed, load
from tests.e2e.engines import Docker20, Docker28, Docker28Graph, Engine
from tests.machine import require, require_node

_ENGINES: dict[str, type[Engine]] = {kind.name: kind for kind in (Docker28, Docker28Graph, Docker20)}


def main() -> int:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # no engine and no folder stays behind
    arguments = _arguments()
    flows = [flow for flow in FLOWS if flow.key in arguments.flows]
    before, results = load(), []
    try:
        require_node()
        require("docker-registry")
        for number, name in enumerate(arguments.engines, 1):
            results.append(_measured(_ENGINES[name], flows, arguments))
            loads, engines = f"{before} at the start, {load()} at the end", " ".join(arguments.engines[:number])
            told = page.Told(arguments.size, arguments.rounds, loads, engines)
            page.write(arguments.pages, told, results)
    except (Failed, pytest.skip.Exception, pytest.fail.Exception) as error:  # of `require`, as in tests
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handover", description=__doc__)
    parser.add_argument("--size", type=int, default=500, help="of the image, in megabytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=_ENGINES, default=list(_ENGINES))
    parser.add_argument(
        "--flows", nargs="+", choices=[flow.key for flow in FLOWS], default=[flow.key for flow in FLOWS]
    )
    parser.add_argument("--files", type=Path, default=Path("/usr"), help="the folder whose files make the layers")
    parser.add_argument("--folder", type=Path, help="where the engines keep images, some ten times the size")
    parser.add_argument("--blobs", type=Path, default=Path("/dev/shm"), help="where the storage keeps blobs")  # noqa: S108
    parser.add_argument("--pages", type=Path, default=ROOT / "docs", help="where the page and its plot are written")
    return parser.parse_args()


def _measured(kind: type[Engine], flows: list[Flow], arguments: argparse.Namespace) -> Result:
    """Measure what an engine can do."""
    fitting = [flow for flow in flows if flow.fits(kind)]
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.folder) as data,
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.blobs) as blobs,
        bench(kind, Path(data), Path(blobs)) as running,
    ):
        took = list(running.rounds(fitting, arguments.size * 10**6, arguments.rounds, arguments.files))
        return Result(running.engine, took)


if __name__ == "__main__":
    sys.exit(main())
