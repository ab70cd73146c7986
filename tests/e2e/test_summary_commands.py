"""The commands that the summary offers for what is no image, run as they are written."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.relay import Relay
from tests.machine import require

pytestmark = pytest.mark.e2e


def test_an_artifact_is_fetched_from_the_relay_and_from_its_file(
    relay: Relay, toolbox: Toolbox, tmp_path: Path
) -> None:
    oras, _ = require("oras"), require("zstd")
    env = toolbox.env() | {"PATH": f"{Path(oras).parent}:{toolbox.env()['PATH']}"}
    (tmp_path / "report.json").write_text("{}")
    pushing = ["push", "--plain-http", "--artifact-type", "application/spdx+json", f"{relay.host}/team/sbom:v1"]
    subprocess.run([oras, *pushing, "report.json:application/json"], cwd=tmp_path, env=env, check=True)

    blocks = re.findall(r"^```sh\n(.*?)^```", relay.read("/relay/summary").decode(), re.MULTILINE | re.DOTALL)

    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = block.replace("localhost:5000", relay.host)
        subprocess.run(["bash", "-e", "-c", text], cwd=folder, env=env, check=True)
        assert (folder / "report.json").read_text() == "{}"
