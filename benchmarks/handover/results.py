"""What was measured, by engine and by flow."""

import statistics
from typing import NamedTuple

from benchmarks.handover.flows import Flow
from benchmarks.measuring import ratio


class Took(NamedTuple):
    """What a flow took in a round; seconds on the clock, and of processors in registries and in blob storage."""

    flow: Flow
    seconds: float
    cpu: float
    storage_cpu: float
    stored: int  # bytes in artifacts


class Result(NamedTuple):
    """What was measured with one engine."""

    engine: str
    took: list[Took]

    def rows(self, flows: tuple[Flow, ...]) -> list["Row"]:
        """Return what the flows took that this engine can do, in their order."""
        return [self._row(flow) for flow in flows if self._of(flow.key)]

    def _row(self, flow: Flow) -> "Row":
        took, floor = self._of(flow.key), [each.seconds for each in self._of(flow.floor)]
        seconds = [each.seconds for each in took]
        return Row(
            flow,
            seconds,
            ratio(seconds, floor) if floor else None,
            statistics.median(each.cpu for each in took),
            statistics.median(each.stored for each in took),
        )

    def _of(self, key: str) -> list[Took]:
        """Return what a flow took, round by round: in an odd round the flows come in the other order."""
        return [took for took in self.took if took.flow.key == key]


class Row(NamedTuple):
    """The figures of a flow: seconds of each round, and medians of the others."""

    flow: Flow
    seconds: list[float]
    ratio: float | None  # to its floor, unless that was not measured
    cpu: float
    stored: float

    @property
    def median(self) -> float:
        """The seconds of the typical round."""
        return statistics.median(self.seconds)
