"""The command line: `image-relay [serve | list | save | load | wait | health]`.

Each command imports what it needs when it is run: a health check is over before aiohttp would be loaded.
"""

# ruff: noqa: PLC0415 - imports inside functions, for the reason above
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from config.settings import Settings

_TIMEOUT = 5.0  # seconds; a relay on this machine answers within milliseconds
_SETTLED = 10  # seconds after which a relay has started, and is not asked every second any more
_SLOW_PROBE = (
    "once the relay has run for ten seconds, wait so long before a good answer: a container engine asks less often"
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exit status 0 if it did its work, 1 if it could not, 2 if it was not understood."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(f"image-relay {version('image-relay')}")
        return
    command = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "serve"
    if command not in _COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(command, _COMMANDS, n=1)
        known = "there are serve (the default), list, save, load, wait, health and help"
        advice = f"did you mean {near[0]}?" if near else known
        _fail(f"there is no command {command[:40]!r}; {advice}", status=2)
    try:
        _COMMANDS[command](arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough, as in `image-relay list | head`: the last flush must not fail
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(*sentences: str, status: int = 1) -> NoReturn:
    from proxy.text import safe_text

    for sentence in sentences:
        print(f"image-relay: {safe_text(sentence)}", file=sys.stderr)
    sys.exit(status)


def _settings(arguments: Sequence[str]) -> "tuple[Settings, list[str]]":
    from config.reading import SettingsInvalid, read

    try:
        return read(arguments)
    except SettingsInvalid as error:
        _fail(*error.lines, status=2)


def _help(_: Sequence[str]) -> None:
    _settings(["--help"])


def _serve(arguments: Sequence[str]) -> None:
    """Run the registry until SIGTERM or SIGINT; exit status 1 if something that was accepted is not durable then."""
    settings, remarks = _settings(arguments)

    import logging
    import os

    from config import job
    from proxy import app
    from proxy.api.server import CannotListen
    from proxy.backends.choice import StoreUnusable
    from proxy.reporting.log_format import configure
    from proxy.runtime.files import FolderInUse

    configure(settings.log_format, settings.log_level)
    log = logging.getLogger(__name__)
    log.info("settings: %s", " ".join(f"{name}={value}" for name, value in [*settings.describe(), *job.describe()]))
    for remark in remarks:
        log.warning("%s", remark)
    try:
        is_durable = app.run(settings, job.read())
    except StoreUnusable as error:
        _fail(str(error), status=2)
    except (CannotListen, FolderInUse) as error:
        _fail(str(error))
    except OSError as error:
        log.debug("why it ended", exc_info=error)
        where = f"RELAY_DATA (--data) is '{settings.data}'"
        _fail(f"{where}: cannot write there ({error.strerror}); choose another folder or change its owner", status=2)
    sys.stderr.flush()
    os._exit(0 if is_durable else 1)  # at once: there may be a second left, and taking an interpreter down needs that


def _health(arguments: Sequence[str]) -> None:
    """Exit with 0 if a relay answers, with 1 if not."""
    from argparse import ArgumentParser

    from config import address

    parser = ArgumentParser(prog="image-relay health", description="Exit with 0 if the relay answers, with 1 if not.")
    parser.add_argument("--host", help="as for serve, or RELAY_HOST")
    parser.add_argument("--port", help="as for serve, or RELAY_PORT")
    parser.add_argument("--slow-probe", type=float, default=0, metavar="SECONDS", help=_SLOW_PROBE)
    given = vars(parser.parse_args(arguments))
    slow_probe = given.pop("slow_probe")
    options = {f"RELAY_{name.upper()}": value for name, value in given.items() if value}
    try:
        host, port = address.from_environment({**address.ENVIRONMENT, **options})
    except ValueError as error:
        _fail(str(error), status=2)
    status, body = _health_of(host, port)
    if status != 200:  # noqa: PLR2004 - HTTP's "OK"
        _fail(f"what answers at {host} port {port} says {status}")
    if slow_probe:  # unless the relay has just started: an engine that asks every second asks less often from then on
        import json
        from time import sleep

        if json.loads(body).get("uptime", 0) >= _SETTLED:
            sleep(slow_probe)


def _health_of(host: str, port: int) -> tuple[int, bytes]:
    """Return status and body of the answer of a relay."""
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/relay/health")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except TimeoutError:
        _fail(f"the relay at {host} port {port} has not answered for {_TIMEOUT:g} seconds; its log says why")
    except (OSError, HTTPException):
        _fail(f"no relay answers at {host} port {port}; start it with: image-relay serve, or say where it is: --port")
    finally:
        connection.close()


def _ask(command: str, arguments: Sequence[str]) -> None:
    """Do something with the images of a running relay."""
    import asyncio

    from config.reading import SettingsInvalid
    from proxy.commands.arguments import work
    from proxy.commands.relay import CommandFailed

    try:
        asyncio.run(work(command, arguments))
    except SettingsInvalid as error:
        _fail(*error.lines, status=2)
    except CommandFailed as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("interrupted", status=130)


_COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "serve": _serve,
    "list": partial(_ask, "list"),
    "save": partial(_ask, "save"),
    "load": partial(_ask, "load"),
    "wait": partial(_ask, "wait"),
    "health": _health,
    "help": _help,
}

if __name__ == "__main__":
    main()
