"""The reason for all of this: pushed in one job, killed, pulled in the next, by another engine."""

import secrets
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import Relay

# Engines push and pull the image around, each into an empty store: 30 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


_RING = [("docker20", "docker28"), ("docker28", "docker28_graph"), ("docker28_graph", "docker20")]


@pytest.fixture(params=_RING, ids=" to ".join)
def engines(request: pytest.FixtureRequest) -> tuple[Engine, Engine]:
    """Who pushes, who pulls: each engine does both once."""
    pushing, pulling = (request.getfixturevalue(engine) for engine in request.param)
    return pushing, pulling


def test_an_image_pushed_just_before_a_sigkill_is_pulled_from_the_archive_alone(
    engines: tuple[Engine, Engine], relay: Relay, tmp_path: Path
) -> None:
    pushing, pulling = engines
    token = secrets.token_hex(16)
    pushed_as = f"{relay.host}/app:v1"
    pushing.docker("build", "--tag", pushed_as, str(dockerfile(tmp_path / "context", token)))

    pushed = pushing.push(pushed_as)
    relay.kill()
    relay.forget_all_but_archives()
    relay.start()
    pulled_as = f"{relay.host}/app:v1"
    pulled = pulling.pull(pulled_as)

    assert pulled == pushed == relay.digest("app", "v1")
    assert [path.name for path in relay.archives()] == ["image-app@v1.tar.zst"]
    assert pushed in archives.blobs(relay.archive_of("app"))
    assert pulling.layers(pulled_as) == pushing.layers(pushed_as)
    assert pulling.run(pulled_as) == token
    for engine, reference in ((pushing, pushed_as), (pulling, pulled_as)):
        expected = relay.config_digest("app", "v1") if engine.graph_store else pushed
        assert engine.image_id(reference) == expected


def test_a_second_push_by_the_same_engine_moves_the_tag(
    docker20: Engine, docker28: Engine, relay: Relay, tmp_path: Path
) -> None:
    reference, tokens = f"{relay.host}/app:v1", [secrets.token_hex(16) for _ in range(2)]
    for number, token in enumerate(tokens):
        context = dockerfile(tmp_path / f"context{number}", token)
        docker20.docker("build", "--tag", reference, str(context))
        docker20.push(reference)

    docker28.pull(reference)

    assert docker28.run(reference) == tokens[-1]
    assert len(relay.archives()) == 1
