import asyncio
import io
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from config.address import Found
from config.commands import COMMANDS, parse
from config.settings import Settings
from proxy.api import access
from proxy.api.errors import as_oci_errors
from proxy.api.server import bind_all, listen
from proxy.commands.listing import show
from proxy.commands.relay import CommandFailed, Place
from proxy.commands.wait import wait
from proxy.errors import Denied, ManifestUnknown, RegistryError
from tests.command_line import command, run

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
SHORT = "ab" * 6
SECRET = "correct horse"  # noqa: S105


def entry(*references: str, platforms: tuple[str, ...] = ("linux/amd64",)) -> dict[str, object]:
    return {
        "references": references,
        "digest": DIGEST,
        "platforms": platforms,
        "size": 3 * 1024 * 1024,
        "stored": 1234,
        "artifact": "image-app@v1",
        "created": (datetime.now(UTC) - timedelta(hours=3, minutes=1)).isoformat(),
        "state": "durable",
    }


def relay(images: object, password: str = "", uptime: int = 0, session: str = "active") -> web.Application:
    """A server that answers as a relay does; for images that are an error it is refused."""

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"ready": session == "active", "uptime": uptime, "session": session})

    async def listing(_: web.Request) -> web.Response:
        if isinstance(images, RegistryError):
            raise images
        return web.json_response({"images": images})

    app = web.Application(
        middlewares=[as_oci_errors, *([access.password(password, lambda: "localhost:5000")] if password else [])]
    )
    app.router.add_get("/relay/health", health)
    app.router.add_get("/relay/images", listing)
    return app


async def missing(_: web.Request) -> web.Response:
    raise ManifestUnknown("app:v1 is not in this run")


async def rest(_: web.Request) -> web.Response:
    """Take too long."""
    await asyncio.sleep(1)
    return web.Response()


