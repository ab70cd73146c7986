"""What a push and a pull cost the artifact service, counted by the service: calls, requests for ranges, bytes."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import PRINT_TOKEN, Image, Layer, Layout, base_layers, dockerfile, layer, several_layers
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

_MIB = 1 << 20
_ANSWER = ("inspect", "--raw", "--tls-verify=false")  # asks for the manifest and no more


def _image(path: Path, layers: list[Layer], token: str) -> Image:
    layout = Layout(path)
    return layout.finish(layout.image(layers, PRINT_TOKEN), token)


def _with_large_metadata(path: Path) -> Image:
    """Make an image whose small blobs, which are kept with the metadata, are more than one read of the end takes."""
    token = secrets.token_hex(16)
    small = [layer({f"opt/{number}": os.urandom(200 * 1024)}, level=0) for number in range(4)]
    return _image(path, [*base_layers(token), *small], token)


@pytest.mark.parametrize(("make", "ranges"), [(several_layers, 1), (_with_large_metadata, 2)])
def test_the_manifest_of_a_tag_takes_a_cold_relay_two_calls_and_one_read_or_two_if_it_is_large(
    make: Callable[[Path], Image], ranges: int, jobs: Jobs, toolbox: Toolbox, tmp_path: Path
) -> None:
    pushed, first = make(tmp_path / "image"), jobs.relay("build")
    CLIENTS["crane"].push(toolbox, pushed, f"{first.host}/app:v1")
    first.kill()
    second, traffic = jobs.relay("test"), jobs.actions.traffic
    traffic.reset()

    toolbox.host("skopeo", *_ANSWER, f"docker://{second.host}/app:v1")
    assert second.digest("app", pushed.digest) == pushed.digest

    assert traffic.results_calls <= 2
    assert traffic.calls["get_range"] == traffic.blob_requests <= ranges


def test_an_engine_that_has_the_image_already_pulls_it_for_two_calls_and_one_read(
    jobs: Jobs, docker20: Engine, tmp_path: Path
) -> None:
    first = jobs.relay("build")
    pushed_as = f"{first.host}/app:v1"
    docker20.docker("build", "--tag", pushed_as, str(dockerfile(tmp_path / "context", secrets.token_hex(16))))
    pushed = docker20.push(pushed_as)
    first.kill()
    second, traffic = jobs.relay("test"), jobs.actions.traffic
    traffic.reset()

    assert docker20.pull(f"{second.host}/app:v1") == pushed

    assert traffic.results_calls <= 2
    assert traffic.blob_requests <= 1


def test_a_push_is_six_calls_and_the_same_push_again_is_one_without_any_block(
    jobs: Jobs, docker20: Engine, tmp_path: Path
) -> None:
    relay, traffic = jobs.relay("build"), jobs.actions.traffic
    reference = f"{relay.host}/app:v1"
    docker20.docker("build", "--tag", reference, str(dockerfile(tmp_path / "context", secrets.token_hex(16))))

    pushed = docker20.push(reference)

    assert traffic.results_calls <= 6, traffic.calls
    assert traffic.calls["put_block_list"] == 1
    traffic.reset()
    assert docker20.push(reference) == pushed
    assert traffic.results_calls <= 1, traffic.calls
    assert traffic.total("put_block", "put_block_list", "CreateArtifact") == 0


@pytest.mark.parametrize("store", ["docker20", "docker28"])
def test_of_an_image_whose_base_the_engine_has_only_the_rest_is_read(
    store: str, jobs: Jobs, toolbox: Toolbox, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue(store)
    first, token = jobs.relay("build"), secrets.token_hex(16)
    base = [*base_layers(token), layer({"opt/base": os.urandom(24 * _MIB)}, level=1)]
    rest = layer({"opt/rest": os.urandom(3 * _MIB)}, level=1)
    for name, layers in (("base", base), ("app", [*base, rest])):
        image = _image(tmp_path / name, layers, token)
        CLIENTS["crane"].push(toolbox, image, f"{first.host}/app:{name}")
    first.kill()
    engine.pull(f"{jobs.relay('base').host}/app:base")
    second, traffic = jobs.relay("test"), jobs.actions.traffic
    traffic.reset()

    engine.pull(f"{second.host}/app:app")

    assert engine.run(f"{second.host}/app:app") == token
    assert len(rest.data) < traffic.sent["get_range"] <= 1.05 * len(rest.data) + _MIB
