import pytest

from config.reading import SettingsInvalid, read
from config.settings import Settings

SECRET = "correct horse"  # noqa: S105


def mistakes(*arguments: str, **environment: str) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refused:
        read(arguments, environment)
    assert str(refused.value) == "\n".join(refused.value.lines)
    return refused.value.lines


def test_nothing_set_gives_the_defaults() -> None:
    assert read((), {"PATH": "/bin", "RELAYED": "1"}) == (Settings(), [])


def test_the_environment_sets_every_kind_of_value() -> None:
    settings, _ = read(
        (),
        {
            "RELAY_HOST": "127.0.0.1, ::1",
            "relay_port": "5001",
            "RELAY_MEMORY_BUDGET": "16MiB",
            "RELAY_SETTLE_SECONDS": "0.5",
            "RELAY_PASSWORD": SECRET,
        },
    )

    assert settings.host == ("127.0.0.1", "::1")
    assert settings.port == 5001
    assert settings.memory_budget == 16 * 1024 * 1024
    assert settings.settle_seconds == 0.5
    assert settings.password is not None
    assert settings.password.get_secret_value() == SECRET


def test_options_win_over_the_environment() -> None:
    settings, _ = read(["--port", "5002", "--log-level=debug"], {"RELAY_PORT": "5001", "RELAY_ACCESS": "read"})

    assert (settings.port, settings.log_level, settings.access) == (5002, "debug", "read")


@pytest.mark.parametrize("arguments", [["--host", "::1,127.0.0.1"], ["--host", "::1", "--host", "127.0.0.1"]])
def test_several_hosts_can_be_given_in_one_option_or_in_several(arguments: list[str]) -> None:
    assert read(arguments, {})[0].host == ("::1", "127.0.0.1")


@pytest.mark.parametrize("password", ["a,b", '{"a": 1}', "[1]", "null", '"quoted"', " spaces ", "ключ"])
def test_a_password_arrives_as_it_was_written(password: str) -> None:
    for settings, _ in (read((), {"RELAY_PASSWORD": password}), read([f"--password={password}"], {})):
        assert settings.password is not None
        assert settings.password.get_secret_value() == password


def test_an_unknown_variable_names_the_nearest_setting() -> None:
    assert mistakes(RELAY_PROT="5001", RELAY_ARTEFACT_PREFIX="x") == (
        "RELAY_ARTEFACT_PREFIX is not a setting of image-relay; did you mean RELAY_ARTIFACT_PREFIX?",
        "RELAY_PROT is not a setting of image-relay; did you mean RELAY_PORT?",
    )


def test_a_variable_that_is_like_nothing_points_to_the_help() -> None:
    assert mistakes(RELAY_XYZZYQ="1") == (
        "RELAY_XYZZYQ is not a setting of image-relay; image-relay --help shows what there is",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--prot", "1"], "--prot is not an option of image-relay; did you mean --port?"),
        (["--pass", "x"], "--pass is not an option of image-relay; did you mean --password?"),
        (["push"], "serve takes no names, and 'push' is no option"),
        (["--port", "5076", "list"], "put the command first: image-relay list [options]"),
        (["--port"], "argument --port: expected one argument"),
    ],
)
def test_an_unknown_option_names_the_nearest_one(arguments: list[str], sentence: str) -> None:
    assert mistakes(*arguments) == (sentence,)


def test_all_mistakes_are_told_at_once() -> None:
    assert mistakes("--prot=1", "--stor", "y", RELAY_ACCES="read", RELAY_LOG_LEVEL="x") == (
        "RELAY_ACCES is not a setting of image-relay; did you mean RELAY_ACCESS?",
        "--prot is not an option of image-relay; did you mean --port?",
        "--stor is not an option of image-relay; did you mean --store?",
        "RELAY_LOG_LEVEL (--log-level) is 'x': should be 'debug', 'info', 'warning' or 'error'",
    )


def test_every_mistake_has_its_line_with_name_option_value_and_reason() -> None:
    assert mistakes(RELAY_PORT="abc", RELAY_STORE="s3", RELAY_DATA="") == (
        "RELAY_PORT (--port) is 'abc': should be a number from 0 to 65535",
        "RELAY_STORE (--store) is 's3': should be 'auto', 'directory' or 'actions'",
        "RELAY_DATA (--data) is empty; give it a value or leave it out",
    )


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("--port", "65536", "0 to 65535"),
        ("--port", "-1", "0 to 65535"),
        ("--port", "80.5", "0 to 65535"),
        ("--compression-level", "22", "1 to 19"),
        ("--settle-seconds", "soon", "0 to 3600 seconds"),
        ("--settle-seconds", "nan", "0 to 3600 seconds"),
    ],
)
def test_a_number_outside_its_limits_names_both_of_them(option: str, value: str, limits: str) -> None:
    (line,) = mistakes(f"{option}={value}")

    assert line.endswith(f"({option}) is {value!r}: should be a number from {limits}")


