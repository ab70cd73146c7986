"""The page of figures, and its plot beside it."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.handover.flows import FLOWS
from benchmarks.handover.plot import drawn
from benchmarks.handover.results import Result, Row
from benchmarks.measuring import table

_PAGE = Path(__file__).with_suffix(".md")
_HEAD = ("from", "way", "median", "fastest to slowest", "of its floor", "CPU", "stored")


class Told(NamedTuple):
    """What the page says of the run."""

    size: int  # MB
    rounds: int
    loads: str
    engines: str  # as the command names those that were measured


def write(folder: Path, told: Told, results: Sequence[Result]) -> None:
    """Write benchmarks.md and benchmarks.svg into a folder."""
    panels = [(result.engine, result.rows(FLOWS)) for result in results]
    page = _PAGE.read_text().format(
        **told._asdict(),
        storage_cpu=max(took.storage_cpu for result in results for took in result.took),
        cpus=os.cpu_count(),
        processor=_processor(),
        date=datetime.datetime.now(datetime.UTC).date(),
        tables="\n\n".join(f"### {engine}\n\n{_table(rows)}" for engine, rows in panels),
    )
    (folder / "benchmarks.md").write_text(page)
    (folder / "benchmarks.svg").write_text(drawn(panels, f"Seconds to hand over an image of {told.size} MB"))


def _table(rows: Sequence[Row]) -> str:
    return table(
        [("from", "way", "median", "fastest to slowest", "of its floor", "CPU", "stored"), *map(_written, rows)]
    )


def _written(row: Row) -> tuple[str, ...]:
    is_floor = row.flow.floor == row.flow.key
    title = f"**{row.flow.title}**" if row.flow.by_relay else row.flow.title
    return (
        "a build" if row.flow.start.name == "BUILD" else "an image",
        title,
        f"{row.median:.1f} s",
        f"{min(row.seconds):.1f} to {max(row.seconds):.1f} s",
        "-" if row.ratio is None else "floor" if is_floor else f"{row.ratio:.2f} x",
        f"{row.cpu:.1f} s" if row.cpu else "-",
        f"{row.stored / 1e6:,.0f} MB" if row.stored else "-",
    )


def _processor() -> str:
    """Return the processor's name, where the kernel tells it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((f" of an {line.partition(': ')[2]}" for line in lines if line.startswith("model name")), "")
