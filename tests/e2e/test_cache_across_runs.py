"""A build finds the cache of the last good run of a branch, as in its example, and leaves one for the next."""

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import recipes
from tests.e2e.clients import run
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.jobs import Jobs
from tests.e2e.relay import PUBLIC_HOST, Relay
from tests.fakes.actions import kinds

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_MIB = 2**20
_OPTIONS = recipes.steps("cache-across-runs", "build")[-1]["with"]
_STEP = re.compile(r"^#(\d+) \[(?!internal|auth)", re.MULTILINE)
_CACHED = re.compile(r"^#(\d+) CACHED$", re.MULTILINE)


@dataclass
class Built:
    """A build: its steps, those that came from a cache, and how long it took in seconds."""

    steps: set[str]
    cached: set[str]
    seconds: float


def build(engine: Engine, relay: Relay, context: Path) -> Built:
    """Build and push as the example does, with nothing in the builder."""
    engine.docker("builder", "prune", "--all", "--force")
    options = [word for name, text in _OPTIONS.items() for word in (f"--{name.removesuffix('s')}", text)]
    options = [word.replace(PUBLIC_HOST, relay.host) for word in options]
    began = time.monotonic()
    command = [*engine.client(), "buildx", "build", "--progress=plain", "--provenance=false", *options, str(context)]
    said = run(command, engine.toolbox.env()).stderr
    return Built(set(_STEP.findall(said)), set(_CACHED.findall(said)), time.monotonic() - began)


def several_stages(folder: Path) -> Path:
    """Write a build of two stages, with steps whose results are large, random, and take seconds."""
    context = dockerfile(folder, secrets.token_hex(16))
    work = "/bin/busybox dd if=/dev/urandom of=/made{} bs=1M count={} && /bin/busybox sleep 2"
    text = (context / "Dockerfile").read_text().replace("FROM scratch", "FROM scratch AS tools").partition("CMD")[0]
    for number, size in ((1, 40), (2, 20)):
        step = work.format(number, size)
        text += f'RUN --network=none ["/bin/busybox", "sh", "-c", "{step}"]\n'
    text += "FROM scratch\nCOPY --from=tools /bin/busybox /bin/busybox\n"
    text += "COPY --from=tools /made2 /made2\nCOPY token /token\n"
    (context / "Dockerfile").write_text(f'{text}CMD ["/bin/busybox", "cat", "/token"]\n')
    return context


def test_all_steps_of_the_next_run_come_from_the_cache_and_no_layer_is_sent(
    jobs: Jobs, docker28: Engine, tmp_path: Path
) -> None:
    actions, context = jobs.actions, several_stages(tmp_path / "context")
    jobs_of = {number: actions.job("build", run=number) for number in (7, 8, 9)}
    relays = {}
    source = {"RELAY_FROM": "build.yml@main"}

    first = build(docker28, jobs.start({**actions.environment(jobs_of[7]), **source}), context)
    jobs_of[7].run.status, jobs_of[7].run.conclusion = "completed", "success"
    sent = actions.traffic.received[kinds.PUT_BLOCK]
    actions.traffic.reset()
    relays[8] = jobs.start({**actions.environment(jobs_of[8]), **source})
    second = build(docker28, relays[8], context)
    calls, copied, resent = (
        actions.traffic.total(*kinds.REST),
        actions.traffic.calls[kinds.COPY_BLOCK],
        actions.traffic.received[kinds.PUT_BLOCK],
    )
    actions.ledger.records = [each for each in actions.ledger.records if each.run != jobs_of[7].run.backend_id]
    jobs_of[8].run.status, jobs_of[8].run.conclusion = "completed", "success"
    third = build(docker28, jobs.start({**actions.environment(jobs_of[9]), **source}), context)

    told = f"{first.seconds:.1f} s, {sent / _MIB:.0f} MiB sent; then {second.seconds:.1f} s, {resent / _MIB:.1f} MiB"
    print(f"{told}, {calls} requests to the API, {copied} blocks copied; then {third.seconds:.1f} s")  # noqa: T201
    assert len(first.steps) == 8
    assert first.cached == set()
    assert second.cached == second.steps
    assert third.cached == third.steps
    assert sent > 60 * _MIB
    assert resent < 2 * _MIB
    assert copied > 0
    assert "pulled app:cache from run 7 of octo/relay" in relays[8].log
