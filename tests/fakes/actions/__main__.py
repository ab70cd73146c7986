"""GitHub's artifact service on a laptop: `python -m tests.fakes.actions --port 8000 --data /tmp/actions`.

Prints, for two jobs of one run, the environment of a relay; the same stands in two files of the data folder.
"""

# ruff: noqa: T201 - what it prints is for people

import argparse
import asyncio
import errno
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from tests.fakes.actions import azurite
from tests.fakes.actions.emulator import Emulator, serving
from tests.fakes.actions.options import Flavour, Options

_TOKEN_SECONDS = 24 * 3600.0
_JOBS = ("build", "test")


def main() -> None:
    """Serve until a signal comes."""
    signal.signal(signal.SIGTERM, _end)  # until the loop takes over, so that Azurite never stays behind
    arguments = _arguments()
    arguments.data.mkdir(parents=True, exist_ok=True)
    options = Options(flavour=arguments.flavour, repository=arguments.repository, whole_read_limit=None)
    with ExitStack() as stack:
        origin = None
        if options.flavour is Flavour.GITHUB:
            if not azurite.installed():
                sys.exit(f"Azurite is not in {azurite.TOOLS}: run tools/install-actions-emulator")
            log = arguments.data.resolve() / "azurite.log"
            origin = stack.enter_context(azurite.running(log, arguments.data.resolve() / "azurite"))
        try:
            asyncio.run(_serve(options, origin, arguments))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sys.exit(f"port {arguments.port} is taken; use ACTIONS_PORT={arguments.port + 1} (--port)")


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.actions", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, and the host in signed URLs")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--data", type=Path, required=True, help="folder for the blobs and the environment files")
    parser.add_argument("--flavour", type=Flavour, default=Flavour.GITHUB, choices=list(Flavour))
    parser.add_argument("--repository", default="octo/relay")
    return parser.parse_args()


async def _serve(options: Options, origin: str | None, arguments: argparse.Namespace) -> None:
    folder = arguments.data / "local"
    async with serving(options, folder, origin, arguments.host, arguments.port) as emulator:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        _introduce(emulator, arguments.data)
        await ended.wait()
        _take_leave(emulator)


def _introduce(emulator: Emulator, data: Path) -> None:
    print(f"# {emulator.options.flavour} results service on {emulator.origin}, until Ctrl-C")
    for number, name in enumerate(_JOBS, start=1):
        job = emulator.job(name, expires_in=_TOKEN_SECONDS)
        environment = {"RELAY_STORE": "actions", **emulator.environment(job)}
        lines = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
        path = data / f"{name}.env"
        path.write_text("\n".join([*lines, ""]))
        print(f"\n# job {name}; the same: . {shlex.quote(str(path))}", *lines, sep="\n")
        own = f"RELAY_PORT={5000 + number} RELAY_DATA={shlex.quote(str(data / f'relay-{name}'))}"
        print("# and then, in that terminal, its relay:", f"{own} .venv/bin/image-relay serve", sep="\n")
    sys.stdout.flush()


def _take_leave(emulator: Emulator) -> None:
    print("\n# what came:")
    for kind, times in sorted(emulator.traffic.calls.items()):
        print(f"#   {times:6} {kind}")
    for violation in emulator.violations:
        print(f"# never do this: {violation}")


if __name__ == "__main__":
    main()
