import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import Settings

SECRET = "correct horse"  # noqa: S105


def test_the_defaults_serve_this_machine_alone() -> None:
    settings = Settings()

    assert settings.host == ("127.0.0.1", "::1")
    assert settings.port == 5000
    assert settings.public_host == "localhost:5000"
    assert settings.store == "auto"
    assert settings.data.is_absolute()
    assert settings.data.name == "image-relay"
    assert settings.memory_budget == 64 * 1024 * 1024
    assert settings.spool_limit == 4 * 1024**3
    assert (settings.artifact_prefix, settings.artifact_format) == ("image-", "zip")
    assert (settings.retention_days, settings.overwrite) == (3, "job")
    assert (settings.upload_concurrency, settings.download_concurrency) == (8, 8)
    assert settings.trusted_hosts is None
    assert (settings.run_id, settings.from_, settings.trust_forks) == (None, None, False)
    assert settings.access == "write"
    assert settings.compression_level == 1
    assert (settings.settle_seconds, settings.wait) == (2, 0)
    assert settings.password is None
    assert (settings.log_format, settings.log_level) == ("text", "info")


def test_the_public_host_follows_the_port() -> None:
    assert Settings(port=5001).public_host == "localhost:5001"
    assert Settings(port=5001, public_host="relay:5000").public_host == "relay:5000"


def test_the_data_folder_is_absolute_and_may_begin_with_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")

    assert Settings(data=Path("~/images")).data == Path("/home/somebody/images")
    assert Settings(data=Path("images")).data == Path.cwd() / "images"


def test_a_data_folder_that_cannot_be_looked_at_is_no_fault_of_the_settings(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root may look everywhere
        assert Settings(data=tmp_path / "below").data == tmp_path / "below"
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)


def test_settings_can_not_be_changed() -> None:
    settings = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_the_constructor_does_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_PORT", "1")

    assert Settings().port == 5000


def test_a_password_is_shown_nowhere() -> None:
    settings = Settings.model_validate({"password": SECRET})

    assert settings.password is not None
    assert settings.password.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r} {settings} {settings.describe()} {settings.model_dump_json()}"
    assert ("RELAY_PASSWORD", "set") in settings.describe()


def test_logins_are_shown_nowhere_and_read_by_host() -> None:
    logins = "docker.io=me:hunter2=:,\n  ghcr.io=you:hunter2\n"
    settings = Settings.model_validate({"upstreams": "docker.io,ghcr.io", "upstream_auth": logins})

    assert settings.logins == {"docker.io": ("me", "hunter2=:,"), "ghcr.io": ("you", "hunter2")}
    assert "hunter2" not in f"{settings!r} {settings} {settings.describe()} {settings.model_dump_json()}"


@pytest.mark.parametrize("upstream", ["docker.io", "index.docker.io", "Registry-1.docker.io"])
@pytest.mark.parametrize("login", ["docker.io", "Index.docker.io", "registry-1.docker.io"])
def test_docker_hub_is_one_registry_under_each_of_its_names(upstream: str, login: str) -> None:
    settings = Settings.model_validate({"upstreams": f"{upstream}=mirror:5000", "upstream_auth": f"{login}=me:secret"})

    assert settings.upstreams == ("docker.io=mirror:5000",)
    assert settings.logins == {"docker.io": ("me", "secret")}


