"""From the environment (`RELAY_PORT`) and the command line (`--port`) to settings.

What is not a setting stops the start, with the nearest known name: a relay that passes over a typing error would have
another port than its owner believes, or no password.
"""

import difflib
import re
from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn, cast

from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from config import address
from config.commands import COMMANDS
from config.settings import PREFIX, Settings

_OF_NUMBERS = frozenset(
    {"int_parsing", "int_from_float", "float_parsing", "finite_number", "greater_than_equal", "less_than_equal"}
)
_A_SIZE = "should be a size such as 512MiB or 4GiB"
_IN_WORDS = {"bool_parsing": "should be true or false", "byte_size": _A_SIZE, "byte_size_unit": _A_SIZE}
_SECONDS = frozenset({"wait", "settle_seconds"})
_SECRET = frozenset({"password", "upstream_auth"})
_ABOUT = "An OCI registry whose storage is one loadable tarball per image."
_EPILOG = """\
Every option is also an environment variable: --log-level is RELAY_LOG_LEVEL.
The option takes precedence."""


class SettingsInvalid(Exception):
    """What was set cannot be used; `lines` has one sentence for each mistake."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def read(
    arguments: Sequence[str] = (), environment: Mapping[str, str] = address.ENVIRONMENT
) -> tuple[Settings, list[str]]:
    """Return the settings, and remarks about them for the log. Options win over the environment.

    Raise SettingsInvalid if a name is unknown or a value cannot be used; `--help` prints the help and ends the process.
    """
    given, remarks, lines = _from_environment(environment)
    try:
        given |= _from_command_line(arguments) if arguments else {}
    except SettingsInvalid as error:
        lines += error.lines
    settings = None
    try:
        settings = Settings(**given)
    except ValidationError as error:  # without a default that was to be derived from a mistaken value
        mistakes = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        lines += map(partial(_sentence, given), mistakes)
    if settings is None or lines:
        raise SettingsInvalid(lines) from None  # the cause would show the password
    return settings, remarks


def _from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return what is set by field, a remark for each variable that is ignored, and a line for each that is unknown."""
    ours = {name: value for name, value in environment.items() if name.upper().startswith(PREFIX)}
    injected = {name for name, value in ours.items() if address.is_injected(name, value)}
    given = {name[len(PREFIX) :].lower(): value for name, value in ours.items() if name not in injected}
    unknown = sorted(given.keys() - Settings.named().keys())
    known = [_variable(field) for field in Settings.named()]
    mistakes = [_unknown(_variable(field), "setting", known) for field in unknown]
    remarks = [f"{name} is ignored: Kubernetes sets it for a Service called relay" for name in sorted(injected)]
    return {field: value for field, value in given.items() if field not in unknown}, remarks, mistakes


def _from_command_line(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what is set by field."""
    from pydantic_settings import CliSettingsSource, SettingsError  # noqa: PLC0415 - in jobs there are no options

    options = CliSettingsSource[Any](
        cast("Any", Settings),  # any model will do
        root_parser=_Parser(),
        add_argument_method=partial(_add_option, dict(Settings().describe())),
        cli_kebab_case=True,
        cli_parse_none_str="\0",  # what no argument can hold: else the password `null` would be no password
    )
    try:
        options(args=list(arguments))
        return dict(options())
    except SettingsError as error:  # of a list, which may be JSON
        field = next((each for each in Settings.named() if f'"{each}"' in str(error)), "an option")
        raise SettingsInvalid([f"{_variable(field)} ({_option(field)}) is no list of words"]) from None


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")


def _unknown(name: str, kind: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    advice = f"did you mean {near[0]}?" if near else "image-relay --help shows what there is"
    return f"{name} is not {'an' if kind == 'option' else 'a'} {kind} of image-relay; {advice}"


def _sentence(given: Mapping[str, Any], mistake: ErrorDetails) -> str:
    """Write which setting has which value, and what it should be; of a number that has limits, both of them."""
    name = str(mistake["loc"][0])
    value = given.get(name, mistake["input"])
    value = ",".join(map(str, value)) if isinstance(value, list) else value
    field = Settings.named().get(name)
    limits = {type(each): each for each in field.metadata} if field else {}
    least, most = limits.get(Ge), limits.get(Le)
    reason = re.sub(r"^(Value error,|Input) ", "", mistake["msg"])
    if mistake["type"] in _OF_NUMBERS and least and most:
        reason = f"should be a number from {least.ge} to {most.le}{' seconds' if name in _SECONDS else ''}"
    reason = _IN_WORDS.get(mistake["type"], reason)
    shown = f" is {str(value)[:60]!r}:" if value and name not in _SECRET else ""
    return f"{_variable(name)} ({_option(name)}){shown} {reason}"


class _Parser(ArgumentParser):
    """The help, and mistakes as SettingsInvalid."""

    def __init__(self) -> None:
        commands = [f"  {name:<7} {each.about}" for name, each in COMMANDS.items()]
        super().__init__(
            prog="image-relay",
            usage="image-relay COMMAND [REF…] [options]\n       image-relay --version",
            description="\n".join([_ABOUT, "", "commands:", *commands, "", "The options below are those of serve."]),
            epilog=_EPILOG,
            allow_abbrev=False,
            formatter_class=RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """Turn what argparse finds into one sentence."""
        match = re.fullmatch(r"unrecognized arguments: (\S+)(.*)", message, re.DOTALL)
        if match is None:
            raise SettingsInvalid([message])
        if match[1] in COMMANDS:
            raise SettingsInvalid([f"put the command first: image-relay {match[1]} [options]"])
        if not match[1].startswith("-"):
            raise SettingsInvalid([f"serve takes no names, and {match[1][:40]!r} is no option"])
        known = [_option(field) for field in Settings.named()]
        options = [match[1], *(each for each in match[2].split() if each.startswith("--"))]
        raise SettingsInvalid([_unknown(each.partition("=")[0], "option", known) for each in options])


def _add_option(defaults: Mapping[str, str], parser: ArgumentParser, option: str, **details: Any) -> Action:
    """Add an option with its unit, reason and default, where pydantic-settings shows types and values of Python."""
    field = option.removeprefix("--").replace("-", "_")
    text = f"{Settings.named()[field].description} (default: {defaults[_variable(field)]})"
    return parser.add_argument(option, **details | {"metavar": "…", "help": text.replace("%", "%%")})
