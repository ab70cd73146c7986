"""Real clients of a mirror whose registry is slow, limited, cut off or wrong: exactly the image, or an error.

What stands between is a proxy that does it to the answers of a real registry with token authentication.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.clients import ClientError, Toolbox
from tests.e2e.images import Image, several_layers
from tests.e2e.mirror_clients import MirrorClient, mirror_client, mirroring
from tests.e2e.relay import Relay
from tests.fakes.between import Between, Fault, between, cut, flipped, limited, of_blobs, once, slow, unavailable
from tests.fakes.distribution import Distribution, distribution

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

KINDS = ["dockerd", "containerd", "buildkitd"]
_LIMITED = 22  # seconds; longer than a rate limit is waited for


@dataclass
class Mirrored:
    """A registry, what stands before it, the relay that mirrors it, and a client of that."""

    registry: Distribution
    between: Between
    relay: Relay
    client: MirrorClient
    toolbox: Toolbox

    def stored(self, folder: Path) -> tuple[str, Image]:
        """Let the registry have an image whose layers nobody has, and return its name and what it is."""
        image, name = several_layers(folder), f"team/app-{secrets.token_hex(4)}"
        self.registry.store(image.source, f"{name}:v1", self.toolbox)
        return name, image


@pytest.fixture(scope="module", params=KINDS)
def mirrored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox
) -> Iterator[Mirrored]:
    folder = tmp_path_factory.mktemp("registry")
    with distribution(folder) as registry, between(registry.port) as proxy:
        relay = Relay(folder / "data", environment=mirroring(proxy.host))
        relay.start()
        try:
            with mirror_client(request.param, toolbox, relay.host) as client:
                yield Mirrored(registry, proxy, relay, client, toolbox)
        finally:
            relay.kill()
            print(relay.log)  # noqa: T201 - pytest shows it beside a failure


@pytest.fixture(autouse=True)
def _well_again(mirrored: Mirrored) -> Iterator[None]:
    yield
    mirrored.between.fault = None


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda: once(limited(2)), id="two seconds of 429"),
        pytest.param(lambda: once(unavailable), id="503 once"),
        pytest.param(lambda: slow, id="slow"),
        pytest.param(lambda: of_blobs(once(cut)), id="cut off once"),
    ],
)
def test_what_passes_keeps_no_client_from_the_image(
    mirrored: Mirrored, tmp_path: Path, fault: Callable[[], Fault]
) -> None:
    name, wanted = mirrored.stored(tmp_path)
    mirrored.between.fault = fault()

    mirrored.client.pull(name, wanted)
    mirrored.client.drop(name)


@pytest.mark.parametrize(
    ("fault", "told", "lasts"),
    [
        pytest.param(limited(_LIMITED), "accepts no more requests", _LIMITED, id="429"),
        pytest.param(unavailable, "has failed", 0, id="503"),
        pytest.param(of_blobs(cut), "broke off", 0, id="cut off"),
        pytest.param(of_blobs(flipped), "sent other bytes", 0, id="wrong bytes"),
    ],
)
def test_what_lasts_is_an_error_and_then_forgotten(
    mirrored: Mirrored, tmp_path: Path, fault: Fault, told: str, lasts: int
) -> None:
    name, wanted = mirrored.stored(tmp_path)
    mirrored.between.fault, began = fault, time.monotonic()
    with pytest.raises(ClientError):
        mirrored.client.pull(name, wanted)
    assert told in mirrored.relay.log
    mirrored.between.fault = None
    time.sleep(max(0.0, lasts - (time.monotonic() - began)))

    mirrored.client.pull(name, wanted)
    mirrored.client.drop(name)
