"""The parts of the action that decide without asking anybody, by Node's own test runner."""

import re
import subprocess
from pathlib import Path

from config.settings import Settings
from tests.action.runner import ROOT, manifest
from tests.machine import require_node

_TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))


def test_the_tests_in_javascript_pass() -> None:
    files = [str(path) for path in _TESTS]

    done = subprocess.run(  # noqa: S603
        [require_node(), "--test", "--test-reporter=tap", *files],
        capture_output=True,
        check=False,
        text=True,
        timeout=50,
    )

    counted = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    assert done.returncode == 0, done.stdout + done.stderr
    assert counted["pass"] == counted["tests"] > len(_TESTS)


def test_the_action_is_plain_modules_that_need_nothing_else() -> None:
    sources = {path.name: path.read_text() for path in (ROOT / "action").glob("*.mjs")}
    imported = {
        name for text in sources.values() for name in re.findall(r'^(?:import|.*\}) .*?from "([^"]+)"', text, re.M)
    }

    assert set(sources) == {f"{Path(name).name}" for name in imported if name.startswith("./")} | {
        "main.mjs",
        "post.mjs",
    }
    assert all(name.startswith(("./", "node:")) for name in imported)
    assert max(len(text.splitlines()) for text in sources.values()) <= 250


def test_the_action_knows_the_settings_and_inputs_by_name() -> None:
    script = 'import { KNOWN } from "./action/settings.mjs"; console.log(KNOWN.join(" "))'
    known = subprocess.run(  # noqa: S603
        [require_node(), "--input-type=module", "--eval", script], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split()

    assert sorted(known) == sorted(f"RELAY_{name.upper().rstrip('_')}" for name in Settings.model_fields)


def test_the_action_starts_the_image_of_its_own_version() -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version

    assert "default" not in manifest()["inputs"]["image"]  # it follows from the name by which the action was used
    assert f'export const VERSION = "{version[1]}"' in (ROOT / "action" / "relay.mjs").read_text()
    assert f"ARG VERSION={version[1]}" in (ROOT / "Dockerfile").read_text()
