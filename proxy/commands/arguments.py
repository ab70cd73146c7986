"""The command line of `list`, `save`, `load` and `wait`."""

import math
from argparse import ArgumentParser
from collections.abc import Coroutine, Sequence

from config.address import reachable
from config.reading import read
from proxy.commands import images
from proxy.commands.listing import show
from proxy.commands.relay import Place
from proxy.commands.save_load import load, save, send
from proxy.commands.wait import wait

_ABOUT = {
    "list": "Print the images of the relay as a table.",
    "save": "Send images of the container engine to the relay, or a tarball that somebody saved.",
    "load": "Hand images of the relay to the container engine, or write them to a tarball.",
    "wait": "Wait until the relay has images.",
}
_FILES = {
    "save": "a tarball to send instead (- for standard input), under the name that is given or those that are in it",
    "load": "a file to write instead (- for standard output): plain as .tar, gzip as .tar.gz, else zstd",
}
_IMAGES = {
    "save": ("LOCAL[=REF]", "an image of the engine, such as app:v1, and its name in the relay if that is another"),
    "load": ("REF[=LOCAL]", "such as app:v1, and what it is to be called in the engine if that is another name"),
    "wait": ("REF", "such as app:v1"),
}
_PLATFORM = (
    "of an image for several platforms the one to load, such as linux/arm64, or all; by default that of the engine, "
    "and all to a file"
)
_PATIENCE = 300.0  # seconds


def work(command: str, arguments: Sequence[str]) -> Coroutine[None, None, None]:
    """Return the work of a command.

    Raise SettingsInvalid where a value cannot be used; mistakes, and `--help`, are printed and end the process.
    """
    parser = _parser(command)
    chosen = parser.parse_args(arguments)
    given = {"--host": chosen.host, "--port": chosen.port}
    settings, _ = read([f"{option}={value}" for option, value in given.items() if value is not None])
    password = settings.password.get_secret_value() if settings.password else None
    place = Place(*reachable(settings.host, settings.port), password)
    if command == "list":
        return show(place, full=chosen.full)
    if command == "wait":
        return wait(place, [str(images.read(text)) for text in chosen.references], chosen.timeout)
    if command == "load":
        return load(place, [images.loading(text) for text in chosen.references], chosen.file, chosen.platform)
    if chosen.file is None and not chosen.references:
        parser.error("name an image to send, or a tarball with --file")
    if chosen.file is not None and len(chosen.references) > 1:
        parser.error("a tarball goes under one name, or under those that are in it")
    if chosen.file is not None:
        return send(place, "".join(map(images.target_of, chosen.references)), chosen.file)
    return save(place, [images.saving(text) for text in chosen.references])


def _parser(command: str) -> ArgumentParser:
    parser = ArgumentParser(prog=f"image-relay {command}", description=_ABOUT[command], allow_abbrev=False)
    if command != "list":
        metavar, how = _IMAGES[command]
        parser.add_argument("references", metavar=metavar, nargs="*" if command == "save" else "+", help=how)
    parser.add_argument("--host", help="where the relay listens, as for serve, or RELAY_HOST")
    parser.add_argument("--port", help="as for serve, or RELAY_PORT; its password is taken from RELAY_PASSWORD")
    if command == "list":
        parser.add_argument("--no-trunc", dest="full", action="store_true", help="with whole digests")
    if command in _FILES:
        parser.add_argument("--file", help=_FILES[command])
    if command == "load":
        parser.add_argument("--platform", help=_PLATFORM)
    if command == "wait":
        parser.add_argument("--timeout", type=seconds, default=_PATIENCE, metavar="SECONDS", help="300 by default")
    return parser


def seconds(text: str) -> float:
    """Read a time to wait; argparse shows the name of this function where that fails."""
    read = float(text)
    if not 0 <= read < math.inf:
        raise ValueError
    return read
