"""What the summary says of gzip that a build made: by Docker with either store, and by BuildKit."""

import os
import secrets
from pathlib import Path

import pytest

from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_MUCH = 101_000_000  # bytes, random: as many in gzip


def context(folder: Path) -> Path:
    """Return a build context whose image is large."""
    dockerfile(folder, secrets.token_hex(16))
    (folder / "random").write_bytes(os.urandom(_MUCH))
    return folder


def told(relay: Relay) -> int:
    """Return how many lines of the summary are about gzip."""
    return relay.read("/relay/summary").decode().count("layers in gzip")


@pytest.mark.parametrize(("store", "lines"), [("docker28", 1), ("docker28_graph", 0)])
def test_a_push_of_what_a_build_exported_in_gzip_is_told_once(
    store: str, lines: int, relay: Relay, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue(store)
    tags = [f"{relay.host}/app:{tag}" for tag in ("v1", "v2")]
    engine.build(context(tmp_path / "context"), *(f"--tag={tag}" for tag in tags), "--load")

    for tag in tags:
        engine.push(tag)

    assert relay.json("/relay/health")["refused"] == []
    assert "| `app:v2`" in relay.read("/relay/summary").decode()
    assert told(relay) == lines


@pytest.mark.parametrize(("compression", "lines"), [("gzip", 1), ("zstd", 0)])
def test_a_push_by_buildkit_is_told_if_it_is_of_gzip(
    compression: str, lines: int, relay: Relay, docker28: Engine, tmp_path: Path
) -> None:
    output = f"type=image,name={relay.host}/app:v1,push=true,oci-mediatypes=true,compression={compression}"

    docker28.build(context(tmp_path / "context"), "--output", output)

    assert "| `app:v1`" in relay.read("/relay/summary").decode()
    assert told(relay) == lines
