"""The steps of examples that act cannot run, as they are written: with real engines, and a registry for ghcr.io."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import recipes
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.jobs import Jobs
from tests.e2e.recipes import Kitchen
from tests.e2e.relay import DIRECTORY, Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_STAGES = """FROM scratch AS lint
COPY busybox /bin/busybox
FROM scratch AS unit
COPY random /random
FROM scratch
COPY --from=lint /bin/busybox /bin/busybox
COPY --from=unit /random /random
COPY token /token
CMD ["/bin/busybox", "cat", "/token"]
"""


@pytest.fixture
def kitchen(toolbox: Toolbox, docker28: Engine, tmp_path: Path) -> Iterator[Kitchen]:
    kitchen = Kitchen(tmp_path, toolbox)
    kitchen.engine(docker28)
    kitchen.relay.start()
    yield kitchen
    kitchen.relay.kill()


def commands(example: str, job: str) -> list[str]:
    """Return what the steps of a job run."""
    return [text for step in recipes.steps(example, job) if (text := recipes.command(step))]


def test_a_tarball_of_buildx_is_handed_over_under_its_name(kitchen: Kitchen, docker28: Engine) -> None:
    build, send = commands("docker-guide", "build")
    tarball = str(kitchen.context.with_name("myimage.tar"))  # not in the context

    for text in (build, send):
        kitchen.cook(text.replace("/tmp/myimage.tar", tarball))  # noqa: S108 - the path of the guide
    kitchen.cook(f"curl -sSfL {kitchen.relay.host}/relay/images/myimage:latest | docker load")

    assert docker28.run("myimage:latest") == kitchen.token


@pytest.mark.parametrize("tool", ["skopeo", "regctl"])
def test_a_promoted_image_has_no_attestation_and_the_digest_that_was_tested(
    tool: str, kitchen: Kitchen, elsewhere: Relay
) -> None:
    (build,), (promote,) = commands("promote", "build"), commands("promote", "deploy")
    if tool == "regctl":
        said = re.findall("^#   (regctl .*)", (recipes.ROOT / "examples" / "promote.yml").read_text(), re.MULTILINE)
        elsewhere_is_plain = "regctl registry set ghcr.io/YOUR-ORG --tls disabled"
        promote = "\n".join([elsewhere_is_plain, *said]).replace("…", "${{ needs.build.outputs.digest }}")
    kitchen.skopeo(newer=True)
    digest = kitchen.cook(build)["digest"]

    kitchen.cook(promote.replace("${{ needs.build.outputs.digest }}", digest))

    tested = kitchen.relay.json(f"/v2/app/manifests/{digest}")["manifests"]
    promoted = elsewhere.json("/v2/app/manifests/latest")
    kept = [each["digest"] for each in promoted.get("manifests", [])] or [elsewhere.digest("app", "latest")]
    assert len(tested) == 2
    assert kept == [each["digest"] for each in tested if each["platform"]["os"] == "linux"]


def test_a_job_that_starts_with_the_build_runs_what_that_has_built(kitchen: Kitchen) -> None:
    (inputs,) = [step["with"] for step in recipes.steps("at-once", "test") if "with" in step]
    (build,), (test,) = commands("at-once", "build"), commands("at-once", "test")
    kitchen.relay.kill()
    kitchen.relay = Relay(kitchen.relay.data, environment={**DIRECTORY, "RELAY_WAIT": inputs["wait-pull"]})
    kitchen.relay.start()

    run = f"said=$({test.strip().removesuffix(' ./test')})"
    with ThreadPoolExecutor() as threads:
        testing = threads.submit(kitchen.cook, f'{run}\necho "said=$said" >>"$GITHUB_OUTPUT"')
        while "app:ci is not there yet: a pull waits for it" not in kitchen.relay.log:
            assert not testing.done(), testing.result()
            time.sleep(0.05)
        kitchen.cook(build)
        assert testing.result() == {"said": kitchen.token}


def test_each_job_has_a_cache_and_the_last_builds_nothing_that_is_in_one(kitchen: Kitchen, docker28: Engine) -> None:
    (kitchen.context / "Dockerfile").write_text(_STAGES)
    (fill,), (build,) = commands("cache", "test"), commands("cache", "build")
    for target in ("lint", "unit"):
        kitchen.cook(fill.replace("${{ matrix.target }}", target))
    docker28.docker("builder", "prune", "--all", "--force")

    said = kitchen.cook(f"({build.strip()} --progress plain) 2>&1 | tee build.log")

    assert said == {}
    log = (kitchen.context / "build.log").read_text()
    assert log.count("CACHED") >= 2
    assert docker28.run(kitchen.reference) == kitchen.token


def test_what_a_fork_has_built_is_published_by_the_digest_that_was_looked_up(
    kitchen: Kitchen, jobs: Jobs, elsewhere: Relay, tmp_path: Path
) -> None:
    (build,), (look, publish) = commands("fork", "build"), commands("fork-preview", "preview")
    action = recipes.steps("fork-preview", "preview")[0]
    built, event = jobs.actions.job("build", run=7), tmp_path / "event.json"
    built.run.head_repository, built.run.event = "stranger/relay", "pull_request"
    event.write_text(json.dumps({"workflow_run": {"id": 7, "head_sha": built.run.head_sha}}))
    kitchen.relay.kill()
    kitchen.relay = jobs.start(jobs.actions.environment(built))
    kitchen.cook(build)
    built.run.status, built.run.conclusion = "completed", "success"
    environment = {
        **jobs.actions.environment(jobs.actions.job("preview", run=8)),
        "GITHUB_EVENT_PATH": str(event),
        "RELAY_FROM": action["with"]["from"],
        "RELAY_ACCESS": action["with"]["access"],
    }

    kitchen.relay = jobs.start(environment)
    with pytest.raises(AssertionError):
        kitchen.cook(look)
    refused = kitchen.relay.log
    kitchen.relay = jobs.start({**environment, **action["env"]})
    digest = kitchen.cook(look)["digest"]
    kitchen.cook(f"COMMIT=abc\n{publish.replace('${{ steps.image.outputs.digest }}', digest)}")

    assert "comes from stranger/relay" in refused
    assert elsewhere.digest("app-preview", "abc") == digest
