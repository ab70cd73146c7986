"""The archive a push leaves is a `docker save` tarball to everyone who knows such files."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import KINDS, Image
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import PUBLIC_HOST, Relay
from tests.machine import require

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAMES = ("app:v1", f"{PUBLIC_HOST}/app:v1")
_RUNNABLE = [kind for kind in KINDS if kind not in {"foreign-architecture", "big-layer"}]

Left = Callable[[str], tuple[Image, Path]]


@pytest.fixture
def left(relay: Relay, toolbox: Toolbox, tmp_path: Path) -> Left:
    """Push a fresh image of a kind as app:v1, end the relay, and hand out the file it left."""

    def push(kind: str) -> tuple[Image, Path]:
        made = KINDS[kind](tmp_path / kind)
        CLIENTS["crane"].push(toolbox, made, f"{relay.host}/app:v1")
        assert relay.stop() == 0, relay.log
        return made, relay.archive_of("app")

    return push


@pytest.fixture(autouse=True)
def no_image_of_these_names(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take the names back from the engine that a test loaded into."""
    yield
    for engine in {"docker20", "docker28", "docker28_graph"} & set(request.fixturenames):
        running: Engine = request.getfixturevalue(engine)
        running.docker("image", "rm", "--force", *NAMES)


@pytest.mark.parametrize("kind", _RUNNABLE)
def test_newer_docker_loads_it_under_both_names_and_keeps_the_digest(kind: str, left: Left, docker28: Engine) -> None:
    pushed, archive = left(kind)

    docker28.docker("load", "--input", str(archive))

    for name in NAMES:
        assert docker28.image_id(name) == pushed.digest
        assert docker28.run(name) == pushed.token


def test_newer_docker_loads_a_foreign_architecture(left: Left, docker28: Engine) -> None:
    pushed, archive = left("foreign-architecture")

    docker28.docker("load", "--input", str(archive))

    for name in NAMES:
        assert docker28.image_id(name) == pushed.digest
        assert docker28.inspect(name, "{{.Architecture}}") == "s390x"


@pytest.mark.parametrize("kind", ["several-layers", "zstd-layers", "attested-index"])
def test_newer_docker_with_the_graph_store_loads_it_as_it_is(
    kind: str, left: Left, relay: Relay, docker28_graph: Engine
) -> None:
    pushed, archive = left(kind)

    docker28_graph.docker("load", "--input", str(archive))

    relay.start()
    for name in NAMES:
        assert docker28_graph.image_id(name) == relay.config_digest("app", "v1")
        assert docker28_graph.run(name) == pushed.token


@pytest.mark.parametrize("kind", ["several-layers", "plain-layers", "empty-layer", "attested-index"])
def test_old_docker_loads_it_once_it_is_decompressed(kind: str, left: Left, relay: Relay, docker20: Engine) -> None:
    pushed, archive = left(kind)

    with _decompressed(archive) as tar:
        docker20.docker("load", stdin=tar.stdout or subprocess.DEVNULL)

    relay.start()
    for name in NAMES:
        assert docker20.image_id(name) == relay.config_digest("app", "v1")
        assert docker20.run(name) == pushed.token


def _decompressed(archive: Path) -> subprocess.Popen[bytes]:
    command = [require("zstd"), "--decompress", "--stdout", "--quiet", str(archive)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize("side", ["host", "newer"])
@pytest.mark.parametrize("kind", ["several-layers", "zstd-layers", "attested-index"])
def test_skopeo_reads_it_as_both_kinds_of_archive(
    kind: str, side: str, left: Left, relay: Relay, toolbox: Toolbox
) -> None:
    pushed, archive = left(kind)
    skopeo = toolbox.host if side == "host" else toolbox.newer
    relay.start()

    raw = skopeo("skopeo", "inspect", "--raw", f"oci-archive:{archive}:{NAMES[1]}")
    docker = f"docker-archive:{archive}:{NAMES[1]}"
    config = skopeo("skopeo", "inspect", "--config", "--raw", docker)

    assert raw.encode() == relay.read(f"/v2/app/manifests/{pushed.digest}")
    config_digest = relay.config_digest("app", "v1")
    assert config.encode() == relay.read(f"/v2/app/blobs/{config_digest}")


@pytest.mark.parametrize("kind", ["several-layers", "zstd-layers", "attested-index"])
def test_podman_loads_it_with_the_same_config(
    kind: str, left: Left, relay: Relay, toolbox: Toolbox, local_store: Path
) -> None:
    _, archive = left(kind)
    root = ("--root", f"{local_store}/root", "--runroot", f"{local_store}/run", "--storage-driver", "vfs")

    said = toolbox.newer("podman", *root, "load", "--input", str(archive))
    images = json.loads(toolbox.newer("podman", *root, "images", "--format", "json"))

    assert f"Loaded image: {NAMES[1]}" in said
    relay.start()
    expected = relay.config_digest("app", "v1").removeprefix("sha256:")
    assert {each["Id"] for each in images} == {expected}
    assert {name for each in images for name in each["Names"]} >= {NAMES[1]}
