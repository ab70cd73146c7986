"""Every client pushes and pulls every kind of image, and not one byte is different."""

import json
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import KINDS, Image, blobs_of, digest_of
from tests.e2e.push_pull_clients import CLIENTS, regctl
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_ARTIFACT = "application/vnd.example.report"
_SMALL = [kind for kind in KINDS if kind != "big-layer"]


@pytest.mark.parametrize("kind", _SMALL)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_pushed_comes_back_byte_for_byte(
    client: str,
    kind: str,
    shared_relay: Relay,
    toolbox: Toolbox,
    image: Callable[[str], Image],
    tmp_path: Path,
) -> None:
    way, pushed, name = CLIENTS[client], image(kind), f"{client}-{kind}"
    reference = f"{shared_relay.host}/{name}:v1"

    way.push(toolbox, pushed, reference)
    way.pull(toolbox, reference, tmp_path / "pulled")

    assert shared_relay.digest(name, "v1") == pushed.digest
    assert blobs_of(tmp_path / "pulled") >= pushed.blobs
    assert archives.blobs(shared_relay.archive_of(name)) == pushed.blobs


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("client", ["new-skopeo", "crane"])
def test_a_layer_over_300_mb_comes_back_byte_for_byte(
    client: str,
    relay: Relay,
    toolbox: Toolbox,
    image: Callable[[str], Image],
    tmp_path: Path,
) -> None:
    way, pushed = CLIENTS[client], image("big-layer")
    reference = f"{relay.host}/big:v1"

    way.push(toolbox, pushed, reference)
    way.pull(toolbox, reference, tmp_path / "pulled")

    assert relay.digest("big", "v1") == pushed.digest
    assert blobs_of(tmp_path / "pulled") >= pushed.blobs
    assert archives.blobs(relay.archive_of("big")) == pushed.blobs
    assert relay.rss_peak_kib() < 150 * 1024


def test_an_engine_pulls_and_runs_an_image_with_a_layer_over_300_mb(
    relay: Relay, toolbox: Toolbox, docker28: Engine, image: Callable[[str], Image]
) -> None:
    pushed, reference = image("big-layer"), f"{relay.host}/big:v1"
    CLIENTS["crane"].push(toolbox, pushed, reference)

    digest = docker28.pull(reference)

    assert digest == pushed.digest
    assert docker28.run(reference) == pushed.token


@pytest.mark.parametrize(
    ("store", "kind"),
    [
        *(("docker20", kind) for kind in ("several-layers", "plain-layers", "empty-layer")),
        *(("docker28", kind) for kind in ("zstd-layers", "plain-layers", "empty-layer", "attested-index")),
        *(("docker28_graph", kind) for kind in ("zstd-layers", "attested-index")),
    ],
)
def test_every_store_runs_what_skopeo_pushed(
    store: str,
    kind: str,
    shared_relay: Relay,
    toolbox: Toolbox,
    image: Callable[[str], Image],
    request: pytest.FixtureRequest,
) -> None:
    engine: Engine = request.getfixturevalue(store)
    pushed, reference = image(kind), f"{shared_relay.host}/{store}-{kind}:v1"
    CLIENTS["skopeo"].push(toolbox, pushed, reference)

    digest = engine.pull(reference)

    assert digest == pushed.digest
    assert engine.run(reference) == pushed.token


@pytest.mark.parametrize("tool", ["buildah", "podman"])
@pytest.mark.parametrize("side", ["host", "newer"])
def test_an_image_from_a_local_store_keeps_its_id_and_the_digest_it_was_pushed_with(
    side: str,
    tool: str,
    relay: Relay,
    toolbox: Toolbox,
    image: Callable[[str], Image],
    local_store: Path,
) -> None:
    client = toolbox.host if side == "host" else toolbox.newer
    reference, noted = f"{relay.host}/store:v1", local_store / "digest"

    def store(number: int, *arguments: str) -> str:
        root = ("--root", f"{local_store}/root{number}", "--runroot", f"{local_store}/run{number}")
        return client(tool, *root, "--storage-driver", "vfs", *arguments).strip()

    local = store(1, "pull", "--quiet", image("several-layers").source).splitlines()[-1]
    store(1, "push", "--tls-verify=false", f"--digestfile={noted}", local, f"docker://{reference}")
    pulled = store(2, "pull", "--quiet", "--tls-verify=false", reference).splitlines()[-1]

    assert pulled == local
    assert relay.digest("store", "v1") == noted.read_text().strip()
    assert relay.digest("store", "v1") in archives.blobs(relay.archive_of("store"))


