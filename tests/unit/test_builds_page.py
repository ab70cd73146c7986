"""What docs/builds.md says of speed is what docs/benchmarks.md has measured: change it when that is measured anew."""

import re
from pathlib import Path

from benchmarks.handover.flows import FLOWS

ROOT = Path(__file__).parents[2]
GUIDE = {"build": "guide-build", "image": "guide-image"}
WAYS = {flow.title: flow.key for flow in FLOWS}


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().replace("**", "") for cell in line.strip("|").split("|")] for line in lines[2:]]


def measured() -> dict[tuple[str, str], float]:
    """Return the median seconds by store and key of the flow, of the Docker that runners have."""
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    seconds = dict[tuple[str, str], float]()
    for engine, table in re.findall(r"^### (.+)\n\n((?:\|.*\n)+)", page, re.MULTILINE):
        if not engine.startswith("Docker 20"):
            store = "containerd" if "containerd" in engine else "classic"
            seconds |= {(store, WAYS[way]): float(median.removesuffix(" s")) for _, way, median, *_ in rows(table)}
    return seconds


def test_the_ways_are_as_fast_as_measured() -> None:
    page, seconds = (ROOT / "docs" / "builds.md").read_text(), measured()
    store = start = ""
    said, right = {}, {}
    for runners, begin, way, ratio in rows(page.split("\n## Which way on which runner\n")[1].split("\n## ")[0]):
        store, start = runners.split()[0] if runners else store, begin.split()[-1] if begin else start
        said[store, start, way] = ratio
        right[store, start, way] = f"{seconds[store, GUIDE[start]] / seconds[store, WAYS[way]]:.1f} x"

    assert len(said) > 8
    assert said == right


def test_the_page_advises_the_fastest_way_of_the_relay() -> None:
    seconds = measured()

    built = {
        key: seconds["containerd", key] for key in ("build-gzip", "build-zstd", "build-uncompressed", "build-push")
    }
    there = {key: seconds["containerd", key] for key in ("push-pull", "save-pull", "save-load")}
    classic = [seconds["classic", key] for key in there]
    assert min(built, key=lambda key: built[key]) == "build-zstd"
    assert min(there, key=lambda key: there[key]) == "push-pull"
    assert max(classic) < 1.25 * min(classic), "none is clearly ahead"


def test_by_hand_takes_about_as_long() -> None:
    seconds = measured()

    for store, by_hand, relayed in (
        ("containerd", "hand-build", "build-zstd"),
        ("containerd", "hand-image", "save-load"),
        ("classic", "hand-image", "save-load"),
    ):
        assert seconds[store, by_hand] < 1.1 * seconds[store, relayed], (store, by_hand)


def test_ratios_are_in_these_two_pages_alone() -> None:
    others = {ROOT / "README.md", *(ROOT / "docs").glob("*.md")} - {
        ROOT / "docs" / "builds.md",
        ROOT / "docs" / "benchmarks.md",
    }

    assert [page.name for page in others if re.search(r"\d\.\d x\b|times as fast", page.read_text())] == []
