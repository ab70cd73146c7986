"""The page of figures, and its plot."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.handover.flows import Flow
from benchmarks.handover.measuring import Took
from benchmarks.measuring import ratio, table
from tests.e2e.engines import Engine


class Told(NamedTuple):
    """What the page says of the run."""

    size: int
    rounds: int
    loads: tuple[str, str]


class Result(NamedTuple):
    """What was measured with one engine."""

    kind: type[Engine]
    version: str
    took: list[Took]

    @property
    def flows(self) -> list[Flow]:
        """Return the flows, in the order of the first round."""
        return list(dict.fromkeys(took.flow for took in self.took))

    def seconds(self, key: str) -> list[float]:
        """Return what a flow took, round by round."""
        return [took.seconds for took in self.took if took.flow.key == key]


def write(folder: Path, told: Told, results: Sequence[Result]) -> None:
    """Write the page."""
    page = [f"# Benchmarks\n\n{told.rounds} rounds with {told.size} MB; {told.loads}"]
    for result in results:
        rows = [("flow", "median", "floor takes")]
        for flow in result.flows:
            seconds, floor = result.seconds(flow.key), result.seconds(flow.floor)
            rows.append((flow.title, f"{statistics.median(seconds):.1f} s", f"{ratio(seconds, floor):.2f}"))
        page.append(f"{result.version}\n\n{table(rows)}")
    (folder / "benchmarks.md").write_text("\n\n".join(page) + "\n")
