"""The command line: finds the command, of those in `config.commands`, and runs it.

Each command imports what it needs when it is run: a health check is over before aiohttp would be loaded.
"""

# ruff: noqa: PLC0415 - imports inside functions, for the reason above
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from config.address import ENVIRONMENT, Found, find_relay, unreached
from config.commands import COMMANDS, MEANT, parse
from config.process import ensure_home, ensure_streams, spare_loopback_from_proxies
from proxy.runtime import garbage

if TYPE_CHECKING:
    from config.settings import Settings

_TIMEOUT = 5.0  # seconds; a relay on this machine answers within milliseconds
_LARGEST = 64 * 1024 * 1024  # bytes of an answer, however long it says that it is
_SETTLED = 10  # seconds after which a relay has started, and is not asked every second any more


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; exit status 0 if it did its work, 1 if it could not, 2 if it was not understood."""
    ensure_home()
    ensure_streams()
    garbage.pause()  # until all is imported
    try:
        try:
            run(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _fail("interrupted", status=130)
    except OSError as error:  # whatever else can fail is a sentence by now
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the last flush must not fail
        if not isinstance(error, BrokenPipeError):  # the reader has enough, as in `image-relay list | head`
            _fail(f"cannot write to standard output: {error.strerror or error}")
    finally:
        garbage.resume()


def run(arguments: list[str]) -> None:
    """Run the command that is named first, by default `serve`."""
    if arguments == ["--version"]:
        from proxy.version import version

        print(f"image-relay {version()}")
        return
    command = "serve" if arguments or not sys.stdout.isatty() else "help"  # a person who tries it wants to know
    if arguments and not arguments[0].startswith("-"):
        command = arguments.pop(0)
    if command == "help":
        command, arguments = arguments[0] if arguments else "serve", ["--help"]
    if command not in COMMANDS:
        from difflib import get_close_matches

        near = [MEANT[command]] if command in MEANT else get_close_matches(command, COMMANDS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}; serve is the default"
        _fail(f"there is no command {command[:40]!r}; {advice}", status=2)
    {"serve": _serve, "health": _health}.get(command, partial(_ask, command))(arguments)


def _fail(*sentences: str, status: int = 1) -> NoReturn:
    from contextlib import suppress

    from proxy.text import MESSAGE_LIMIT, safe_text

    with suppress(OSError):  # which is told at the end
        sys.stdout.flush()  # what was done comes before what was not
    for sentence in sentences:
        print(f"image-relay: {safe_text(sentence, MESSAGE_LIMIT)}", file=sys.stderr)
    sys.exit(status)


def _find(chosen: Namespace) -> Found:
    """Return where the relay is that a command is for; a mistake in that ends the process."""
    try:
        return find_relay(chosen.host, chosen.port)
    except ValueError as error:
        _fail(str(error), status=2)


def _settings(arguments: Sequence[str], environment: Mapping[str, str] = ENVIRONMENT) -> "tuple[Settings, list[str]]":
    from config.reading import SettingsInvalid, read

    try:
        return read(arguments, environment)
    except SettingsInvalid as error:
        _fail(*error.lines, status=2)


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
    from proxy.runtime.files import FolderInUse, trouble_inside

    spare_loopback_from_proxies()
    configure(settings.log_format, settings.log_level)
    log = logging.getLogger(__name__)
    chosen = [f"{name}={value}" for name, value in [*settings.describe(changed=True), *job.describe()]]
    log.info("settings: %s", " ".join(chosen) or "the defaults")
    for remark in remarks:
        log.warning("%s", remark)
    garbage.resume()
    try:
        is_durable = app.run(settings, job.read())
    except StoreUnusable as error:
        _fail(str(error), status=2)
    except (CannotListen, FolderInUse) as error:
        _fail(str(error))
    except OSError as error:
        log.debug("why it ended", exc_info=error)
        what = f"cannot write there ({trouble_inside(settings.data, error)}); choose another folder or change its owner"
        _fail(f"RELAY_DATA (--data) is '{settings.data}': {what}", status=2)
    sys.stderr.flush()
    os._exit(0 if is_durable else 1)  # at once: there may be a second left, and taking an interpreter down needs that


def _health(arguments: Sequence[str]) -> None:
    """Exit with 0 if a relay answers, with 1 if not."""
    import json
    from contextlib import closing
    from http.client import HTTPConnection, HTTPException
    from socket import gaierror
    from time import sleep

    chosen = parse("health", arguments)
    place = _find(chosen)
    where = f"{place.host} port {place.port}"
    try:
        with closing(HTTPConnection(place.host, place.port, timeout=_TIMEOUT)) as connection:
            connection.request("GET", "/relay/health")
            answer = connection.getresponse()
            body = answer.read(_LARGEST)
    except TimeoutError:
        _fail(f"the relay at {where} has not answered for {_TIMEOUT:g} seconds; its log says why")
    except (OSError, HTTPException) as error:
        _fail(unreached(place, unknown=isinstance(error, gaierror)))
    try:
        uptime = json.loads(body)["uptime"] if answer.status == 200 else None  # noqa: PLR2004 - HTTP's "OK"
    except (ValueError, LookupError, TypeError, RecursionError):
        uptime = None
    if not isinstance(uptime, int | float):
        _fail(f"what answers at {where} is no image-relay, or of another version ({answer.status})")
    if chosen.slow_probe and uptime >= _SETTLED:  # an engine asks often during the start
        sleep(chosen.slow_probe)


def _ask(command: str, arguments: Sequence[str]) -> None:
    """Do something with the images of a running relay."""
    chosen = parse(command, arguments)
    options = {"RELAY_HOST": chosen.host, "RELAY_PORT": chosen.port}
    overruled = {name for name, value in options.items() if value is not None}
    settings, _ = _settings([], {name: value for name, value in ENVIRONMENT.items() if name.upper() not in overruled})
    found = _find(chosen)

    import asyncio

    from proxy.commands.relay import CommandFailed, Place
    from proxy.commands.work import work

    password = settings.password.get_secret_value() if settings.password else None
    try:
        to_do = work(command, Place(found, password), chosen)
    except CommandFailed as error:
        _fail(str(error), *error.advice, status=2)
    garbage.resume()
    try:
        asyncio.run(to_do)
    except CommandFailed as error:
        _fail(str(error), *error.advice)


if __name__ == "__main__":
    main()
