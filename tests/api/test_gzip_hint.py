"""Whose gzip counts as that of a build: what clients send that push layers as a build has exported them."""

import pytest

from proxy.oci.manifest import OCI_MANIFEST
from tests.api.relay import LAYER, Relay, described, document
from tests.registry_harness import CONFIG

_ENGINE = "docker/28.5.2 go/go1.27.1 git-commit/3ef3c07 kernel/6.18.44 os/linux arch/amd64"
_CLIENT = r"UpstreamClient(Docker-Client/28.5.2 \(linux\))"
CONTAINERD = f"{_ENGINE} containerd-client/2.1.9+unknown storage-driver/overlayfs {_CLIENT}"


async def push(relay: Relay, client: str, compression: str) -> None:
    """Push an image of one layer as a client does."""
    layer = b"layer"
    for content in (CONFIG, layer):
        await relay.push_blob(content)
    config = described(CONFIG, "application/vnd.oci.image.config.v1+json")
    manifest = document(config=config, layers=[described(layer, f"{LAYER.partition('+')[0]}+{compression}")])
    headers = {"Content-Type": OCI_MANIFEST, "User-Agent": client}
    answer = await relay.ask("PUT", "/v2/app/manifests/v1", data=manifest.content, headers=headers)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize(
    ("client", "compression", "gzip"),
    [
        (CONTAINERD, "gzip", 5),
        (CONTAINERD, "zstd", 0),
        ("buildkit/v0.25", "gzip", 5),
        ("buildkit/v0.25", "zstd", 0),
        (f"{_ENGINE} {_CLIENT}", "gzip", 0),  # the classic store compresses while it pushes
        (f"{_ENGINE} UpstreamClient(Go-http-client/1.1)", "gzip", 0),  # the same, after a build
        ("containers/5.36.2 (github.com/containers/image)", "gzip", 0),
        ("", "gzip", 0),
    ],
)
async def test_gzip_counts_if_the_client_pushes_what_a_build_exported(
    client: str, compression: str, gzip: int, relay: Relay
) -> None:
    await push(relay, client, compression)

    assert relay.services.status.history.gzip == gzip
