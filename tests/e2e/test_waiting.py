"""Real clients that pull an image before somebody pushes it, and push one while pulls would wait (RELAY_WAIT)."""

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import Image
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import DIRECTORY, Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_ENGINES = ["docker20", "docker28", "docker28_graph"]
_WAITS = "not there yet: a pull waits for it"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A relay whose pulls wait for two minutes."""
    relay = Relay(tmp_path_factory.mktemp("patient") / "data", environment={**DIRECTORY, "RELAY_WAIT": "2m"})
    relay.start()
    try:
        yield relay
    finally:
        relay.kill()
        print(relay.log)  # noqa: T201 - pytest shows it beside a failure


def _pulled_before_it_is_pushed(relay: Relay, toolbox: Toolbox, image: Image, pull: Callable[[str], object]) -> None:
    """Pull an image, and push it once the relay says that the pull waits."""
    name = f"app-{secrets.token_hex(4)}"
    reference = f"{relay.host}/{name}:v1"
    with ThreadPoolExecutor() as threads:
        pulling = threads.submit(pull, reference)
        while f"{name}:v1 is {_WAITS}" not in relay.log:
            assert not pulling.done(), pulling.result()
            time.sleep(0.05)
        CLIENTS["crane"].push(toolbox, image, reference)
        pulling.result()
    assert relay.digest(name, "v1") == image.digest


@pytest.mark.parametrize("store", _ENGINES)
def test_an_engine_waits_for_an_image_and_runs_it(
    store: str, request: pytest.FixtureRequest, patient: Relay, toolbox: Toolbox, image: Callable[[str], Image]
) -> None:
    engine = request.getfixturevalue(store)
    wanted = image("several-layers")

    _pulled_before_it_is_pushed(patient, toolbox, wanted, lambda reference: engine.docker("pull", reference))

    pulled = [
        line for line in engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split() if "app-" in line
    ]
    assert pulled
    assert engine.run(pulled[0]) == wanted.token


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_waits_for_an_image(
    client: str, patient: Relay, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    pull = CLIENTS[client].pull

    _pulled_before_it_is_pushed(
        patient, toolbox, image("several-layers"), lambda reference: pull(toolbox, reference, tmp_path / "pulled")
    )


def test_podman_waits_for_an_image(
    patient: Relay, toolbox: Toolbox, image: Callable[[str], Image], local_store: Path
) -> None:
    root = ["--root", f"{local_store}/root", "--runroot", f"{local_store}/run", "--storage-driver", "vfs"]

    _pulled_before_it_is_pushed(
        patient,
        toolbox,
        image("several-layers"),
        lambda reference: toolbox.newer("podman", *root, "pull", "--tls-verify=false", reference),
    )


def test_containerd_waits_for_an_image(
    patient: Relay, toolbox: Toolbox, image: Callable[[str], Image], docker28: Engine
) -> None:
    ctr = ["ctr", "--address", f"{docker28.folder}/exec/containerd/containerd.sock", "--namespace", "waiting"]

    _pulled_before_it_is_pushed(
        patient,
        toolbox,
        image("several-layers"),
        lambda reference: toolbox.newer(*ctr, "images", "pull", "--plain-http", reference),
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_no_push_of_a_client_waits_for_its_own_tag(
    client: str, patient: Relay, toolbox: Toolbox, image: Callable[[str], Image]
) -> None:
    pushed, name = image("several-layers"), f"{client}-pushes"

    CLIENTS[client].push(toolbox, pushed, f"{patient.host}/{name}:v1")

    assert patient.digest(name, "v1") == pushed.digest
    assert f"{name}:v1 is {_WAITS}" not in patient.log


@pytest.mark.parametrize("store", _ENGINES)
def test_no_push_of_an_engine_waits_for_its_own_tag(
    store: str, request: pytest.FixtureRequest, patient: Relay, toolbox: Toolbox, image: Callable[[str], Image]
) -> None:
    engine = request.getfixturevalue(store)
    there, name = f"{patient.host}/base-{store}:v1", f"{store}-pushes"
    CLIENTS["crane"].push(toolbox, image("several-layers"), there)
    engine.docker("pull", there)
    engine.docker("tag", there, f"{patient.host}/{name}:v1")

    digest = engine.push(f"{patient.host}/{name}:v1")

    assert patient.digest(name, "v1") == digest
    assert f"{name}:v1 is {_WAITS}" not in patient.log
