"""The relay as a container: what its image holds, and how it lives and ends."""

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bridged import Bridged
from tests.e2e.building import BASE
from tests.e2e.clients import ClientError
from tests.e2e.engines import Engine
from tests.e2e.images import digest_of, dockerfile
from tests.e2e.jobs import NO_SESSION

# The image of the relay is built once for each process: 45 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_PORT = 5000
_HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
_TINY = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

Start = Callable[..., str]


@pytest.fixture
def start(bridged: Bridged, relay_image: str) -> Iterator[Start]:
    """Start containers of the image, with a volume or tmpfs for the data; they are gone at the end."""
    started: list[str] = []

    def run(*options: str, data: str = "--volume") -> str:
        publish = ("--publish", f"127.0.0.1:{_PORT}:5000", data, "/data")
        started.append(bridged.docker("run", "--detach", *_HARDENED, *publish, *options, relay_image).strip())
        return started[-1]

    yield run
    for container in started:
        print(bridged.logs(container))  # noqa: T201 - pytest shows it beside a failure
        bridged.docker("rm", "--force", "--volumes", container)


def _digest_of(engine: Bridged, path: str) -> str:
    head = engine.curl("--head", f"http://localhost:{_PORT}{path}")
    (digest,) = [line.split()[1] for line in head.splitlines() if line.lower().startswith("docker-content-digest")]
    return digest


def test_what_the_project_adds_to_its_base_is_small_and_says_what_it_is(bridged: Bridged, relay_image: str) -> None:
    sizes = [int(bridged.inspect(each, "{{.Size}}")) for each in (BASE, relay_image)]
    config = json.loads(bridged.inspect(relay_image, "{{json .Config}}"))

    print(f"the project adds {(sizes[1] - sizes[0]) / 1e6:.1f} MB to its base")  # noqa: T201 - a figure of the report
    assert sizes[1] - sizes[0] < 40e6
    assert config["User"] == "10001:10001"
    assert config["Volumes"] is None
    assert config["Labels"]["org.opencontainers.image.title"] == "image-relay"
    assert config["Labels"]["org.opencontainers.image.version"] == "1.0.0"


def test_the_image_has_nothing_that_installs_or_tests(bridged: Bridged, relay_image: str) -> None:
    listing = ("--rm", "--network", "none", "--entrypoint", "find", relay_image, "/opt/image-relay", "/data")
    files = bridged.docker("run", *listing).splitlines()

    assert any(each.endswith("/proxy/app.py") for each in files)
    assert [each for each in files if "/pip/" in each or "/tests/" in each or "/hatchling/" in each] == []
    assert "/data" in files


def test_it_is_healthy_at_the_first_probe_and_without_a_session(start: Start, bridged: Bridged) -> None:
    container = start("--env", "GITHUB_ACTIONS=true")

    state = bridged.probed(container)

    assert [state["Health"][name] for name in ("Status", "FailingStreak")] == ["healthy", 0]
    health = json.loads(bridged.curl(f"http://localhost:{_PORT}/relay/health"))
    assert [health[name] for name in ("store", "session", "ready")] == ["actions", "none", False]


def test_a_newer_engine_finds_it_healthy_at_the_first_probe_too(
    bridged: Bridged, docker28: Engine, relay_image: str, tmp_path: Path
) -> None:
    archive = docker28.folder / "relay.tar"
    bridged.docker("save", "--output", str(archive), relay_image)
    docker28.docker("load", "--input", str(archive))
    archive.unlink()

    container = docker28.docker("run", "--detach", *_HARDENED, "--network", "none", "--tmpfs", "/data", relay_image)
    state = docker28.probed(container.strip())

    assert [state["Health"][name] for name in ("Status", "FailingStreak")] == ["healthy", 0], state["Health"]
    docker28.docker("rm", "--force", container.strip())


@pytest.mark.parametrize("data", ["--volume", "--tmpfs"])
def test_it_serves_a_push_and_a_pull_as_nobody_with_a_read_only_root(
    data: str, start: Start, bridged: Bridged, tmp_path: Path
) -> None:
    container = start(data=data)
    reference, token = f"localhost:{_PORT}/app:v1", secrets.token_hex(16)
    bridged.docker("build", "--tag", reference, str(dockerfile(tmp_path / "context", token)))
    bridged.probed(container)

    pushed = bridged.push(reference)
    bridged.docker("image", "rm", reference)
    pulled = bridged.pull(reference)

    assert pulled == pushed == _digest_of(bridged, "/v2/app/manifests/v1")
    assert bridged.run(reference) == token
    assert bridged.docker("exec", container, "id", "-u").strip() == "10001"


def test_under_github_a_push_before_the_action_says_what_to_do(start: Start, bridged: Bridged, tmp_path: Path) -> None:
    container, reference = start("--env", "GITHUB_ACTIONS=true"), f"localhost:{_PORT}/app:v1"
    bridged.docker("build", "--tag", reference, str(dockerfile(tmp_path / "context", secrets.token_hex(16))))
    bridged.probed(container)

    with pytest.raises(ClientError) as refused:
        bridged.push(reference)

    assert f"denied: {NO_SESSION}" in str(refused.value)


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
def test_a_signal_stores_what_is_pending_and_ends_it_well(signal: str, start: Start, bridged: Bridged) -> None:
    container = start("--env", "RELAY_SETTLE_SECONDS=3600")
    bridged.probed(container)
    digest = digest_of(_TINY.encode())
    url = f"http://localhost:{_PORT}/v2/app/manifests/{digest}"
    content_type = "Content-Type: application/vnd.oci.image.index.v1+json"
    bridged.curl("--request", "PUT", "--header", content_type, "--data", _TINY, url)

    bridged.docker("kill", "--signal", signal, container)

    assert bridged.docker("wait", container).strip() == "0"
    listing = bridged.docker("run", "--rm", "--volumes-from", container, "--entrypoint", "ls", BASE, "/data")
    assert f"image-app@sha256+{digest.partition(':')[2]}.tar.zst" in listing.split()
    assert "stopped" in bridged.logs(container)
