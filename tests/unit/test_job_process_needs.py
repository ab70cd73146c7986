"""What the packages of a relay as a process leave out."""

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