def silent() -> web.Application:
    """A server that takes too long."""
    app = web.Application()
    app.router.add_get("/relay/{path:.*}", rest)
    return app


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `image-relay` as a process of its own."""
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "proxy", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@pytest.fixture
async def nothing() -> str:
    """A port at which nothing answers."""
    async with listen(web.Application(), bind_all(["127.0.0.1"], 0)) as port:
        pass
    return str(port)


async def listed(
    images: object, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[list[str], list[list[str]]]:
    """Return the lines of a list, and what stands in their columns."""
    async with listen(relay(images), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", *options, "--port", str(port)) == 0
    lines = capsys.readouterr().out.splitlines()
    return lines, [re.split(" {2,}", line) for line in lines]


async def test_the_list_is_a_table_with_a_line_for_each_reference(capsys: pytest.CaptureFixture[str]) -> None:
    images = [entry("app:v1", "app:a-longer-tag"), entry(f"web@{DIGEST}", platforms=("linux/amd64", "linux/arm64"))]

    lines, rows = await listed(images, capsys)

    assert rows == [
        ["REFERENCE", "DIGEST", "PLATFORMS", "SIZE", "STORED", "AGE", "STATE"],
        ["app:v1", SHORT, "linux/amd64", "3.0 MiB", "1.2 KiB", "3h", "durable"],
        ["app:a-longer-tag", SHORT, "linux/amd64", "3.0 MiB", "1.2 KiB", "3h", "durable"],
        [f"web@sha256:{SHORT}", SHORT, "linux/amd64,linux/arm64", "3.0 MiB", "1.2 KiB", "3h", "durable"],
    ]
    assert len({line.index("3h") for line in lines[1:]} | {lines[0].index("AGE")}) == 1
    assert len({line.index("MiB") + 3 for line in lines[1:]} | {lines[0].index("SIZE") + 4}) == 1


@pytest.mark.parametrize("place", ["before", "behind"])
async def test_digests_are_shown_whole_to_who_wants_them(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    host = ["--host", "127.0.0.1"]
    options = ["--no-trunc", *host] if place == "before" else [*host, "--no-trunc"]

    _, rows = await listed([entry(f"web@{DIGEST}")], capsys, *options)

    assert rows[1][:2] == [f"web@{DIGEST}", DIGEST]


@pytest.mark.parametrize(
    ("left", "shown"),
    [(timedelta(days=3, minutes=1), "3d"), (timedelta(minutes=30, seconds=30), "30m"), (-timedelta(hours=1), "over")],
)
async def test_the_list_says_when_an_image_goes(
    left: timedelta, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [entry("app:v1") | {"expires": (datetime.now(UTC) + left).isoformat()}, entry("app:v2")]

    _, rows = await listed(images, capsys)

    assert [row[-2] for row in rows] == ["EXPIRES", shown, "-"]


async def test_what_is_not_stored_yet_is_listed_with_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    _, rows = await listed([{"references": [f"app@{DIGEST}"], "digest": DIGEST, "state": "pending"}], capsys)

    assert rows[1] == [f"app@sha256:{SHORT}", SHORT, "-", "-", "-", "-", "pending"]


async def test_a_relay_without_images_lists_the_headings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines, _ = await listed([], capsys)

    assert lines == ["REFERENCE  DIGEST  PLATFORMS  SIZE  STORED  AGE  STATE"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def shown_in_terminal(
    images: object, columns: int, monkeypatch: pytest.MonkeyPatch, *options: str
) -> tuple[str, list[str]]:
    """Return what a list shows in a terminal of this width, and its lines without colours."""
    for name, value in {"COLUMNS": str(columns), "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen = Terminal()
    monkeypatch.setattr(sys, "stdout", seen)
    async with listen(relay(images), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", *options, "--port", str(port)) == 0
    monkeypatch.undo()
    plain = re.sub(r"\x1b\[[\d;]*m", "", seen.getvalue())
    return seen.getvalue(), [line.rstrip() for line in plain.splitlines()]


FAILED = {"references": ["app:v2"], "digest": DIGEST, "state": "failed"}


async def test_in_a_terminal_each_platform_has_a_line_and_states_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [entry("app:v1", platforms=("linux/amd64", "linux/arm64")), FAILED]

    coloured, lines = await shown_in_terminal(images, 90, monkeypatch)

    assert max(map(len, lines)) <= 90
    assert [line[-7:] for line in lines if "durable" in line] == ["durable"]
    assert lines[2].strip() == "linux/arm64"
    assert "\x1b[32mdurable" in coloured
    assert re.search(r"\x1b\[1;31mfailed", coloured)


async def test_what_is_wrong_with_an_image_is_said_beside_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    problem = "belongs to another job of this run; use another tag"
    async with listen(relay([entry("app:v1"), FAILED | {"problem": problem}]), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 0

    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3
    assert said.err == f"app:v2: {problem}\n"


@pytest.mark.parametrize("columns", [20, 80])
async def test_a_narrow_terminal_cuts_no_reference_and_no_digest(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "ghcr.io/team/app:" + "long" * 20
    images = [entry(long, platforms=("linux/amd64", "linux/arm64")), FAILED]

    _, lines = await shown_in_terminal(images, columns, monkeypatch, "--no-trunc")

    assert lines[:3] == ["REFERENCE", "  DIGEST", "  PLATFORMS                   SIZE   STORED  AGE  STATE"]
    assert lines[3:6] == [long, f"  {DIGEST}", "  linux/amd64,linux/arm64  3.0 MiB  1.2 KiB  3h   durable"]
    assert lines[6:8] == ["app:v2", f"  {DIGEST}"]


async def test_where_short_digests_fit_only_references_have_lines_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, lines = await shown_in_terminal([entry("ghcr.io/team/app:" + "long" * 20)], 80, monkeypatch)

    assert lines[2:] == [
        "ghcr.io/team/app:" + "long" * 20,
        f"  {SHORT}  linux/amd64  3.0 MiB  1.2 KiB  3h   durable",
    ]


async def test_what_has_no_platform_is_listed_too_and_nothing_can_command_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = [entry("app:v1", platforms=()), entry("app:\x1b[2J[bold]")]

    async with listen(relay(images), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 0

    bare, hostile = capsys.readouterr().out.splitlines()[1:]
    assert re.split(" {2,}", bare)[:3] == ["app:v1", SHORT, "-"]
    assert hostile.startswith("app:�[2J[bold]")


async def test_the_list_shows_the_password_to_the_relay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listen(relay([], SECRET), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 1
        assert capsys.readouterr().err == "image-relay: the relay wants its password: RELAY_PASSWORD is not set\n"

        monkeypatch.setenv("RELAY_PASSWORD", "another")
        assert await command("list", "--port", str(port)) == 1
        assert capsys.readouterr().err == "image-relay: the relay wants its password: RELAY_PASSWORD is wrong\n"

        monkeypatch.setenv("RELAY_PASSWORD", SECRET)
        assert await command("list", "--port", str(port)) == 0


async def test_what_a_relay_refuses_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with listen(relay(Denied("GitHub knows no run 1009")), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 1

    assert capsys.readouterr().err == "image-relay: GitHub knows no run 1009\n"


async def test_of_a_relay_that_does_not_answer_the_log_is_to_be_read() -> None:
    async with listen(silent(), bind_all(["127.0.0.1"], 0)) as port:
        with pytest.raises(CommandFailed, match=r"has not answered for 0\.2 seconds; its log says why"):
            await show(Place(Found("127.0.0.1", port)), full=False, patience=0.2)


async def test_who_waits_for_a_relay_that_hangs_waits_no_longer_than_he_said() -> None:
    async with listen(silent(), bind_all(["127.0.0.1"], 0)) as port:
        with pytest.raises(CommandFailed, match=r"app:v1 did not appear within 0 seconds: the relay at 127\.0\.0\.1"):
            await wait(Place(Found("127.0.0.1", port)), ["app:v1"], 0, least=0.2)


async def test_a_relay_that_is_alive_and_has_no_answer_yet_is_not_called_silent() -> None:
    app = relay([])
    app.router.add_get("/relay/images/{path:.*}", rest)

    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        with pytest.raises(CommandFailed, match="within 0 seconds: the relay has not found out yet"):
            await wait(Place(Found("127.0.0.1", port)), ["app:v1"], 0, least=0.2)


def test_the_help_of_list_has_its_own_options_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--help") == 0

    shown = capsys.readouterr().out
    assert "--no-trunc" in shown
    assert "--settle-seconds" not in shown


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        ("none", "the relay has no session yet, which the action OWNER/image-relay@v1 hands over"),
        ("expired", "the session of the relay has expired"),
        ("of another version", "the log of the relay says why"),
    ],
)
async def test_a_relay_that_can_not_read_has_no_empty_list(
    session: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listen(relay([], session=session), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 1

    assert capsys.readouterr() == ("", f"image-relay: images cannot be read: {reason}\n")


async def test_who_gives_up_waiting_says_the_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    app = relay([])
    app.router.add_get("/relay/images/{path:.*}", missing)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        assert await command("wait", "app:v1", "--timeout", "0.1", "--port", str(port)) == 1

    assert capsys.readouterr() == (
        "",
        "waiting for app:v1: app:v1 is not in this run\nimage-relay: app:v1 did not appear within 0.1 seconds\n",
    )


@pytest.mark.parametrize("name", ["list", "health"])
async def test_without_a_relay_the_message_says_how_to_start_one(
    name: str, nothing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await command(name, "--port", nothing) == 1

    assert capsys.readouterr().err == (
        f"image-relay: no relay answers at 127.0.0.1 port {nothing}; "
        f"start it with: image-relay serve --port {nothing}, or check --port\n"
    )


@pytest.mark.parametrize("name", ["list", "health"])
async def test_where_nothing_answers_what_said_so_is_named(
    name: str, nothing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("config.address.PORT", int(nothing))
    advice = []
    for arguments, environment in [
        ((), {}),
        (("--host", "127.0.0.1"), {}),
        ((), {"RELAY_HOST": "127.0.0.1"}),
        (("--host", "127.0.0.1"), {"RELAY_HOST": "10.1.2.3", "RELAY_PORT": nothing}),
    ]:
        with monkeypatch.context() as patched:
            for variable, value in environment.items():
                patched.setenv(variable, value)
            assert await command(name, *arguments) == 1
        advice.append(capsys.readouterr().err.partition("image-relay serve, or ")[2].strip())

    assert advice == [
        "say where it is: --host, --port",
        "check --host",
        "check RELAY_HOST",
        "check --host and RELAY_PORT",
    ]


@pytest.mark.parametrize("name", ["list", "health"])
async def test_a_host_that_does_not_exist_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await command(name, "--host", "relay.invalid") == 1

    assert capsys.readouterr().err == "image-relay: there is no host 'relay.invalid', which --host names\n"


@pytest.mark.parametrize("name", ["list", "health", "save", "wait"])
async def test_a_url_as_a_host_is_a_mistake(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    images = [] if name in {"list", "health"} else ["app:v1"]

    assert await command(name, *images, "--host", "http://localhost:5000") == 2

    assert capsys.readouterr().err == (
        "image-relay: 'http://localhost:5000' is a URL; write host and port apart: --host localhost --port 5000\n"
    )


@pytest.mark.parametrize(
    "images",
    [None, 1, [{}], [{"references": 1}], ["x"], [entry("a") | {"size": "much"}], [entry("a") | {"created": "soon"}]],
)
async def test_another_service_at_the_port_is_told_from_a_relay(
    images: object, capsys: pytest.CaptureFixture[str]
) -> None:
    async with listen(relay(images), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("list", "--port", str(port)) == 1

    assert "is no image-relay, or of another version" in capsys.readouterr().err


async def test_a_relay_that_answers_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    async with listen(relay([], SECRET), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("health", "--host", "0.0.0.0", "--port", str(port)) == 0  # noqa: S104

    assert capsys.readouterr() == ("", "")


async def test_another_service_at_the_port_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    async with listen(web.Application(), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("health", "--port", str(port)) == 1

    assert capsys.readouterr().err == (
        f"image-relay: what answers at 127.0.0.1 port {port} is no image-relay, or of another version (404)\n"
    )


@pytest.mark.parametrize(
    "body", ["hello", "[]", "{}", '{"uptime": "long"}', "null", pytest.param("[" * 100_000, id="deep")]
)
async def test_another_service_that_answers_all_is_not_healthy(body: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/relay/health", answer)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        assert await command("health", "--slow-probe", "0.1", "--port", str(port)) == 1

    assert "is no image-relay, or of another version (200)" in capsys.readouterr().err


async def test_a_health_check_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listen(relay([]), bind_all(["127.0.0.1"], 0)) as port:
        monkeypatch.setenv("RELAY_PORT", str(port))
        monkeypatch.setenv("RELAY_HOST", "0.0.0.0,::")

        assert await command("health") == 0


@pytest.mark.parametrize(("uptime", "rests"), [(0, []), (9, []), (10, [30.0]), (86_400, [30.0])])
async def test_a_slow_probe_rests_once_the_relay_has_started(
    uptime: int, rests: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[float] = []
    monkeypatch.setattr("time.sleep", rested.append)
    async with listen(relay([], uptime=uptime), bind_all(["127.0.0.1"], 0)) as port:
        assert await command("health", "--port", str(port), "--slow-probe", "30") == 0
        assert await command("health", "--port", str(port)) == 0

    assert rested == rests


def test_a_health_check_of_a_mistaken_address_is_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELAY_HOST", "relay")

    assert run("health") == 2

    assert "'relay' is not an address" in capsys.readouterr().err


def test_a_health_check_loads_no_heavy_package() -> None:
    script = (
        "import sys\nfrom proxy.__main__ import main\n"
        "try:\n    main(['health', '--port', '1'])\n"
        "except SystemExit:\n"
        "    print({'aiohttp', 'pydantic', 'asyncio', 'rich', 'prometheus_client'} & sys.modules.keys())\n"
    )

    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=15, check=True
    )

    assert ended.stdout == "set()\n"


def test_without_arguments_a_person_at_a_terminal_gets_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        primary, terminal = pty.openpty()
        done = subprocess.run([sys.executable, "-m", "proxy"], cwd=ROOT, stdout=terminal, timeout=60, check=True)
        os.close(terminal)
        shown = os.read(primary, 1000)
        os.close(primary)

    assert done.returncode == 0
    assert shown.startswith(b"usage: image-relay COMMAND")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0

    assert re.fullmatch(r"image-relay \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("arguments", [("frobnicate", "app:v1"), ("help", "frobnicate")])
def test_an_unknown_command_says_what_there_is(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2

    assert capsys.readouterr().err == (
        "image-relay: there is no command 'frobnicate'; "
        "there are serve, list, save, load, wait, delete, prune, health, help; serve is the default\n"
    )


@pytest.mark.parametrize(
    ("typed", "meant"), [("lsit", "list"), ("pull", "load"), ("push", "save"), ("rm", "delete"), ("images", "list")]
)
def test_a_mistyped_command_names_the_nearest(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(typed) == 2

    assert capsys.readouterr().err == f"image-relay: there is no command {typed!r}; did you mean {meant}?\n"


def test_help_of_a_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help", "wait") == 0

    assert capsys.readouterr().out.startswith("usage: image-relay wait ")


async def test_a_reader_that_has_enough_ends_the_list_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        async with listen(relay([entry("app:v1")]), bind_all(["127.0.0.1"], 0)) as port:
            listing = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "proxy", "list", "--port", str(port)],
                cwd=ROOT,
                stdout=writing,
                stderr=asyncio.subprocess.PIPE,
            )
            _, said = await listing.communicate()
    finally:
        os.close(writing)

    assert (listing.returncode, said) == (0, b"")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_fits_a_terminal_of_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    assert run(*([name] if name == "help" else [name, "--help"])) == 0

    assert [line for line in capsys.readouterr().out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["serve", "--help"]])
def test_the_help_shows_commands_and_settings(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0

    shown = capsys.readouterr().out
    assert all(f"\n  {name:<7} {each.about}\n" in shown for name, each in COMMANDS.items())
    assert "--settle-seconds" in shown


@pytest.mark.parametrize("arguments", [[], ["serve"], ["list"]])
def test_mistakes_in_settings_are_a_line_each_and_status_2(arguments: list[str]) -> None:
    ended = start(*arguments, RELAY_PORT="http", RELAY_PASSWORD="")

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "image-relay: RELAY_PORT (--port) is 'http': should be a number from 0 to 65535",
        "image-relay: RELAY_PASSWORD (--password) is empty; give it a value or leave it out",
    ]


def test_a_mistyped_option_of_the_default_command_is_named() -> None:
    ended = start("--prot", "5001")

    assert ended.returncode == 2
    assert ended.stderr == "image-relay: --prot is not an option of image-relay; did you mean --port?\n"


async def test_serve_runs_until_it_is_asked_to_stop_and_says_what_it_does(tmp_path: Path) -> None:
    async with listen(web.Application(), bind_all(["127.0.0.1"], 0)) as found:
        port = str(found)
    arguments = ["--port", port, "--data", str(tmp_path / "a")]
    environment = {**os.environ, "RELAY_PASSWORD": SECRET, "RELAY_SERVICE_HOST": "10.0.0.1"}
    serving = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", *arguments, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert serving.stderr is not None
        lines = [await asyncio.wait_for(serving.stderr.readline(), 10) for _ in range(3)]
        assert await command("health", "--port", port) == 0
        same_port = await asyncio.to_thread(start, "serve", "--port", port, "--data", str(tmp_path / "b"))
        same_folder = await asyncio.to_thread(start, "--port", "0", "--data", str(tmp_path / "a"))
    finally:
        serving.terminate()
        _, rest = await serving.communicate()

    assert serving.returncode == 0
    assert f"image-relay serves localhost:{port}, images in {tmp_path / 'a'}\n".encode() in b"".join([*lines, rest])
    image = f"localhost:{port}/app:v1"
    assert (
        f"to push to it: docker login localhost:{port} && docker tag app:v1 {image} && docker push {image}\n".encode()
        in b"".join([*lines, rest])
    )
    assert rest.endswith(b"INFO    stopped\n")
    assert (
        b"settings: RELAY_PORT=%b RELAY_DATA=%b RELAY_PASSWORD=set" % (port.encode(), bytes(tmp_path / "a")) in lines[0]
    )
    assert b"RELAY_STORE" not in lines[0]
    assert b"WARNING RELAY_SERVICE_HOST is ignored" in lines[1]
    assert SECRET.encode() not in b"".join([*lines, rest])
    assert same_port.returncode == same_folder.returncode == 1
    assert f"image-relay: port {port} is taken; use RELAY_PORT=" in same_port.stderr
    assert "image-relay: another relay uses" in same_folder.stderr
    assert "Traceback" not in same_port.stderr + same_folder.stderr


@pytest.mark.parametrize("given", ["", "relay.example:5000"])
async def test_images_are_named_after_the_port_that_was_found_free_unless_a_host_was_given(
    given: str, tmp_path: Path
) -> None:
    environment = {**os.environ, **({"RELAY_PUBLIC_HOST": given} if given else {})}
    serving = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "proxy", "--port", "0", "--data", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert serving.stderr is not None
        line = "at first, a line of settings; where there is no IPv6, one that says so"
        while not (served := re.search(r"serves (\S+), images in ", line)):
            line = (await asyncio.wait_for(serving.stderr.readline(), 10)).decode()
            assert line, "it ended early"
    finally:
        serving.terminate()
        await serving.communicate()

    assert served[1] == given if given else re.fullmatch(r"localhost:[1-9]\d+", served[1])


def test_a_folder_that_can_not_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = start("--port", "0", "--data", str(tmp_path / "file" / "below"))

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        f"image-relay: RELAY_DATA (--data) is '{tmp_path / 'file' / 'below'}': cannot write there (Not a directory); "
        "choose another folder or change its owner"
    )
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("name", "is_folder"), [(".lock", True), (".incoming", False), ("spool", False)])
def test_what_is_in_the_way_in_a_folder_is_named(tmp_path: Path, name: str, is_folder: bool) -> None:
    if is_folder:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).touch()

    ended = start("--port", "0", "--data", str(tmp_path))

    assert ended.returncode == 2
    assert re.search(rf"cannot write there \([\w ]+: {re.escape(name)}[/\w]*\); choose", ended.stderr)


def test_settings_that_give_no_store_are_a_sentence_and_status_2(tmp_path: Path) -> None:
    ended = start("--port", "0", "--data", str(tmp_path), "--run-id", "7", GITHUB_TOKEN=SECRET, GITHUB_REPOSITORY="")

    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == (
        "image-relay: RELAY_RUN_ID needs GITHUB_REPOSITORY and GITHUB_TOKEN, "
        'of a job with "permissions: {actions: read}"'
    )
    assert "GITHUB_TOKEN=set" in ended.stderr
    assert SECRET not in ended.stderr


@pytest.mark.parametrize("length", [10**15, 10**30])
async def test_what_tells_of_an_endless_answer_is_not_healthy(length: int, capsys: pytest.CaptureFixture[str]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{}}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        assert await command("health", "--port", str(server.sockets[0].getsockname()[1])) == 1

    assert "is no image-relay, or of another version (200)" in capsys.readouterr().err


HUGE = f'{{"images": [{{"reference": "app:v1", "digest": "x", "size": 1{400 * "0"}, "stored": 1}}]}}'


@pytest.mark.parametrize("text", ["hello", pytest.param(HUGE, id="huge")])
@pytest.mark.parametrize("name", ["load", "save", "wait"])
async def test_what_is_no_relay_gets_and_gives_no_image(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hello(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=text)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", hello)
    file = tmp_path / "image.tar"
    if name == "save":
        file.write_bytes(b"x")
    more = ("--timeout", "0") if name == "wait" else ("--file", str(file))
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port:
        assert await command(name, "app:v1", *more, "--port", str(port)) == 1

    assert "is no image-relay, or of another version (200)" in capsys.readouterr().err
    assert file.exists() == (name == "save")


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon", "5 minutes", ""])
async def test_a_time_to_wait_has_a_unit_or_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await command("wait", "app:v1", f"--timeout={text}") == 2

    assert f"{text!r} should be a time such as 90s, 10m or 1h" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5 s", 1.5), ("10M", 600), ("1h", 3600)])
def test_a_time_to_wait_is_read_as_in_settings(text: str, seconds: float) -> None:
    assert parse("wait", ["app:v1", "--timeout", text]).timeout == seconds
    assert Settings(data=Path("x"), wait=text).wait == seconds
