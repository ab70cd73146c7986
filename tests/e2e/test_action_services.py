"""The action where the job has service containers: which one gets the session, and which never."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.e2e.bridged import Bridged
from tests.e2e.building import BASE, RELAY
from tests.e2e.steps import Use, containers, session

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

_IMAGE = f"{RELAY}:1.0.0"
_NETWORK = "github_network_5f3759df"


def _service(
    engine: Bridged, *options: str, image: Sequence[str] = (_IMAGE,), network: str = _NETWORK
) -> dict[str, Any]:
    """Start a service container as the runner does, and describe the job as that does."""
    if network not in engine.docker("network", "ls", "--format", "{{.Name}}").split():
        engine.docker("network", "create", network)
    joined = ("--network", network, "--network-alias", "relay", "--env", "RELAY_STORE=actions")
    number = engine.docker("run", "--detach", *joined, *options, *image).strip()
    ports = json.loads(engine.docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", number))
    told = {inner.partition("/")[0]: outer[0]["HostPort"] for inner, outer in ports.items() if outer}
    return {"container": {"network": network}, "services": {"relay": {"id": number, "ports": told, "network": network}}}


def _trusting(bridged: Bridged, environments: dict[str, dict[str, str]]) -> tuple[str, ...]:
    return ("--env", f"RELAY_TRUSTED_HOSTS={environments['build']['RELAY_TRUSTED_HOSTS']}")


def test_the_service_container_that_the_runner_names_gets_thesession(
    use: Use, bridged: Bridged, environments: dict[str, dict[str, str]]
) -> None:
    job = _service(bridged, "--publish", "127.0.0.1:5001:5000", *_trusting(bridged, environments))
    step = use(job=job)

    main, post = step.main(), step.post()

    assert (main.status, main.annotations) == (0, [])
    assert main.outputs["registry"] == "localhost:5001"
    assert session(bridged, 5001) == "active"
    assert (post.status, post.annotations) == (0, [])
    assert len(containers(bridged)) == 1


def test_act_does_not_name_services_but_calls_their_network_after_the_job(
    use: Use, bridged: Bridged, environments: dict[str, dict[str, str]]
) -> None:
    trusting = _trusting(bridged, environments)
    _service(bridged, "--publish", "127.0.0.1:5000:5000", *trusting, network="act-flow-build-0af-build-network")
    _service(bridged, "--publish", "127.0.0.1:5001:5000", *trusting, network="act-flow-test-0af-test-network")

    main = use("test").main()

    assert (main.status, main.outputs["registry"]) == (0, "localhost:5001")
    assert (session(bridged, 5000), session(bridged, 5001)) == ("none", "active")


def test_a_service_that_publishes_no_port_is_told_with_the_line_to_add(use: Use, bridged: Bridged) -> None:
    main = use(job=_service(bridged)).main()

    assert main.status == 1
    assert (
        'the service relay publishes no port, so docker cannot reach it; add to it  ports: ["127.0.0.1:5000:5000"]'
        in (main.error)
    )


def test_a_service_with_another_image_gets_nothing(use: Use, bridged: Bridged) -> None:
    bridged.docker("tag", BASE, "elsewhere/base:latest")
    job = _service(bridged, "--publish", "127.0.0.1:5002:5000", image=("elsewhere/base", "sleep", "600"))

    main = use(job=job, address="localhost:5002").main()

    assert main.status == 1
    assert "where no image-relay of this job listens (it has none)" in main.error
