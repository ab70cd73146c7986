"""Workflow files, read as GitHub does: by YAML 1.2, where `on` is a word."""

import re
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A reader whose only booleans are `true` and `false`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|false"), list("tf"))


def parse(text: str) -> dict[str, Any]:
    """Read a workflow."""
    workflow: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a safe one with fewer words
    return workflow


def read(path: Path) -> dict[str, Any]:
    """Read the workflow in a file."""
    return parse(path.read_text())
