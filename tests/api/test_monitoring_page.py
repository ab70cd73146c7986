"""The page about metrics and health names what there is, and nothing else."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from proxy.reporting.metrics import _GAUGES, Metrics
from tests.api.relay import Relay

PAGE = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()


def section(heading: str) -> str:
    return re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def test_every_metric_is_in_the_table_with_its_labels() -> None:
    metrics = Metrics()
    text = metrics.text({"version": "1", "store": "s"}, dict.fromkeys(_GAUGES, 1)).decode()

    told = {family.name: family.type for family in text_string_to_metric_families(text)}
    rows = [line.split("|")[1:3] for line in section("Metrics").splitlines() if line.startswith("| `image_relay")]
    written = {name: labels for names, labels in rows for name in re.findall(r"`(\w+)`", names)}

    assert {name.removesuffix("_total").removesuffix("_info") for name in written} == {
        name.removesuffix("_info") for name in told
    }
    for name, labels in written.items():
        counter = metrics._registry._names_to_collectors.get(name)
        assert re.findall(r"`(\w+)`", labels) == list(getattr(counter, "_labelnames", ())) or "info" in name


async def test_every_field_of_health_is_in_the_table(relay: Relay) -> None:
    health = (await relay.ask("GET", "/relay/health")).json

    fields = {
        name
        for line in section("Health").splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }

    assert health.keys() <= fields
    assert fields - health.keys() == {"session", "session_expires", "run", "head", "commit", "event", "from"}
