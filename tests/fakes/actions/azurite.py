"""Azurite as a child process: started on a free port, in memory or on disk, and ended with its parent's `with`."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.actions import sas
from tests.ports import free_port

_INSTALLER = Path(__file__).parents[3] / "tools" / "install-actions-emulator"
TOOLS = Path(subprocess.check_output([str(_INSTALLER), "--where"], text=True).strip())  # noqa: S603 - it knows alone
PROGRAM = TOOLS / "node_modules" / ".bin" / "azurite-blob"

_START_SECONDS = 60.0  # it takes 3 on an idle machine
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


def installed() -> bool:
    """Return whether it was installed as a whole."""
    return (TOOLS / "installed.json").exists()


@contextmanager
def running(log: Path, location: Path | None = None) -> Iterator[str]:
    """Start it, hand out its origin, stop it. Without a location nothing is written to disk but the log."""
    port = free_port()
    storage = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    command = [str(PROGRAM), "--silent", "--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own installation
            [*command, *storage],
            cwd=log.parent,
            env=os.environ | {"AZURITE_ACCOUNTS": ";".join(f"{name}:{key}" for name, key in sas.KEYS.items())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C is for its parent, which stops it last
        )
    try:
        _wait(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _listens(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Azurite did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(_POLL_SECONDS)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
