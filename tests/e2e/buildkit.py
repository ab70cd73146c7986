"""A BuildKit daemon of its own, as the driver docker-container has one, and buildx that builds with it."""

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.clients import Toolbox, require_newer
from tests.e2e.engines import answers
from tests.machine import require, require_root

_START_SECONDS = 60.0


class BuildKit:
    """A buildkitd with a configuration; its folder is gone at the end."""

    def __init__(self, toolbox: Toolbox, folder: Path) -> None:
        self.toolbox = toolbox
        self.folder = folder
        self.name = f"builder-{secrets.token_hex(4)}"

    def build(self, context: Path, output: Path) -> None:
        """Build without any cache of its own, into a layout that is packed in one file."""
        options = ["--builder", self.name, "--no-cache", "--pull", "--output", f"type=oci,dest={output}"]
        self._buildx("build", *options, str(context))

    def prune(self) -> None:
        """Forget everything that was pulled or built."""
        self._buildx("prune", "--builder", self.name, "--all", "--force")

    def _buildx(self, *arguments: str) -> str:
        return self.toolbox.newer("docker", "buildx", *arguments)

    def connect(self, socket: Path) -> None:
        self._buildx("create", "--name", self.name, "--driver", "remote", f"unix://{socket}")


@contextmanager
def buildkit(toolbox: Toolbox, configuration: str) -> Iterator[BuildKit]:
    """Run one until the end of the block."""
    require_root()
    require_newer("docker")
    folder = toolbox.work / f"buildkit-{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "buildkitd.toml").write_text(configuration)
    socket = folder / "buildkitd.sock"
    alone = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    options = ["--root", str(folder / "data"), "--addr", f"unix://{socket}", "--config", str(folder / "buildkitd.toml")]
    with (folder / "log").open("wb") as log:
        command = [*alone, "--propagation", "private", "--", require("buildkitd"), *options]
        process = subprocess.Popen(command, env=toolbox.env(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not answers(socket):
            said = (folder / "log").read_text(errors="replace")[-4000:]
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        started = BuildKit(toolbox, folder)
        started.connect(socket)
        yield started
    finally:
        process.kill()
        process.wait()
