"""Commands whose standard streams are closed, full or broken, and commands that are interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from tests import tarballs
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_ROOT = Path(__file__).parents[2]
_FULL = "image-relay: cannot write to standard output: No space left on device\n"
_TARBALL = tarballs.oci_save(tarballs.sample(), "app:v1")
_INTERRUPTED_AT = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class Interrupting(MetaPathFinder):
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from proxy.__main__ import main
main(["wait", "app:none", "--port", sys.argv[2]])
"""


@pytest.fixture
def image(relay: Relay, tmp_path: Path) -> Path:
    """The file of an image that the relay has."""
    file = tmp_path / "image.tar"
    file.write_bytes(_TARBALL)
    assert relay.request("PUT", "/relay/images/app:v1", None, _TARBALL)[0] == 201
    return file


def ended(
    relay: Relay,
    *arguments: str,
    output: int | IO[bytes] = subprocess.PIPE,
    closed: Sequence[int] = (),
    program: Sequence[str] = ("-m", "proxy"),
) -> tuple[int, str]:
    """Run a command, and return its exit status and what it said on standard error."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # which shells let programs in the background ignore
        for each in closed:
            os.close(each)

    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=_ROOT,
        env=os.environ | {"RELAY_PORT": str(relay.port), "PYTHONUNBUFFERED": ""},
        stdout=output,
        stderr=subprocess.PIPE,
        preexec_fn=prepare,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["help"],
        ["list", "--help"],
        ["list"],
        ["wait", "app:v1"],
        ["save", "--file", "{image}", "app:v2"],
        ["load", "--file", "{image}", "--force", "app:v1"],
        ["load", "--file", "-", "app:v1"],
        ["delete", "app:v1", "--dry-run"],
        ["prune"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_printed_is_told(relay: Relay, image: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        status, said = ended(relay, *(each.format(image=image) for each in arguments), output=full)

    assert (status, said) == (1, _FULL)


@pytest.mark.parametrize("closed", [(1,), (0,), (0, 1), (0, 1, 2)], ids=str)
def test_what_is_closed_is_not_missed(relay: Relay, image: Path, closed: tuple[int, ...]) -> None:
    for arguments in (["list"], ["wait", "app:v1"], ["save", "--file", str(image), "app:v2"], ["delete", "app:v2"]):
        assert ended(relay, *arguments, closed=closed) == (0, "")


def test_a_tarball_neither_comes_from_nor_goes_to_what_is_closed(relay: Relay, image: Path) -> None:
    assert image.exists()
    assert ended(relay, "load", "--file", "-", "app:v1", closed=[1]) == (1, "image-relay: standard output is closed\n")
    assert ended(relay, "save", "--file", "-", closed=[0]) == (1, "image-relay: standard input is closed\n")


def test_a_file_that_cannot_be_read_is_named(relay: Relay) -> None:
    status, said = ended(relay, "save", "--file", "/proc/self/mem", "app:v1")

    assert (status, said) == (1, "image-relay: cannot read /proc/self/mem: Input/output error\n")


@pytest.mark.parametrize("module", ["config.settings", "pydantic", "asyncio", "aiohttp", "proxy.commands.wait"])
def test_who_interrupts_a_command_early_sees_no_traceback(relay: Relay, module: str) -> None:
    status, said = ended(relay, module, str(relay.port), program=["-c", _INTERRUPTED_AT])

    assert (status, said) == (128 + signal.SIGINT, "image-relay: interrupted\n")
