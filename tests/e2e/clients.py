"""The real clients, and where they are.

Two generations are used: Debian's own on this machine, and newer ones, those of Debian testing, in
a root folder of their own. Both see the same work folder under the same path.
"""

import shutil
import subprocess
from pathlib import Path
from typing import IO

from tests.machine import HOST_PATH, INSTALLS, TOOLS, missing, require, require_root

NEWER = TOOLS / "testing"
ENTER_ROOT = Path(__file__).parents[2] / "tools" / "enter-root"

_TIMEOUT = 240.0  # seconds; far above the slowest call, the pull of a 300 MB layer


def require_newer(tool: str) -> str:
    """Find a program of the root of Debian testing."""
    require_root()
    if shutil.which(tool, path=f"{NEWER}/usr/sbin:{NEWER}/usr/bin") is None:
        missing(f"{tool} in {NEWER}", INSTALLS)
    return tool


class ClientError(AssertionError):
    """A client ended with a failure; the text holds its command line and all it said."""


def attempt(
    command: list[str],
    env: dict[str, str],
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.CompletedProcess[str]:
    """Run to the end, whatever that is."""
    return subprocess.run(
        command,
        env=env,
        stdin=stdin,
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
        text=True,
        errors="replace",
    )


def run(
    command: list[str],
    env: dict[str, str],
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.CompletedProcess[str]:
    """Run to the end; anything but success raises."""
    done = attempt(command, env, stdin)
    if done.returncode != 0:
        said = done.stdout + done.stderr
        raise ClientError(f"{' '.join(command)}\nended with {done.returncode}:\n{said[-4000:]}")
    return done


class Toolbox:
    """The clients, with one home below the work folder, so that they touch nothing of the user."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.home = work / "home"
        (self.home / "scratch").mkdir(parents=True, exist_ok=True)

    def env(self) -> dict[str, str]:
        home = str(self.home)
        return {
            "PATH": HOST_PATH,
            "HOME": home,
            "TMPDIR": f"{home}/scratch",
            "XDG_RUNTIME_DIR": home,
            "DOCKER_BUILDKIT": "0",  # 20.10 would fetch a BuildKit frontend; buildx ignores this
        }

    def host(self, tool: str, *arguments: str) -> str:
        """Run a client of this machine and return what it printed."""
        return run([require(tool), *arguments], self.env()).stdout

    def newer(self, tool: str, *arguments: str) -> str:
        """Run a client of the root of Debian testing and return what it printed."""
        return run([*self.entering(), require_newer(tool), *arguments], self.env()).stdout

    def entering(self) -> list[str]:
        """Return what to put before a command that shall run in the root of Debian testing."""
        return [str(ENTER_ROOT), str(NEWER), str(self.work)]
