"""References in JavaScript and in Python: of any text both say the same."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.errors import RegistryError
from proxy.oci.references import Reference
from tests.action.runner import ROOT
from tests.machine import require_node
from tests.references import TEXTS

_ANSWER = """
import { createInterface } from "node:readline"
import { parse } from "./references.mjs"
for await (const line of createInterface(process.stdin)) console.log(JSON.stringify(parse(JSON.parse(line)) ?? null))
"""
_FIELDS = ("host", "path", "tag", "digest")


@pytest.fixture(scope="module")
def node() -> Iterator[subprocess.Popen[str]]:
    """The parser of the action; answers a line of JSON with one."""
    command = [require_node(), "--input-type=module", "--eval", _ANSWER]
    with subprocess.Popen(  # noqa: S603
        command, cwd=ROOT / "action", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        running.communicate()


def _in_python(text: str) -> dict[str, str] | None:
    try:
        read = Reference.parse(text)
    except RegistryError:
        return None
    return {field: str(getattr(read, field) or "") for field in _FIELDS}


@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS | st.text(max_size=20))
def test_both_parsers_say_the_same(node: subprocess.Popen[str], text: str) -> None:
    assert node.stdin
    assert node.stdout
    node.stdin.write(json.dumps(text) + "\n")
    node.stdin.flush()

    assert json.loads(node.stdout.readline()) == _in_python(text)
