"""What a relay as a process, and a command, do without."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_relay_as_a_process_imports_nothing_of_the_packages_that_it_goes_without() -> None:
    source = (ROOT / "action" / "packages.mjs").read_text()
    (listed,) = re.findall(r"export const OF_COMMANDS = \[(.*)\]", source)
    left_out = {name.replace("-", "_").removesuffix("_py") for name in re.findall(r'"([\w-]+)"', listed)}
    modules = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, proxy.job_process; print(*{name.partition('.')[0] for name in sys.modules})",
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()

    assert {"aiodocker", "rich", "pygments", "markdown_it", "mdurl"} == left_out
    assert "aiohttp" in modules
    assert left_out.isdisjoint(modules)


def imported(code: str, **environment: str) -> set[str]:
    """Return the modules that are there after some lines of Python."""
    shown = subprocess.run(  # noqa: S603 - our own lines
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
        text=True,
    )
    return set(shown.stdout.split())


def test_a_command_imports_nothing_that_it_does_not_need_in_a_job() -> None:
    command = "from proxy.__main__ import main\ntry: main(['save', 'app:v1', '--port', '1'])\nexcept SystemExit: pass"
    modules = imported(command, DOCKER_HOST="unix:///nowhere")

    assert "aiodocker" in modules
    assert {"aiohttp.web", "rich", "urllib3", "pydantic_settings"}.isdisjoint(modules)


def test_a_relay_imports_urllib3_when_it_reads_an_artifact_and_not_before() -> None:
    assert {"urllib3", "pydantic_settings"}.isdisjoint(imported("import proxy.job_process"))
