"""The commands and their options. No dependency is imported here, so that a health check starts in an instant."""

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command: how it is called, what it does, and its arguments as argparse takes them."""

    usage: str
    about: str
    arguments: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def seconds(text: str) -> float:
    """Return a time to wait; argparse shows the name of this function where that fails."""
    read = float(text)
    if not 0 <= read < math.inf:
        raise ValueError
    return read


_PLACE = {
    "--host": {"help": "where the relay listens, as for serve, or RELAY_HOST"},
    "--port": {"help": "as for serve, or RELAY_PORT; a password is taken from RELAY_PASSWORD"},
}
_LOCAL = "an image of the engine, such as app:v1, and its name in the relay if that is another"
_SENT = "a tarball to send instead (- for standard input), under the name that is given or those that are in it"
_REF = "such as app:v1, and what it is to be called in the engine if that is another name"
_WRITTEN = "a file to write instead (- for standard output): plain as .tar, gzip as .tar.gz, else zstd"
_PLATFORM = (
    "of an image for several platforms the one to load, such as linux/arm64, or all; by default that of the engine, "
    "and all to a file"
)
_SLOW_PROBE = (
    "once the relay has run for ten seconds, wait so long before a good answer: a container engine asks less often"
)
_ALL = "everything that image-relay stored in this run: all tags, replaced versions, caches; nothing else"
_DRY_RUN = {"--dry-run": {"action": "store_true", "help": "only print what would be deleted"}}
COMMANDS = {
    "serve": Command("[options]", "Run the registry; this also happens with options alone."),
    "list": Command(
        "[options]",
        "Print the images of a relay as a table.",
        {"--no-trunc": {"dest": "full", "action": "store_true", "help": "with whole digests"}},
    ),
    "save": Command(
        "REF… [options]",
        "Send images of the container engine, or a tarball, to a relay.",
        {"references": {"metavar": "LOCAL[=REF]", "nargs": "*", "help": _LOCAL}, "--file": {"help": _SENT}},
    ),
    "load": Command(
        "REF… [options]",
        "Hand images of a relay to the container engine, or write them to a tarball.",
        {
            "references": {"metavar": "REF[=LOCAL]", "nargs": "+", "help": _REF},
            "--file": {"help": _WRITTEN},
            "--platform": {"help": _PLATFORM},
        },
    ),
    "wait": Command(
        "REF… [options]",
        "Wait until a relay has images.",
        {
            "references": {"metavar": "REF", "nargs": "+", "help": "such as app:v1"},
            "--timeout": {"type": seconds, "default": 300.0, "metavar": "SECONDS", "help": "300 by default"},
        },
    ),
    "delete": Command(
        "REF… [options]",
        "Delete images from a relay and from its store.",
        {
            "references": {"metavar": "REF", "nargs": "*", "help": "such as app:v1, or a name with @ and a digest"},
            "--all": {"action": "store_true", "help": _ALL},
            **_DRY_RUN,
        },
    ),
    "prune": Command("[options]", "Delete what newer pushes replaced, and what is inside of a tag as well.", _DRY_RUN),
    "health": Command(
        "[options]",
        "Exit with 0 if the relay on this host and port answers, else with 1.",
        {"--slow-probe": {"type": float, "default": 0.0, "metavar": "SECONDS", "help": _SLOW_PROBE}},
    ),
    "help": Command("", "Show this, as --help does; those above have a --help of their own."),
}


def parse(command: str, arguments: Sequence[str]) -> Namespace:
    """Return the arguments of a command other than serve; mistakes, and `--help`, are printed and end the process."""
    known = COMMANDS[command]
    parser = ArgumentParser(prog=f"image-relay {command}", description=known.about, allow_abbrev=False)
    for name, details in {**known.arguments, **_PLACE}.items():
        parser.add_argument(name, **details)
    chosen = parser.parse_args(arguments)
    if command == "delete" and bool(chosen.references) == chosen.all:
        parser.error("name the images to delete, or say --all")
    if command == "save" and not chosen.references and chosen.file is None:
        parser.error("name an image to send, or a tarball with --file")
    if command == "save" and len(chosen.references) > 1 and chosen.file is not None:
        parser.error("a tarball goes under one name, or under those that are in it")
    return chosen
