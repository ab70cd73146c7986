"""The engine that the docker command would find."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.docker import SOCKET, ContextUnusable, Endpoint, endpoint

NAMES = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_TLS",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "HOME",
]


def context(folder: Path, name: str, host: object, *, tls: bool = False, **more: object) -> Path:
    """Make a context as `docker context create` does; give the folder of its certificates."""
    identity = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / identity
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host} | more}}))
    certificates = folder / "contexts/tls" / identity / "docker"
    if tls:
        certificates.mkdir(parents=True)
    return certificates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration whose current context is `remote`."""
    folder = tmp_path / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text('{"currentContext":"remote"}')
    context(folder, "remote", "ssh://me@remote")
    context(folder, "other", "unix:///other.sock")
    return folder


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "ssh://me@remote"),
        ({"DOCKER_CONTEXT": "other"}, "unix:///other.sock"),
        ({"DOCKER_CONTEXT": "default"}, f"unix://{SOCKET}"),
        ({"DOCKER_HOST": "unix:///mine.sock"}, "unix:///mine.sock"),
        ({"DOCKER_HOST": "unix:///mine.sock", "DOCKER_CONTEXT": "other"}, "unix:///mine.sock"),
        ({"DOCKER_HOST": "", "DOCKER_CONTEXT": ""}, "ssh://me@remote"),
    ],
)
@pytest.mark.parametrize("by", ["HOME", "DOCKER_CONFIG"])
def test_what_the_environment_names_comes_before_the_current_context(
    folder: Path, environment: dict[str, str], url: str, by: str
) -> None:
    where = {"HOME": str(folder.parent)} if by == "HOME" else {"HOME": "/nowhere", "DOCKER_CONFIG": str(folder)}

    assert endpoint(where | environment).url == url


@pytest.mark.parametrize(
    ("host", "plain", "tls"),
    [
        ("tcp://far:1", "http://far:1", "https://far:1"),
        ("tcp://far", "http://far:2375", "https://far:2376"),
        ("far:1", "http://far:1", "https://far:1"),
        (":1", "http://localhost:1", "https://localhost:1"),
        ("tcp://[::1]", "http://[::1]:2375", "https://[::1]:2376"),
        ("tcp://far:1/below", "http://far:1/below", "https://far:1/below"),
        ("unix://", f"unix://{SOCKET}", f"unix://{SOCKET}"),
        ("npipe:////./pipe/docker_engine", "npipe:////./pipe/docker_engine", "npipe:////./pipe/docker_engine"),
    ],
)
def test_a_host_is_read_as_docker_reads_it(host: str, plain: str, tls: str, tmp_path: Path) -> None:
    where = {"HOME": str(tmp_path), "DOCKER_HOST": host}

    assert endpoint(where).url == plain
    assert endpoint(where | {"DOCKER_TLS_VERIFY": "1"}).url == tls


def test_certificates_are_those_that_docker_takes(folder: Path) -> None:
    far = {"HOME": str(folder.parent), "DOCKER_HOST": "tcp://far"}
    made = context(folder, "tls", "tcp://far:1", tls=True)
    context(folder, "careless", "tcp://far:1", SkipTLSVerify=True)

    assert endpoint(far | {"DOCKER_TLS_VERIFY": "1"}) == Endpoint("https://far:2376", "DOCKER_HOST", folder)
    assert endpoint(far | {"DOCKER_TLS": "1", "DOCKER_CERT_PATH": "/c"}).certificates == Path("/c")
    assert not endpoint(far | {"DOCKER_TLS": "1"}).verify
    by_context = {"DOCKER_CONFIG": str(folder), "DOCKER_TLS_VERIFY": "1"}
    assert endpoint(by_context | {"DOCKER_CONTEXT": "tls"}) == Endpoint("https://far:1", "docker's context 'tls'", made)
    assert not endpoint(by_context | {"DOCKER_CONTEXT": "careless"}).verify
    assert endpoint(by_context | {"DOCKER_CONTEXT": "other"}).certificates is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"currentContext":7}', "\x00", None])
def test_a_configuration_that_cannot_be_read_names_no_context(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)

    assert endpoint({"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path)}).url == f"unix://{SOCKET}"


def test_a_context_that_is_not_there_or_damaged_is_told(folder: Path) -> None:
    where = {"DOCKER_CONFIG": str(folder)}
    context(folder, "damaged", 7)

    with pytest.raises(ContextUnusable, match="docker's context 'gone' does not exist"):
        endpoint(where | {"DOCKER_CONTEXT": "gone"})
    with pytest.raises(ContextUnusable, match="docker's context 'damaged' cannot be read"):
        endpoint(where | {"DOCKER_CONTEXT": "damaged"})


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\0"), max_size=40)))
def test_no_environment_is_an_error_of_ours(environment: dict[str, str]) -> None:
    try:
        found = endpoint(environment)
    except ContextUnusable as error:
        assert str(error)  # noqa: PT017 - either outcome is right
    else:
        assert "://" in found.url


def test_a_user_without_a_home_can_use_every_command(tmp_path: Path) -> None:
    """A user without a passwd entry, which is played: who starts the tests has one."""
    program = "import sys; sys.modules['pwd'] = None; from proxy.__main__ import main; main(['save', 'app:v1'])"
    environment = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}

    ended = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )

    tried = f"DOCKER_HOST: unix://{tmp_path}/none.sock"
    assert ended.stderr == f"image-relay: no container engine answers ({tried}): start it, or use --file\n"
    assert ended.returncode == 1
