"""The page for people who change the code names every module, and none that is not there."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w./-]+)` \| (.+) \|$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def modules() -> list[str]:
    paths = sorted(path for folder in ("proxy", "config") for path in (ROOT / folder).rglob("*.py"))
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.name != "__init__.py"]
    return [each.removeprefix("proxy.") for each in dotted]


def test_the_table_has_every_module_once_and_no_other() -> None:
    named = [name for name, _ in ROW.findall(section("The modules"))]

    assert sorted(named) == sorted(modules())


def test_each_module_is_described_in_a_line() -> None:
    lines = ROW.findall(section("The modules"))

    assert not [name for name, line in lines if not 10 <= len(line) <= 160]


def test_the_tiers_are_those_that_are_enforced() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    enforced = next(each["layers"] for each in contracts if each["type"] == "layers")
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", section("Imports point downwards"), re.MULTILINE)

    assert [int(number) for number, _ in rows] == list(range(len(enforced), 0, -1))
    assert [re.findall(r"`(\w+)`", packages) for _, packages in rows] == [re.findall(r"\w+", each) for each in enforced]


def test_every_module_that_the_text_mentions_is_there() -> None:
    known = {part for each in modules() for part in (each, each.rpartition(".")[0])}
    mentioned = re.findall(
        r"`((?:api|reporting|registry|catalog|spool|artifacts|tarballs|archive|oci|runtime)\.[a-z_.]+)", PAGE
    )

    assert not [each for each in mentioned if each not in known and each.rpartition(".")[0] not in known]
