"""Storage that is slow, and storage that fails now and then, under clients that try a manifest only once."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import Image, blobs_of, several_layers
from tests.e2e.impatient import ImpatientClient, random_mebibytes
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS
from tests.fakes.actions.faults import (
    Answer,
    BodyReset,
    Corrupt,
    Delay,
    Fault,
    Reset,
    Truncated,
    UploadReset,
    edge_page,
    intermediary,
    twirp_error,
)

# Storage takes 60 and 72 s, which clients wait out; 40 pushes and pulls through faults: 50 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_STEP = 18.0  # seconds; a request is repeated after twenty
_STEPS = ("CreateArtifact", "put_block", "put_block_list", "FinalizeArtifact")
_LISTING = 28.0  # seconds; more than a request waits
_ROUNDS = 40
_IMAGES = 6
_NO_CACHE = "1MiB"  # of disk, so that pulls read artifacts
_FAULTS: list[Fault] = [
    Answer(503),
    Answer(500),
    edge_page(),
    twirp_error(500, "internal", "internal error"),
    intermediary(),
    Reset(),
    Reset(effect=True),
    UploadReset(at=1000),
    BodyReset(at=1000),
    Truncated(at=1000),
    Corrupt(at=1000),
    Delay(0.5),
]


def test_storage_that_takes_its_time_at_each_step_does_not_fail_a_client_that_waits_thirty(jobs: Jobs) -> None:
    relay = jobs.relay("build")
    client = ImpatientClient(relay, "app")
    layer = client.push(random_mebibytes(5))
    for step in _STEPS:
        jobs.actions.plan.play(step, Delay(_STEP))

    pushed = client.tag("v1", [layer])

    assert 2 <= client.hops <= 4
    assert jobs.actions.plan.unplayed == []
    assert jobs.actions.traffic.calls["put_block_list"] == jobs.actions.traffic.calls["FinalizeArtifact"] == 1
    relay.kill()
    assert jobs.relay("test").digest("app", "v1") == pushed


def test_an_image_that_takes_its_time_to_be_found_and_read_is_pulled(
    jobs: Jobs, toolbox: Toolbox, tmp_path: Path
) -> None:
    crane, pushed = CLIENTS["crane"], several_layers(tmp_path / "image")
    crane.push(toolbox, pushed, f"{jobs.relay('build').host}/app:v1")
    relay = jobs.relay("test")
    jobs.actions.plan.play("ListArtifacts", Delay(_LISTING))
    jobs.actions.plan.play("get_range", Delay(_LISTING))

    crane.pull(toolbox, f"{relay.host}/app:v1", tmp_path / "pulled")

    assert blobs_of(tmp_path / "pulled") >= pushed.blobs


def test_an_engine_pulls_what_takes_its_time(jobs: Jobs, docker28: Engine, toolbox: Toolbox, tmp_path: Path) -> None:
    pushed = several_layers(tmp_path / "image")
    CLIENTS["skopeo"].push(toolbox, pushed, f"{jobs.relay('build').host}/app:v1")
    relay = jobs.relay("test")
    jobs.actions.plan.play("ListArtifacts", Delay(_LISTING))

    assert docker28.pull(f"{relay.host}/app:v1") == pushed.digest


@pytest.mark.timeout(600)  # 50 s on a quiet machine; retries take longer on a busy one
def test_when_one_request_in_a_hundred_fails_every_answered_push_is_pulled_exactly(
    jobs: Jobs, toolbox: Toolbox, tmp_path: Path
) -> None:
    skopeo, pushed = CLIENTS["skopeo"], [several_layers(tmp_path / f"image{number}") for number in range(_IMAGES)]
    jobs.actions.plan.at_random(0.01, seed=11, faults=_FAULTS)
    relay = jobs.relay("build", RELAY_SPOOL_LIMIT=_NO_CACHE)
    expected: dict[str, Image] = {}

    for number in range(_ROUNDS):
        tag, image = f"v{number % 5}", pushed[number % _IMAGES]
        skopeo.push(toolbox, image, f"{relay.host}/app:{tag}")
        expected[tag] = image
        if number % 10 == 9:
            relay.kill()
            relay = jobs.relay("build", RELAY_SPOOL_LIMIT=_NO_CACHE)
        reading = f"v{number * 7 % len(expected)}"
        skopeo.pull(toolbox, f"{relay.host}/app:{reading}", tmp_path / "pulled")
        assert blobs_of(tmp_path / "pulled") >= expected[reading].blobs
        shutil.rmtree(tmp_path / "pulled")

    assert {tag: relay.digest("app", tag) for tag in expected} == {tag: each.digest for tag, each in expected.items()}
    assert jobs.actions.plan.played, "nothing went wrong"
