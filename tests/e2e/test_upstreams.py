"""Real clients that use the relay as a mirror (RELAY_UPSTREAMS) of a real registry with token authentication."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.clients import ClientError, Toolbox
from tests.e2e.engines import Docker20, Docker28, Docker28Graph, Engine
from tests.e2e.images import Image
from tests.e2e.mirror_clients import Containerd, Dockerd, mirrored_builder, mirrored_engine, mirroring
from tests.e2e.relay import Relay
from tests.fakes.distribution import PASSWORD, Distribution, distribution

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_RECEIVED = re.compile(r'^image_relay_call_bytes_total\{direction="received",service="upstream"\} (\S+)$', re.MULTILINE)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with distribution(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="module")
def mirror(registry: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay that has the registry for Docker Hub and for ghcr.io, with a login for both."""
    relay = Relay(tmp_path_factory.mktemp("mirror") / "data", environment=mirroring(registry.host))
    relay.start()
    try:
        yield relay
    finally:
        relay.kill()
        print(relay.log)  # noqa: T201 - pytest shows it beside a failure
        assert PASSWORD not in relay.log


@pytest.fixture(scope="module", params=[Docker20, Docker28, Docker28Graph], ids=lambda kind: str(kind.name))
def engine(request: pytest.FixtureRequest, mirror: Relay, toolbox: Toolbox) -> Iterator[Engine]:
    with mirrored_engine(request.param, toolbox, f"127.0.0.1:{mirror.port}") as started:
        yield started


@dataclass
class Upstream:
    """A registry, and the relay that is its mirror."""

    registry: Distribution
    mirror: Relay
    toolbox: Toolbox

    def received(self) -> int:
        """Return how many bytes of bodies the relay got from it."""
        found = _RECEIVED.search(self.mirror.read("/metrics").decode())
        return int(float(found[1])) if found else 0

    def stored(self, image: Image, folder: str) -> str:
        """Push an image to the registry under a new name, and return that name."""
        name = f"{folder}/app-{secrets.token_hex(4)}"
        self.registry.store(image.source, f"{name}:v1", self.toolbox)
        return name

    def pulled_twice(self, what: str, pull: Callable[[], None], drop: Callable[[], object]) -> None:
        """Pull, and then again while the registry is down, which has to take nothing from it."""
        before, began = self.received(), time.monotonic()
        pull()
        first, took = self.received() - before, time.monotonic() - began
        drop()
        self.registry.stop()
        try:
            began = time.monotonic()
            pull()
            second = self.received() - before - first
        finally:
            self.registry.start()
        print(f"{what}: {first} bytes in {took:.1f} s, then {second} in {time.monotonic() - began:.1f} s")  # noqa: T201
        assert first > 0
        assert second == 0


@pytest.fixture
def upstream(registry: Distribution, mirror: Relay, toolbox: Toolbox) -> Upstream:
    return Upstream(registry, mirror, toolbox)


@pytest.mark.parametrize("folder", ["library", "team", "private"])
@pytest.mark.parametrize("kind", ["several-layers", "attested-index"])
def test_dockerd_with_registry_mirrors(
    engine: Engine, upstream: Upstream, image: Callable[[str], Image], kind: str, folder: str
) -> None:
    wanted, client = image(kind), Dockerd(engine)
    name = upstream.stored(wanted, folder).removeprefix("library/")
    upstream.pulled_twice(f"{engine.name} {name}", partial(client.pull, name, wanted), partial(client.drop, name))
    client.drop(name)
    assert engine.pull(f"{name}@{wanted.digest}") == wanted.digest
    assert engine.run(f"{name}@{wanted.digest}") == wanted.token


def test_a_typing_error_in_the_name_of_an_own_image_stays_a_404(
    engine: Engine, upstream: Upstream, image: Callable[[str], Image]
) -> None:
    """The classic store has to use the host that names of images have, for which a relay is at port 5000."""
    name = upstream.stored(image("empty-layer"), "team")
    before = upstream.received()

    own = name.rpartition("/")[2] if engine.graph_store else name
    with pytest.raises(ClientError, match=r"not found|manifest unknown|is not here"):
        engine.docker("pull", f"{upstream.mirror.host}/{own}:v1")
    assert upstream.received() == before


def test_buildkit_of_the_engine_builds_from_the_mirror(
    engine: Engine, upstream: Upstream, image: Callable[[str], Image]
) -> None:
    if not isinstance(engine, Docker28):
        return  # the client of Docker 20.10 has no buildx
    wanted = image("attested-index")
    name = upstream.stored(wanted, "library").removeprefix("library/")
    context = engine.toolbox.work / f"build-{secrets.token_hex(4)}"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {name}:v1\nLABEL built=yes\n")

    def build() -> None:
        engine.build(context, "--pull", "--no-cache", "--tag", f"built-{name}")
        assert engine.run(f"built-{name}") == wanted.token

    def drop() -> None:
        engine.docker("rmi", "-f", f"built-{name}")
        engine.docker("buildx", "prune", "--all", "--force")

    upstream.pulled_twice(f"{engine.name} build", build, drop)


@pytest.mark.parametrize(("host", "folder"), [("docker.io", "library"), ("ghcr.io", "team"), ("ghcr.io", "private")])
def test_buildkit_with_mirrors(
    upstream: Upstream, toolbox: Toolbox, image: Callable[[str], Image], host: str, folder: str
) -> None:
    wanted = image("attested-index")
    name = upstream.stored(wanted, folder)
    with mirrored_builder(toolbox, upstream.mirror.host, host) as client:
        what = f"buildkitd {host}/{name}"
        upstream.pulled_twice(what, partial(client.pull, name, wanted), partial(client.drop, name))


@pytest.mark.parametrize("kind", ["several-layers", "attested-index"])
@pytest.mark.parametrize("folder", ["team", "private"])
def test_containerd_with_hosts_toml(
    docker28: Engine, upstream: Upstream, image: Callable[[str], Image], kind: str, folder: str
) -> None:
    wanted, client = image(kind), Containerd(docker28, upstream.mirror.host)
    name = upstream.stored(wanted, folder)
    upstream.pulled_twice(f"ctr {name}", partial(client.pull, name, wanted), partial(client.drop, name))
    client.drop(name)


def test_skopeo_names_the_registry_in_the_path(
    upstream: Upstream, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    wanted = image("attested-index")
    name = upstream.stored(wanted, "private")
    source = f"docker://{upstream.mirror.host}/ghcr.io/{name}:v1"

    def pull() -> None:
        layout = tmp_path / secrets.token_hex(4)
        exact = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false")
        toolbox.host("skopeo", *exact, source, f"oci:{layout}:v1")
        assert Image(layout, wanted.digest, wanted.token).blobs == wanted.blobs

    upstream.pulled_twice(f"skopeo {name}", pull, lambda: None)
