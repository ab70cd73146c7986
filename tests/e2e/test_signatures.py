"""cosign: an image that is signed in one job is verified in the next, and in the registry that it is promoted to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.clients import ClientError, Toolbox, require_newer
from tests.e2e.images import Image
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def _cosign(toolbox: Toolbox, *arguments: str) -> str:
    return toolbox.newer("env", "COSIGN_PASSWORD=of this test", require_newer("cosign"), *arguments)


@pytest.fixture
def keys(toolbox: Toolbox, tmp_path: Path) -> list[Path]:
    """Where two pairs of keys are: `.key` and `.pub` are appended."""
    paths = [tmp_path / name for name in ("own", "other")]
    for path in paths:
        _cosign(toolbox, "generate-key-pair", "--output-key-prefix", str(path))
    return paths


def _sign(toolbox: Toolbox, key: Path, reference: str) -> None:
    alone = ("--use-signing-config=false", "--tlog-upload=false")  # no service of sigstore takes part
    _cosign(toolbox, "sign", "--yes", "--key", f"{key}.key", *alone, reference)


def _verify(toolbox: Toolbox, key: Path, reference: str) -> str:
    return _cosign(toolbox, "verify", "--key", f"{key}.pub", "--insecure-ignore-tlog", reference)


@pytest.mark.parametrize("kind", ["several-layers", "attested-index"])
def test_an_image_is_signed_in_one_job_verified_in_the_next_and_promoted_with_its_signature(
    kind: str, jobs: Jobs, toolbox: Toolbox, image: Callable[[str], Image], keys: list[Path], relay: Relay
) -> None:
    (key, other), wanted, build = keys, image(kind), jobs.relay("build")
    CLIENTS["crane"].push(toolbox, wanted, f"{build.host}/app:ci")
    _sign(toolbox, key, f"{build.host}/app@{wanted.digest}")
    build.stop()

    signed = f"{jobs.relay('deploy').host}/app@{wanted.digest}"

    assert wanted.digest in _verify(toolbox, key, signed)
    with pytest.raises(ClientError, match="no matching"):
        _verify(toolbox, other, signed)
    promoted = f"{relay.host}/app:latest"
    toolbox.host("oras", "copy", "--recursive", "--from-plain-http", "--to-plain-http", signed, promoted)
    assert relay.digest("app", "latest") == wanted.digest
    assert wanted.digest in _verify(toolbox, key, promoted)