def test_settings_describe_themselves_as_a_person_would_write_them(tmp_path: Path) -> None:
    given = {"port": 0, "memory_budget": "1.5GiB", "settle_seconds": "0.5", "data": tmp_path, "host": "localhost"}
    given |= {"trusted_hosts": "Gitea:3000,10.0.0.5", "upstreams": "docker.io, GHCR.io=mirror:5000"}
    given["upstream_auth"] = "ghcr.io=user:secret"

    described = dict(Settings.model_validate(given).describe())

    assert described == {
        "RELAY_HOST": "127.0.0.1,::1",
        "RELAY_PORT": "0",
        "RELAY_PUBLIC_HOST": "localhost:0",
        "RELAY_STORE": "auto",
        "RELAY_DATA": str(tmp_path),
        "RELAY_SPOOL_LIMIT": "4GiB",
        "RELAY_MEMORY_BUDGET": "1.5GiB",
        "RELAY_ARTIFACT_PREFIX": "image-",
        "RELAY_ARTIFACT_FORMAT": "zip",
        "RELAY_RETENTION_DAYS": "3",
        "RELAY_OVERWRITE": "job",
        "RELAY_UPLOAD_CONCURRENCY": "8",
        "RELAY_DOWNLOAD_CONCURRENCY": "8",
        "RELAY_TRUSTED_HOSTS": "gitea:3000,10.0.0.5",
        "RELAY_RUN_ID": "none",
        "RELAY_FROM": "none",
        "RELAY_TRUST_FORKS": "false",
        "RELAY_ACCESS": "write",
        "RELAY_COMPRESSION_LEVEL": "1",
        "RELAY_SETTLE_SECONDS": "0.5",
        "RELAY_WAIT": "0",
        "RELAY_UPSTREAMS": "docker.io,ghcr.io=mirror:5000",
        "RELAY_UPSTREAM_AUTH": "set",
        "RELAY_UPSTREAM_KEEP": "false",
        "RELAY_PASSWORD": "none",
        "RELAY_LOG_FORMAT": "text",
        "RELAY_LOG_LEVEL": "info",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "0.0.0.0,::"),
        ("host", ("10.0.0.1",)),
        ("port", "65535"),
        ("public_host", "localhost"),
        ("public_host", "relay.example"),
        ("public_host", "[::1]:5000"),
        ("store", "Directory"),
        ("memory_budget", "8MiB"),
        ("memory_budget", 16_000_000),
        ("store", "Actions"),
        ("spool_limit", "0"),
        ("artifact_prefix", "ci.image_1-"),
        ("artifact_format", "RAW"),
        ("retention_days", "400"),
        ("overwrite", "Run"),
        ("upload_concurrency", "64"),
        ("download_concurrency", "1"),
        ("trusted_hosts", "gitea,[::1]:8000"),
        ("run_id", "12345678901"),
        ("from", "build.yml@main, 12345678901\ntriggering"),
        ("from", "nightly.yaml@release/1.x"),
        ("from", f"ci.yml@{'b' * 255}"),
        ("trust_forks", "yes"),
        ("access", "READ"),
        ("compression_level", "19"),
        ("settle_seconds", "0"),
        ("log_level", "DEBUG"),
    ],
)
def test_what_makes_sense_is_accepted(field: str, value: object) -> None:
    Settings.model_validate({field: value})


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("host", "relay.example", "'relay.example' is not an address"),
        ("host", [], "at least 1 item"),
        ("port", "-1", "greater than or equal to 0"),
        ("port", "65536", "less than or equal to 65535"),
        ("port", "http", "a valid integer"),
        ("public_host", "relay", "without a dot or a port, docker takes it for part of the repository"),
        ("public_host", "http://localhost:5000", "should be a host, or host:port"),
        ("public_host", "localhost:5000\n", "should be a host, or host:port"),
        ("store", "s3", "'auto', 'directory' or 'actions'"),
        ("spool_limit", "much", "could not parse value"),
        ("artifact_format", "tar", "'zip' or 'raw'"),
        ("retention_days", "0", "greater than or equal to 1"),
        ("retention_days", "401", "less than or equal to 400"),
        ("overwrite", "never", "'job' or 'run'"),
        ("upload_concurrency", "0", "greater than or equal to 1"),
        ("download_concurrency", "65", "less than or equal to 64"),
        ("trusted_hosts", "http://gitea:3000", "'http://gitea:3000' is not a host or host:port"),
        ("run_id", "https://github.com/octo/relay/actions/runs/1", "should be the number of a run"),
        ("run_id", "\u0661", "should be the number of a run"),
        ("from", "main", "'main' is not a run; write its number, workflow.yml@branch, or triggering"),
        ("from", "build@main", "'build@main' is not a run"),
        ("from", ",", "'' is not a run"),
        ("from", f"ci.yml@{'b' * 256}", "is not a run"),
        ("from", "7,\u0661", "is not a run"),
        ("trust_forks", "perhaps", "a valid boolean"),
        ("memory_budget", "8191KiB", "should be at least 8MiB"),
        ("memory_budget", "3 bananas", "could not interpret byte unit: bananas"),
        ("artifact_prefix", "a/b", "lower-case letters, digits and . _ -"),
        ("artifact_prefix", "../", "lower-case letters, digits and . _ -"),
        ("access", "none", "'write' or 'read'"),
        ("compression_level", "0", "greater than or equal to 1"),
        ("compression_level", "22", "less than or equal to 19"),
        ("upstreams", "https://ghcr.io", "'https://ghcr.io' is not a registry; write for example docker.io,ghcr.io"),
        ("upstreams", "ghcr.io=", "is not a registry"),
        ("upstreams", "ghcr.io:65536", "is not a registry"),
        ("upstreams", "docker.io=localhost:70000", "is not a registry"),
        ("trusted_hosts", "gitea:99999", "is not a host or host:port"),
        ("public_host", "relay.test:65536", "has no port up to 65535"),
        ("public_host", "[::1]:99999", "has no port up to 65535"),
        ("upstreams", "docker", "'docker' is not a registry; write for example docker.io,ghcr.io"),
        ("upstream_auth", "ghcr.io=user", "should be HOST=USER:PASSWORD"),
        ("upstream_auth", "ghcr.io=user:secret", "has a login for a registry that is not in RELAY_UPSTREAMS"),
        ("wait", "soon", "such as 90s, 10m or 1h"),
        ("wait", "-1", "such as 90s, 10m or 1h"),
        ("wait", "7h", "less than or equal to 21600"),
        ("settle_seconds", "nan", "finite number"),
        ("settle_seconds", "-1", "greater than or equal to 0"),
        ("settle_seconds", "1e9", "less than or equal to 3600"),
        ("data", __file__, "is a file; a folder is needed"),
        ("log_format", "xml", "'text' or 'json'"),
        ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("tempo", "fast", "Extra inputs are not permitted"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(field: str, value: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        Settings.model_validate({field: value})


@pytest.mark.parametrize("field", ["password", "data", "public_host", "port", "store"])
def test_an_empty_value_is_a_mistake_and_not_the_default(field: str) -> None:
    with pytest.raises(ValidationError, match="is empty; give it a value or leave it out"):
        Settings.model_validate({field: ""})


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("1.5s", 1.5), ("10m", 600), ("1H", 3600)])
def test_a_time_has_a_unit_or_is_in_seconds(text: str, seconds: float) -> None:
    assert Settings.model_validate({"wait": text}).wait == seconds


def test_runs_to_read_are_separated_by_commas_or_lines_and_each_is_there_once() -> None:
    settings = Settings.model_validate({"from": "build.yml@main,7\n 8 ,7\n"})

    assert settings.from_ == ("build.yml@main", "7", "8")
    assert ("RELAY_FROM", "build.yml@main,7,8") in settings.describe(changed=True)