def test_an_artifact_by_oras_is_found_again_with_what_was_attached_to_it(
    relay: Relay, toolbox: Toolbox, tmp_path: Path
) -> None:
    reference, report = f"{relay.host}/reports:v1", secrets.token_bytes(100_000)
    (tmp_path / "report.bin").write_bytes(report)
    plain = ("--plain-http", "--disable-path-validation")

    def oras(command: str, *arguments: str) -> str:
        return toolbox.host("oras", command, *arguments)

    named = f"{tmp_path}/report.bin:application/octet-stream"
    oras("push", *plain, "--artifact-type", _ARTIFACT, reference, named)
    oras("attach", *plain, "--artifact-type", "application/vnd.example.note", reference, named)
    found = json.loads(oras("discover", "--plain-http", "--format", "json", reference))
    oras("pull", "--plain-http", "--allow-path-traversal", "-o", f"{tmp_path}/out", reference)

    referrers = found.get("referrers") or found["manifests"]
    assert [each["artifactType"] for each in referrers] == ["application/vnd.example.note"]
    (tagged,) = [
        path for path in relay.archives() if path.name.startswith("image-reports@v1.")
    ]  # beside what refers to it
    assert digest_of(report) in archives.blobs(tagged)
    assert relay.tags() == [("reports", "v1")]


def test_regctl_lists_tags_and_referrers(
    relay: Relay, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    pushed, reference = image("several-layers"), f"{relay.host}/app:v1"
    CLIENTS["regctl"].push(toolbox, pushed, reference)
    (tmp_path / "note.txt").write_text(secrets.token_hex())

    regctl(toolbox, relay.host, "image", "copy", reference, f"{relay.host}/app:v2")
    note = ("--artifact-type", "application/vnd.example.note", "--file", f"{tmp_path}/note.txt")
    regctl(toolbox, relay.host, "artifact", "put", *note, "--subject", reference)

    tags = regctl(toolbox, relay.host, "tag", "ls", f"{relay.host}/app").split()
    referrers = regctl(toolbox, relay.host, "artifact", "list", "--format", "body", reference)
    assert tags == ["v1", "v2"]
    found = json.loads(referrers)["manifests"]
    assert [each["artifactType"] for each in found] == ["application/vnd.example.note"]
    assert {path.name for path in relay.archives()} >= {
        "image-app@v1.tar.zst",
        "image-app@v2.tar.zst",
    }


@pytest.mark.parametrize("writer", ["oras cp", "oras backup", "regctl"])
def test_a_layout_that_a_client_wrote_with_referrers_is_stored_with_them(
    writer: str, relay: Relay, toolbox: Toolbox, image: Callable[[str], Image], tmp_path: Path
) -> None:
    pushed, reference, layout = image("attested-index"), f"{relay.host}/app:v1", tmp_path / "layout"
    CLIENTS["crane"].push(toolbox, pushed, reference)
    (tmp_path / "note.txt").write_text(secrets.token_hex())
    note = ("--artifact-type", "application/vnd.example.note", "--disable-path-validation")
    toolbox.host("oras", "attach", "--plain-http", *note, reference, f"{tmp_path}/note.txt")
    if writer == "oras cp":
        toolbox.host("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", reference, f"{layout}:v1")
    elif writer == "oras backup":
        toolbox.host("oras", "backup", "--plain-http", "--include-referrers", "--output", str(layout), reference)
    else:
        regctl(toolbox, relay.host, "image", "copy", "--referrers", reference, f"ocidir://{layout}:v1")
    with tarfile.open(tmp_path / "layout.tar", "w") as tarball:
        tarball.add(layout, ".")

    body = (tmp_path / "layout.tar").read_bytes()
    status, _, said = relay.request("PUT", "/relay/images/copy:v1", None, body)

    assert status == 201, said
    assert relay.digest("copy", "v1") == pushed.digest
    found = json.loads(toolbox.host("oras", "discover", "--plain-http", "--format", "json", f"{relay.host}/copy:v1"))
    assert [each["artifactType"] for each in found["referrers"]] == ["application/vnd.example.note"]
    CLIENTS["crane"].pull(toolbox, f"{relay.host}/copy:v1", tmp_path / "pulled")
    assert blobs_of(tmp_path / "pulled") >= pushed.blobs