def test_what_is_neither_true_nor_false_is_told_so() -> None:
    expected = ("RELAY_TRUST_FORKS (--trust-forks) is 'perhaps': should be true or false",)

    assert mistakes("--trust-forks", "perhaps") == mistakes(RELAY_TRUST_FORKS="perhaps") == expected


@pytest.mark.parametrize(("value", "seconds"), [("7h", "21600"), ("361m", "21600")])
def test_a_time_is_shown_as_it_was_given(value: str, seconds: str) -> None:
    expected = (f"RELAY_WAIT (--wait) is {value!r}: should be a number from 0 to {seconds} seconds",)

    assert mistakes("--wait", value) == mistakes(RELAY_WAIT=value) == expected


@pytest.mark.parametrize("value", ["-5", "1e999", "much", "3 bananas"])
def test_what_is_no_size_is_told_with_an_example(value: str) -> None:
    expected = (f"RELAY_SPOOL_LIMIT (--spool-limit) is {value!r}: should be a size such as 512MiB or 4GiB",)

    assert mistakes(f"--spool-limit={value}") == mistakes(RELAY_SPOOL_LIMIT=value) == expected


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--host", "relay", "is not an address; write for example 127.0.0.1,::1"),
        ("--from", "main", "is not a run; write its number, workflow.yml@branch, or triggering"),
        ("--trusted-hosts", "http://gitea", "is not a host or host:port; write for example gitea:3000"),
        ("--upstreams", "ghcr.io/team", "is not a registry; write for example docker.io,ghcr.io"),
    ],
)
def test_a_list_is_checked_word_by_word_also_as_an_option(option: str, value: str, reason: str) -> None:
    variable = "RELAY_" + option[2:].replace("-", "_").upper()

    sentences = [mistakes(option, value), mistakes(**{variable: value})]

    assert sentences == 2 * [(f"{variable} ({option}) is {value!r}: {value!r} {reason}",)]


def test_localhost_is_both_loopback_addresses_also_as_an_option() -> None:
    assert read(["--host", "localhost"], {})[0].host == read((), {"RELAY_HOST": "localhost"})[0].host
    assert read(["--host", "localhost"], {})[0].host == ("127.0.0.1", "::1")


def test_a_mistake_shows_no_password_and_only_the_beginning_of_a_long_value() -> None:
    lines = mistakes(RELAY_PASSWORD="", RELAY_STORE="x" * 500)

    assert lines[0] == f"RELAY_STORE (--store) is '{'x' * 60}': should be 'auto', 'directory' or 'actions'"
    assert lines[1] == "RELAY_PASSWORD (--password) is empty; give it a value or leave it out"
    (line,) = mistakes(RELAY_UPSTREAMS="ghcr.io", RELAY_UPSTREAM_AUTH="ghcr.io=only-a-token")
    assert line == "RELAY_UPSTREAM_AUTH (--upstream-auth) should be HOST=USER:PASSWORD, one on a line"


def test_what_kubernetes_sets_for_a_service_called_relay_is_passed_over_with_a_remark() -> None:
    settings, remarks = read((), {"RELAY_PORT": "tcp://10.0.0.11:5000", "RELAY_SERVICE_HOST": "10.0.0.11"})

    assert settings.port == 5000
    assert remarks == [
        "RELAY_PORT is ignored: Kubernetes sets it for a Service called relay",
        "RELAY_SERVICE_HOST is ignored: Kubernetes sets it for a Service called relay",
    ]


def test_a_flag_can_be_set_both_ways() -> None:
    assert read(["--trust-forks", "true"], {})[0].trust_forks
    assert read((), {"RELAY_TRUST_FORKS": "1"})[0].trust_forks
    assert not read(["--trust-forks=false"], {"RELAY_TRUST_FORKS": "true"})[0].trust_forks


def test_hosts_that_are_trusted_stand_between_commas() -> None:
    assert read(["--trusted-hosts", "gitea:3000,minio"], {})[0].trusted_hosts == ("gitea:3000", "minio")
    assert read((), {"RELAY_TRUSTED_HOSTS": "Gitea:3000, 10.0.0.5"})[0].trusted_hosts == ("gitea:3000", "10.0.0.5")


def test_the_help_shows_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read(["--help"], {})

    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, default in Settings().describe():
        description = Settings.named()[name.removeprefix("RELAY_").lower()].description
        assert f"--{name.removeprefix('RELAY_').lower().replace('_', '-')} …" in shown
        assert f"{description} (default: {default})" in shown.replace("- ", "-") or default in shown
