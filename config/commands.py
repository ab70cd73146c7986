"""The commands and their options. No dependency is imported here, so that a health check starts in an instant."""

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

EMPTY = "is empty; give it a value or leave it out"  # said of an option, and of a setting


class Command(NamedTuple):
    """A command: what it does, and its arguments as argparse takes them."""

    about: str
    arguments: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def parse_time(text: str) -> float:
    """Return the seconds of a time such as `90`, `90s`, `10m` or `1h`. Raise ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([smh]?)", text.strip().lower())
    if not match:
        raise ValueError("should be a time such as 90s, 10m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def seconds(text: str) -> float:
    """Return the seconds of a time. Raise ArgumentTypeError, whose text argparse shows."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text[:40]!r} {error}") from None


def filled(text: str) -> str:
    """Return the value of an option. Raise ArgumentTypeError if it is empty, as of a variable that was never set."""
    if not text:
        raise ArgumentTypeError(EMPTY)
    return text


PLACE = {
    "--host": {"type": filled, "help": "host of the relay, a name or an address; by default RELAY_HOST"},
    "--port": {"type": filled, "help": "port of the relay; by default RELAY_PORT"},
}
_LOCAL = "an image of the engine, such as app:v1; =REF stores it under another name"
_SENT = "send this tarball instead (- for standard input), under the given name or else under its own names"
_REF = "an image of the relay, such as app:v1; =LOCAL gives it another name in the engine"
_WRITTEN = "write this file instead (- for standard output): .tar uncompressed, .tar.gz in gzip, any other name in zstd"
_PLATFORM = (
    "which platform of a multi-platform image to load, such as linux/arm64, or all; by default that of the engine, or "
    "all if a file is written"
)
_SLOW_PROBE = (
    "once the relay has run for ten seconds, wait this long before reporting success, so that engines probe less often"
)
_ALL = "everything that image-relay stored in this run or folder: tags, replaced versions, caches; nothing else"
_DRY_RUN = {"--dry-run": {"action": "store_true", "help": "only print what would be deleted"}}
COMMANDS = {
    "serve": Command("Run the registry. The word serve may be left out before options."),
    "list": Command(
        "List the images of a relay.",
        {"--no-trunc": {"dest": "full", "action": "store_true", "help": "show full digests"}},
    ),
    "save": Command(
        "Send images of the container engine, or a tarball, to a relay.",
        {
            "references": {"metavar": "LOCAL[=REF]", "nargs": "*", "help": _LOCAL},
            "--file": {"type": filled, "help": _SENT},
        },
    ),
    "load": Command(
        "Load images of a relay into the container engine, or write a tarball.",
        {
            "references": {"metavar": "REF[=LOCAL]", "nargs": "+", "help": _REF},
            "--file": {"type": filled, "help": _WRITTEN},
            "--platform": {"type": filled, "help": _PLATFORM},
            "--force": {"action": "store_true", "help": "replace the file if it is there already"},
        },
    ),
    "wait": Command(
        "Wait until a relay has images.",
        {
            "references": {"metavar": "REF", "nargs": "+", "help": "such as app:v1"},
            "--timeout": {
                "type": seconds,
                "default": 300.0,
                "metavar": "TIME",
                "help": "how long to wait for them, such as 90s or 10m; 5m by default",
            },
        },
    ),
    "delete": Command(
        "Delete images from a relay and from its store.",
        {
            "references": {"metavar": "REF", "nargs": "*", "help": "such as app:v1, or a name with @ and a digest"},
            "--all": {"action": "store_true", "help": _ALL},
            **_DRY_RUN,
        },
    ),
    "prune": Command("Delete replaced versions, and untagged images that a tag contains.", _DRY_RUN),
    "health": Command(
        "Exit with 0 if the relay answers, else with 1.",
        {"--slow-probe": {"type": seconds, "default": 0.0, "metavar": "TIME", "help": _SLOW_PROBE}},
    ),
    "help": Command("Show this text. Each command has its own --help."),
}
# What people type because other programs call it so.
MEANT = {
    **dict.fromkeys(("pull", "get", "download"), "load"),
    **dict.fromkeys(("push", "put", "upload"), "save"),
    **dict.fromkeys(("rm", "rmi", "remove"), "delete"),
    **dict.fromkeys(("ls", "images", "ps"), "list"),
    **dict.fromkeys(("run", "start", "up"), "serve"),
}
_ALIKE = 0.75  # of two options, one of which is misspelt
_MEANT_OPTIONS = dict.fromkeys(("-o", "--output", "-i", "--input", "-f"), "--file")


def parse(command: str, arguments: Sequence[str]) -> Namespace:
    """Return the arguments of a command other than serve; mistakes, and `--help`, are printed and end the process."""
    known = COMMANDS[command]
    login = None if command == "health" else "If the relay has a password, set RELAY_PASSWORD."
    parser = ArgumentParser(prog=f"image-relay {command}", description=known.about, epilog=login, allow_abbrev=False)
    for name, details in {**known.arguments, **PLACE}.items():
        parser.add_argument(name, **details)
    chosen, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_advice(command, unknown[0].partition('=')[0])}")
    if command == "delete" and bool(chosen.references) == chosen.all:
        parser.error("name the images to delete, or use --all, but not both")
    if command == "delete" and "*" in chosen.references:
        parser.error("* is not an image; to delete all images use --all")
    if command == "save" and not chosen.references and chosen.file is None:
        parser.error("name an image to send, or a tarball with --file")
    if command == "save" and len(chosen.references) > 1 and chosen.file is not None:
        parser.error("give one name for the tarball, or none to keep the names that are in it")
    if command == "save" and chosen.file is not None and any("=" in each for each in chosen.references):
        target = chosen.references[0].partition("=")[2] or "REF"
        parser.error(f"= does not go with --file, since a file has no name in the engine; write {target} alone")
    return chosen


def _advice(command: str, argument: str) -> str:
    """Return what may have been meant by an argument that a command does not have."""
    from difflib import get_close_matches  # noqa: PLC0415 - a health check needs none

    options = {*COMMANDS[command].arguments, *PLACE}
    if not argument.startswith("-"):
        return f"; {command} takes no names" + ("; to delete an image use delete" if command == "prune" else "")
    if argument == "--password":
        return "; set RELAY_PASSWORD instead"
    meant = _MEANT_OPTIONS.get(argument)
    near = [meant] if meant in options else get_close_matches(argument, options, n=1, cutoff=_ALIKE)
    return f"; did you mean {near[0]}?" if near else ""
