"""An engine pushes an index of several manifests, while another job pulls: what that sees, and what is left.

Engines of today push the parts by digest; tests/actions/test_children_under_a_tag.py plays those that push them
under the tag.
"""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions import kinds
from tests.fakes.actions.faults import Delay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

_BOTH = ("--platform", "linux/amd64,linux/s390x", "--provenance=true")
_HEADERS = {"Accept": "*/*"}


def build_and_push(engine: Engine, context: Path, reference: str) -> str:
    return engine.build(context, *_BOTH, "--tag", reference, "--push")


def push_what_was_built(engine: Engine, context: Path, reference: str) -> str:
    engine.build(context, *_BOTH, "--tag", reference)
    return engine.push(reference)


def copy_with_buildx(engine: Engine, context: Path, reference: str) -> str:
    source = reference.replace("/app:", "/source:")
    built = engine.build(context, *_BOTH, "--tag", source, "--push")
    engine.docker("buildx", "imagetools", "create", "--tag", reference, source)
    return built


@pytest.mark.parametrize("push", [build_and_push, push_what_was_built, copy_with_buildx])
def test_another_job_pulls_nothing_but_the_index_and_one_artifact_is_left(
    push: Callable[[Engine, Path, str], str], jobs: Jobs, docker28: Engine, tmp_path: Path
) -> None:
    building, pulling = jobs.relay("build"), jobs.relay("deploy")
    jobs.actions.plan.play(kinds.FINALIZE, Delay(0.5), times=None)
    context = dockerfile(tmp_path / "context", secrets.token_hex(16))
    over, seen = threading.Event(), set[str]()
    looking = threading.Thread(target=_look, args=(pulling, over, seen))
    looking.start()

    try:
        pushed = push(docker28, context, f"{building.host}/app:v1")
        main(["wait", "app:v1", "--host", "127.0.0.1", "--port", str(pulling.port), "--timeout", "60"])
    finally:
        over.set()
        looking.join()

    assert seen - {""} <= {pushed}
    assert building.stop() == 0
    left = [record.name for record in jobs.actions.ledger.finished() if record.name.startswith("image-app@")]
    assert len(left) == 1, left
    for child in pulling.json("/v2/app/manifests/v1")["manifests"]:
        assert pulling.digest("app", child["digest"]) == child["digest"]
    assert docker28.pull(f"{pulling.host}/app:v1") == pushed


def _look(relay: Relay, over: threading.Event, seen: set[str]) -> None:
    """Ask for the tag again and again, and note what answers; nothing for what is not there."""
    while not over.is_set():
        path = "/v2/app/manifests/v1"
        status, headers, _ = relay.request("GET", path, _HEADERS)
        while status == 307:
            status, headers, _ = relay.request("GET", headers["Location"], _HEADERS)
        assert status in {200, 404}, status
        seen.add(headers["Docker-Content-Digest"] or "")
