"""No input of the command line, and no environment, ends in a traceback: it works, or ends with a sentence."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.commands import COMMANDS
from config.reading import SettingsInvalid, read
from config.settings import PREFIX, Settings
from proxy.__main__ import main
from tests import command_line

# What the kernel hands over: anything but NUL; bytes that are no UTF-8 arrive as lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.binary(
    max_size=8
).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
REFERENCES = st.sampled_from(["app:v1", "a=b", "ghcr.io/a/b@sha256:" + "a" * 64, "a" * 64, "APP", "=", "app:v1=", "-"])
HOSTS = st.sampled_from(["127.0.0.1", "::1", "localhost", "0.0.0.0", "::"])  # noqa: S104 - nothing listens there
ENGINES = st.sampled_from(["unix:///nowhere", "tcp://127.0.0.1:9", "ssh://me@far", "npipe://x", "tcp://[", "tcp://"])
OPTIONS = st.sampled_from(["--file", "--platform", "--no-trunc", "--timeout", "--slow-probe", "--help", "--port", "--"])
SETTINGS = st.sampled_from([PREFIX + field.upper() for field in Settings.named()])
DOCKER = st.sampled_from(["DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"])
PROXIES = st.sampled_from(["HTTP_PROXY", "https_proxy", "NO_PROXY"])
ANY = st.one_of(st.just("RELAY_PASSWORD"), DOCKER, PROXIES, SETTINGS)
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        yield int(taken.getsockname()[1])


@st.composite
def calls(draw: st.DrawFn) -> tuple[list[str], dict[str, str]]:
    """Arguments, and an environment; nothing in them makes a relay start, or a command wait."""
    command = draw(st.sampled_from([*(set(COMMANDS) - {"serve", "help"})]) | TEXT.filter(lambda text: text[:1] > "-"))
    arguments = draw(st.lists(REFERENCES, max_size=2)) + draw(st.lists(REFERENCES | OPTIONS | TEXT, max_size=3))
    at_once = ["--timeout", "0"] if command == "wait" else []
    place = {"RELAY_HOST": draw(HOSTS)} | draw(st.builds(dict, DOCKER_HOST=ENGINES) | st.just({}))
    return [command, *at_once, *arguments], draw(st.dictionaries(ANY, TEXT, max_size=3)) | place


@FUZZ
@given(call=calls())
def test_every_other_command_ends_in_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], free_port: int, call: tuple[list[str], dict[str, str]]
) -> None:
    arguments, environment = call
    defaults = {"HOME": str(tmp_path), "DOCKER_HOST": "", "RELAY_PORT": str(free_port)}

    with patch.dict(os.environ, defaults | environment), pytest.raises(SystemExit) as ended:
        main(arguments)

    said = capfd.readouterr()
    assert ended.value.code in {0, 1, 2}
    assert (said.out if ended.value.code == 0 else said.err).strip()


@FUZZ
@given(
    arguments=st.lists(TEXT | st.builds("--{}={}".format, st.sampled_from([*Settings.named()]), TEXT), max_size=4),
    environment=st.dictionaries(SETTINGS | TEXT.map(PREFIX.__add__), TEXT),
)
def test_every_setting_is_read_or_refused_in_words(arguments: list[str], environment: dict[str, str]) -> None:
    try:
        read([each.replace("_", "-") for each in arguments], environment)
    except SettingsInvalid as error:
        assert all(error.lines)  # noqa: PT017 - either outcome is right
    except SystemExit as ended:
        assert ended.code == 0  # noqa: PT017 - of --help


@pytest.mark.parametrize("ending", [".lz", ".BR", ".Z", ".tbz", ".tb2", ".tlz", ".xz", ".zip", ".lz4", ".lzo"])
def test_a_compression_that_is_not_written_is_refused_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str], free_port: int, ending: str
) -> None:
    assert command_line.run("load", "--file", f"x.tar{ending}", "app:v1", "--port", str(free_port)) == 1

    assert capsys.readouterr().err == (
        f"image-relay: cannot write {ending.lower()}; use .tar.zst, .tar.gz, or .tar for no compression\n"
    )


def test_a_command_to_be_copied_has_names_in_quotes(capsys: pytest.CaptureFixture[str], free_port: int) -> None:
    assert command_line.run("save", "$(rm) x.tar", "--port", str(free_port)) != 0

    assert "save --file '$(rm) x.tar'" in capsys.readouterr().err


LONG = ["a" * 64, f"x.{'b' * 64}.c", "a..b"]


@pytest.mark.parametrize("host", LONG)
@pytest.mark.parametrize("command", [["list"], ["health"], ["wait", "app"], ["delete", "app"]])
def test_what_dns_cannot_ask_for_is_no_host(capsys: pytest.CaptureFixture[str], command: list[str], host: str) -> None:
    assert command_line.run(*command, "--host", host) == 2

    assert f"{host[:60]!r} is not a host" in capsys.readouterr().err


@pytest.mark.parametrize("host", LONG)
def test_an_engine_at_what_dns_cannot_ask_for_has_no_address(capsys: pytest.CaptureFixture[str], host: str) -> None:
    with patch.dict(os.environ, {"DOCKER_HOST": f"tcp://{host}:1"}):
        assert command_line.run("save", "app:v1") == 1

    assert f"the engine of DOCKER_HOST has no address that can be used: http://{host}:1" in capsys.readouterr().err
