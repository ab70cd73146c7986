"""What this is for: an image that one job pushed is there in the next, whatever became of the first relay's disk."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import ClientError, Toolbox, run
from tests.e2e.engines import Engine
from tests.e2e.images import Image, blobs_of, dockerfile, several_layers
from tests.e2e.jobs import NO_SESSION, Jobs
from tests.e2e.push_pull_clients import CLIENTS, regctl
from tests.fakes.actions.fixtures import Emulate
from tests.fakes.actions.options import Flavour
from tests.machine import require

# Engines push and pull the image around, each into an empty store: 30 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

_ELSEWHERE = [flavour for flavour in Flavour if flavour is not Flavour.GITHUB]


_RING = [("docker20", "docker28"), ("docker28", "docker28_graph"), ("docker28_graph", "docker20")]


@pytest.fixture(params=_RING, ids=" to ".join)
def engines(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """Who pushes, who pulls: each engine does both once."""
    pushing, pulling = (request.getfixturevalue(engine) for engine in request.param)
    return pushing, pulling


def test_an_image_pushed_just_before_a_sigkill_is_pulled_in_the_next_job(
    engines: tuple[Engine, Engine], jobs: Jobs, tmp_path: Path
) -> None:
    pushing, pulling = engines
    token, first = secrets.token_hex(16), jobs.relay("build")
    pushed_as = f"{first.host}/app:v1"
    pushing.docker("build", "--tag", pushed_as, str(dockerfile(tmp_path / "context", token)))

    pushed = pushing.push(pushed_as)
    first.kill()
    second = jobs.relay("test")
    pulled_as = f"{second.host}/app:v1"
    pulled = pulling.pull(pulled_as)

    assert pulled == pushed == second.digest("app", "v1")
    assert pulling.layers(pulled_as) == pushing.layers(pushed_as)
    assert pulling.run(pulled_as) == token
    assert [record.name for record in jobs.actions.ledger.finished()] == ["image-app@v1"]


@pytest.mark.parametrize("tool", ["oras", "regctl"])
def test_what_was_attached_to_an_image_just_before_a_sigkill_is_found_in_the_next_job(
    tool: str, jobs: Jobs, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    first, note = jobs.relay("build"), tmp_path / "note.txt"
    note.write_text(secrets.token_hex())
    reference, kind = f"{first.host}/app:v1", "application/vnd.example.note"
    CLIENTS["skopeo"].push(toolbox, image("several-layers"), reference)

    if tool == "oras":
        plain = ("--plain-http", "--disable-path-validation", "--distribution-spec", "v1.1-referrers-api")
        toolbox.host("oras", "attach", *plain, "--artifact-type", kind, reference, f"{note}:text/plain")
    else:
        regctl(
            toolbox, first.host, "artifact", "put", "--artifact-type", kind, "--file", f"{note}", "--subject", reference
        )
    first.kill()
    second = jobs.relay("test")

    found = second.json(f"/v2/app/referrers/{second.digest('app', 'v1')}")["manifests"]
    assert [each["artifactType"] for each in found] == [kind]
    attached = second.json(f"/v2/app/manifests/{found[0]['digest']}")
    assert second.read(f"/v2/app/blobs/{attached['layers'][0]['digest']}") == note.read_bytes()


@pytest.mark.parametrize("flavour", _ELSEWHERE)
def test_other_servers_hand_an_image_on_as_well(
    flavour: Flavour, emulate: Emulate, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    pushed = image("several-layers")
    with Jobs(emulate(flavour=flavour), tmp_path) as jobs:
        first = jobs.relay("build")

        CLIENTS["skopeo"].push(toolbox, pushed, f"{first.host}/app:v1")
        first.kill()
        second = jobs.relay("test")
        CLIENTS["skopeo"].pull(toolbox, f"{second.host}/app:v1", tmp_path / "pulled")

        assert second.digest("app", "v1") == pushed.digest
        assert blobs_of(tmp_path / "pulled") >= pushed.blobs


def test_two_jobs_push_and_a_third_merges_their_tags_by_an_index_alone(
    jobs: Jobs, docker28: Engine, tmp_path: Path
) -> None:
    token = secrets.token_hex(16)
    context, platforms = dockerfile(tmp_path / "context", token), ("amd64", "s390x")
    for platform in platforms:
        relay = jobs.relay(f"build {platform}")
        one = ("--platform", f"linux/{platform}", "--provenance=false", "--push")
        docker28.build(context, *one, "--tag", f"{relay.host}/app:{platform}")
        relay.kill()
    merging, traffic = jobs.relay("merge"), jobs.actions.traffic
    traffic.reset()

    tags = [f"{merging.host}/app:{platform}" for platform in platforms]
    docker28.docker("buildx", "imagetools", "create", "--tag", f"{merging.host}/app:both", *tags)
    merging.kill()

    assert traffic.received["put_block"] < 64 * 1024
    pulling = jobs.relay("test")
    pulled = docker28.pull(f"{pulling.host}/app:both")
    assert pulled == pulling.digest("app", "both")
    assert docker28.run(f"{pulling.host}/app:both") == token
    children = pulling.json("/v2/app/manifests/both")["manifests"]
    assert {each["digest"] for each in children} == {pulling.digest("app", platform) for platform in platforms}


def test_a_relay_without_a_session_says_what_to_do_and_works_once_it_has_one(
    jobs: Jobs, toolbox: Toolbox, docker20: Engine, docker28: Engine, tmp_path: Path
) -> None:
    relay, token = jobs.service_container(), secrets.token_hex(16)
    reference = f"{relay.host}/app:v1"
    assert f"nothing can be pushed now: {NO_SESSION}" in relay.log
    docker20.docker("build", "--tag", reference, str(dockerfile(tmp_path / "context", token)))

    with pytest.raises(ClientError) as refused:
        docker20.push(reference)
    assert f"denied: {NO_SESSION}" in str(refused.value)
    assert relay.digest("app", "v1") is None
    offer = tmp_path / "offer.json"
    offer.write_bytes(jobs.offer())
    answer = ("--silent", "--show-error", "--fail-with-body", "--write-out", "%{http_code}")
    target = f"http://{relay.host}/relay/session"
    curl = [require("curl"), *answer, "--request", "PUT", "--data-binary", f"@{offer}", target]
    said = run(curl, toolbox.env()).stdout
    pushed = docker20.push(reference)

    assert said == "204"
    assert docker28.pull(reference) == pushed
    assert docker28.run(reference) == token
    jobs.search([str(refused.value)])


def test_another_attempt_of_the_run_sees_and_replaces_what_the_first_one_pushed(
    jobs: Jobs, toolbox: Toolbox, docker28: Engine, tmp_path: Path
) -> None:
    crane, old, new = CLIENTS["crane"], several_layers(tmp_path / "old"), several_layers(tmp_path / "new")
    first = jobs.relay("build")
    crane.push(toolbox, old, f"{first.host}/app:v1")
    first.kill()

    again = jobs.relay("build", attempt=2)
    assert docker28.pull(f"{again.host}/app:v1") == old.digest
    crane.push(toolbox, new, f"{again.host}/app:v1")
    again.kill()

    test = jobs.relay("test", attempt=2)
    assert docker28.pull(f"{test.host}/app:v1") == new.digest
    assert docker28.run(f"{test.host}/app:v1") == new.token


def test_another_job_may_move_a_tag_only_where_that_is_allowed(
    jobs: Jobs, toolbox: Toolbox, image: Callable[[str], Image], docker20: Engine, tmp_path: Path
) -> None:
    first, other = jobs.relay("build"), jobs.relay("other")
    allowed = jobs.relay("allowed", RELAY_OVERWRITE="run")
    pushed = image("several-layers")
    CLIENTS["crane"].push(toolbox, pushed, f"{first.host}/app:v1")
    tags = [("--tag", f"{relay.host}/app:v1") for relay in (other, allowed)]
    docker20.docker("build", *tags[0], *tags[1], str(dockerfile(tmp_path / "context", secrets.token_hex(16))))

    with pytest.raises(ClientError) as refused:  # newer engines print no more than the status
        docker20.push(f"{other.host}/app:v1")
    sentence = "app:v1 belongs to another job of this run; use another tag, or RELAY_OVERWRITE=run"
    assert sentence in str(refused.value)
    assert jobs.relay("test").digest("app", "v1") == pushed.digest
    moved = docker20.push(f"{allowed.host}/app:v1")

    assert moved != pushed.digest
    assert jobs.relay("deploy").digest("app", "v1") == moved
    jobs.search([str(refused.value)])
