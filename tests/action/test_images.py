"""Images in the life of a step: awaited, listed, stored at the end, or not."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.action.conftest import Use
from tests.e2e.images import INDEX, digest_of
from tests.e2e.impatient import ImpatientClient
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions.faults import no_storage_left

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
_NOTHING = b'{"schemaVersion":2,"manifests":[]}'  # an index of nothing: the smallest thing that a registry takes


def _push(relay: Relay, reference: str = "v1") -> int:
    status, _, _ = relay.request("PUT", f"/v2/app/manifests/{reference}", {"Content-Type": INDEX}, _NOTHING)
    return status


def test_what_is_in_the_run_is_an_output(jobs: Jobs, relay: Relay, use: Use) -> None:
    before = use(relay.port).main()
    assert _push(relay) == 201
    after = use(relay.port).main()

    assert json.loads(before.outputs["images"]) == []
    (image,) = json.loads(after.outputs["images"])
    assert (image["references"], image["digest"]) == (["app:v1"], digest_of(_NOTHING))
    assert (after.outputs["digest"], json.loads(after.outputs["digests"])) == ("", {})


def test_what_is_pending_is_stored_at_the_end(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port)
    step.main()
    assert _push(relay, digest_of(_NOTHING)) == 201
    assert list(jobs.actions.ledger.finished()) == []

    post = step.post()

    assert (post.status, post.annotations) == (0, [])
    (stored,) = jobs.actions.ledger.finished()
    assert stored.name == f"image-app@{digest_of(_NOTHING).replace(':', '+')}"


def test_what_can_not_be_stored_fails_the_job_and_is_named(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port)
    step.main()
    _push(relay, digest_of(_NOTHING))
    jobs.actions.plan.play("CreateArtifact", no_storage_left(), times=None)

    post = step.post()

    assert post.status == 1
    assert post.error.startswith("not everything that was pushed could be stored, so later jobs will not find it:")
    assert f"app@{digest_of(_NOTHING)}: the storage for artifacts is used up" in post.error
    jobs.actions.plan.clear()


def test_refused_requests_are_one_annotation_and_fail_nothing(jobs: Jobs, relay: Relay, use: Use) -> None:
    step = use(relay.port)
    step.main()
    assert _push(relay, digest_of(b"something else")) == 400
    assert _push(relay, digest_of(b"something else")) == 400
    relay.request("PUT", "/v2/app/manifests/v1", {}, b"no manifest")

    post = step.post()

    assert post.status == 0
    ((level, text),) = post.annotations
    first, *refused = text.splitlines()
    assert (level, first, len(refused)) == ("warning", "requests that were refused, or got no answer:", 2)
    assert refused[0].startswith("PUT /v2/app/manifests/sha256:")
    assert refused[0].endswith("(2 times)")
    assert refused[1].startswith("PUT /v2/app/manifests/v1: ")


def test_a_job_that_only_reads_can_not_push(relay: Relay, use: Use) -> None:
    step = use(relay.port, access="read")

    assert step.main().status == 0
    assert _push(relay) == 403
    assert step.main().status == 0


def test_images_are_kept_for_as_long_as_is_asked_and_allowed(jobs: Jobs, relay: Relay, use: Use) -> None:
    main = use(relay.port, retention_days="1", environment={"GITHUB_RETENTION_DAYS": "90"}).main()
    _push(relay)

    (image,) = json.loads(use(relay.port).main().outputs["images"])

    assert main.annotations == []
    assert image["expires"][:10] > image["created"][:10]
    (stored,) = jobs.actions.ledger.finished()
    assert stored.expires_at is not None
    assert 0 < (stored.expires_at - stored.created_at).total_seconds() < 2 * 86_400


def test_how_long_a_service_keeps_images_is_not_guessed(relay: Relay, use: Use) -> None:
    main = use(relay.port, retention_days="30").main()  # its settings cannot be seen from here

    assert (main.status, main.annotations) == (0, [])


def test_a_step_waits_for_what_another_job_pushes(jobs: Jobs, relay: Relay, use: Use) -> None:
    other = jobs.relay("other")
    pushing = threading.Timer(1.0, _push, [other])

    pushing.start()
    main = use(relay.port, wait="app:v1").main()
    pushing.join()

    assert main.status == 0
    assert "app:v1 is there" in main.said


def test_a_step_waits_for_the_image_of_that_registry(relay: Relay, use: Use) -> None:
    use(relay.port).main()
    for name in ("ghcr.io/team/app", "team/app?ns=registry.example:5000", "team/app?ns=MyHost"):
        path, _, query = name.partition("?")
        headers = {"Content-Type": INDEX}
        assert relay.request("PUT", f"/v2/{path}/manifests/v1?{query}", headers, _NOTHING)[0] == 201

    images = ["ghcr.io/team/app:v1", "registry.example:5000/team/app:v1", "MyHost/team/app:v1"]
    main = use(relay.port, wait="\n".join(images), wait_seconds="0").main()
    other = use(relay.port, wait="quay.io/team/app:v1", wait_seconds="0").main()

    assert (main.status, [image in main.said for image in images]) == (0, [True] * 3)
    assert "quay.io/team/app:v1 is not in this run (it has: " in other.error
    assert "ghcr.io/team/app:v1" in other.error


def test_waiting_in_vain_ends_with_what_there_is(relay: Relay, use: Use) -> None:
    use(relay.port).main()
    _push(relay)

    main = use(relay.port, wait="app:v2\napp", wait_seconds="0").main()

    assert main.status == 1
    assert main.error == (
        "app:v2 did not appear within 0 s (wait-seconds): app:v2 is not in this run (it has: app:v1). "
        'Missing "needs: build", or another tag?'
    )


@pytest.mark.parametrize("wanted", ["save", "load"])
def test_handing_images_to_or_from_an_engine_needs_one(wanted: str, relay: Relay, use: Use) -> None:
    main = use(relay.port, **{wanted: "app:v1"}).main()

    assert main.status == 1
    assert main.error.startswith(f"{wanted}: app:v1: it needs Docker, and there is no docker command")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("port", "http", "port is 'http'; it should be a number from 0 to 65535"),
        ("port", "65536", "port is '65536'; it should be a number from 0 to 65535"),
        ("access", "rw", "access is 'rw'; it should be write or read"),
        ("summary", "yes", "summary is 'yes'; it should be true or false"),
        ("retention_days", "0", "retention-days is '0'; it should be a number from 1 to 400"),
        ("wait_seconds", "long", "wait-seconds is 'long'; it should be a number from 0 to 86400"),
        (
            "wait",
            "App",
            "wait: App is not an image name (lower case, no blanks); write it as app, app:v1 or app@",
        ),
        (
            "load",
            "app:",
            "load: app: is not an image name (lower case, no blanks); write it as app, app:v1 or app@",
        ),
        ("save", f"app@sha256:{'0' * 64}", "has a digest for a name; give it a tag: "),
        ("address", "http://[", "address is http://[; write it as http://localhost:5000"),
        ("image", "-v", "image: '-v' is no image of Docker; write it as app:v1 or ghcr.io/team/app:v1"),
        ("job", "{", "job is no JSON; leave this input out, the runner fills it"),
        ("access", "read\n::error::forged", "access is 'read\N{REPLACEMENT CHARACTER}: :error: :forged'"),
        ("wait", "##[error]a::b%0Ac", "wait: # #[error]a: :b%0Ac is not an image name"),
    ],
)
def test_a_mistaken_input_is_one_error_that_says_how_it_should_look(
    name: str, value: str, said: str, relay: Relay, use: Use
) -> None:
    main = use(relay.port, **{name: value}).main()

    assert main.status == 1
    assert said in main.error
    assert len(main.annotations) == 1
    assert json.loads(relay.request("GET", "/relay/health")[2])["session"] == "none"


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("Loaded image: app:v1", ""),
        (
            "Error unpacking image app:v1: no space left on device\nLoaded image: app:v1",
            "Error unpacking image app:v1: ",
        ),
        ("", "no word of a loaded image; its output is in the log of this step"),
    ],
)
def test_a_load_that_ends_well_and_says_otherwise_has_failed(
    said: str, problem: str, relay: Relay, use: Use, tmp_path: Path, jobs: Jobs
) -> None:
    """Docker 28 ends so where its disk is full, as tests/e2e/test_full_disk.py shows; nothing at all it never says."""
    use(relay.port).main()
    client = ImpatientClient(relay, "app")
    client.tag("v1", [client.push([b"layer"])])
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\n[ $1 = load ] && cat > /dev/null && printf '%s\\n' '{said}'\nexit 0\n")
    docker.chmod(0o755)

    script = (
        f'import {{ load }} from "{ROOT}/action/images.mjs"; import {{ Relay }} from "{ROOT}/action/relay.mjs"; '
        f'await load(new Relay("http://127.0.0.1:{relay.port}"), [{{ text: "app:v1" }}])'
    )
    node = [shutil.which("node") or "node", "--input-type=module", "--eval", script]
    told = {**os.environ, "PATH": f"{docker.parent}:/usr/bin:/bin"}
    ended = subprocess.run(node, check=False, env=told, capture_output=True, text=True, timeout=60)  # noqa: S603

    assert bool(ended.returncode) == bool(problem)
    assert not problem or f"load: app:v1: docker says: {problem}" in ended.stderr
