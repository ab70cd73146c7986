"""The page of the benchmarks, and which bounds are missed, from figures that are made up; what watches a process."""

import os
import socket
from pathlib import Path
from xml.etree import ElementTree

from benchmarks import load, many
from benchmarks.asking import Asked
from benchmarks.handover.flows import FLOWS
from benchmarks.handover.page import Told, write
from benchmarks.handover.results import Result, Took
from benchmarks.watching import Descriptors

SVG = "{http://www.w3.org/2000/svg}"


def result(seconds: dict[str, list[float]], engine: str = "Docker 99, classic store") -> Result:
    flows = {flow.key: flow for flow in FLOWS}
    return Result(engine, [Took(flows[key], each, 2.5, 0.5, 7_000_000) for key in seconds for each in seconds[key]])


def test_every_floor_is_a_flow_of_the_same_engines() -> None:
    flows = {flow.key: flow for flow in FLOWS}

    assert len(flows) == len(FLOWS)
    assert [flow.key for flow in FLOWS if flows[flow.floor].needs_containerd > flow.needs_containerd] == []


def test_a_row_has_the_median_and_compares_round_by_round(tmp_path: Path) -> None:
    measured = result({"push-pull": [10.0, 40.0, 12.0], "floor-push": [5.0, 10.0, 6.0]})

    write(tmp_path, Told(200, 3, "idle", "docker99 docker98"), [measured])

    page = (tmp_path / "benchmarks.md").read_text()
    (row,) = [line for line in page.partition("\n## An image of")[0].splitlines() if "**push, pull**" in line]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:] == [
        "12.0 s",
        "10.0 to 40.0 s",
        "2.00 x",
        "2.5 s",
        "7 MB",
    ]
    assert "### Docker 99, classic store" in page
    assert "--size 200 --rounds 3 --engines docker99 docker98`" in page


def test_the_plot_has_a_bar_for_each_flow_on_one_scale(tmp_path: Path) -> None:
    engines = [
        result({"alone": [10.0], "save-load": [20.0]}, "one & only"),
        result({"alone": [5.0], "guide-image": [40.0]}, "two"),
    ]

    write(tmp_path, Told(200, 1, "idle", "docker99"), engines)

    plot = ElementTree.parse(tmp_path / "benchmarks.svg").getroot()  # noqa: S314 - our own
    bars = [bar for bar in plot.iter(f"{SVG}rect") if "." in bar.attrib["width"]]
    widest = max(float(bar.attrib["width"]) for bar in bars)
    assert [float(bar.attrib["width"]) / widest for bar in bars] == [0.5, 0.25, 1.0, 0.125]
    assert [bar.attrib["class"] for bar in bars] == ["relay", "floor", "other", "floor"]
    assert {"one & only", "two"} <= {text.text for text in plot.iter(f"{SVG}text")}


def measured(reader: float = 0.1, p99: float = 0.01, rss: int = 1, files: int = 1) -> load.Result:
    return load.Result(reader, p99, p99, rss, Descriptors(files, 900), was_over=False)


def test_a_crowd_misses_each_bound_by_itself() -> None:
    alone = load.Compared("alone", [measured()], [measured()])
    crowds = [
        measured(reader=0.4),
        measured(reader=0.5),
        measured(p99=0.02),
        measured(rss=150 * 2**20),
        measured(files=256),
    ]

    missed = [load.missed(load.Compared("pulls", [each], [measured()]), alone) for each in crowds]

    assert missed == ["", "reader", "p99", "RSS", "files"]


def test_a_listing_misses_what_is_too_slow() -> None:
    others = Asked([0.001] * 98 + [0.2, 0.2], 1.0)

    assert many.Row("/v2/_catalog", [2.5, 0.1], others).missed == "first, p99"
    assert many.Row("/v2/_catalog", [0.5, 0.1], Asked([0.001], 1.0)).missed == ""


def test_connections_are_told_from_files(tmp_path: Path) -> None:
    before = Descriptors.of(os.getpid())

    with socket.socket(), (tmp_path / "file").open("w"), (tmp_path / "another").open("w"):
        after = Descriptors.of(os.getpid())

    assert (after.files - before.files, after.sockets - before.sockets) == (2, 1)
