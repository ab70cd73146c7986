"""What we store, as strangers read it: GitHub's own client, unzip, docker load; small, and over 4 GiB."""

import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import Image, several_layers
from tests.e2e.impatient import ImpatientClient, random_mebibytes
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import PUBLIC_HOST
from tests.fakes.actions import kinds
from tests.fakes.actions.fixtures import require_tools
from tests.fakes.actions.official import OfficialClient
from tests.fakes.light_storage import Storage
from tests.machine import require

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NAMES = ("app:v1", f"{PUBLIC_HOST}/app:v1")
MIB = 1 << 20
_GIB = 1 << 30
_OVER_4_GIB = 4 * 1024 + 1  # MiB


def _official(jobs: Jobs, folder: Path, seconds: float = 100.0) -> OfficialClient:
    jobs.actions.options.whole_read_limit = None  # it reads without Range
    return OfficialClient(require_tools(), jobs.environment("download"), folder, seconds)


def _only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def _test_zip(path: Path) -> None:
    done = subprocess.run([require("unzip"), "-tq", str(path)], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def left(jobs: Jobs, toolbox: Toolbox, tmp_path: Path) -> Callable[[str], tuple[Image, dict[str, object]]]:
    """Push an image in a format, end the relay, and hand out what the official client lists."""

    def push(form: str) -> tuple[Image, dict[str, object]]:
        image, relay = several_layers(tmp_path / "image"), jobs.relay("build", RELAY_ARTIFACT_FORMAT=form)
        CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")
        relay.kill()
        (listed,) = _official(jobs, tmp_path).list(latest=True)
        return image, listed

    return push


@pytest.mark.parametrize("form", ["zip", "raw"])
def test_the_official_client_downloads_what_docker_loads(
    form: str,
    left: Callable[[str], tuple[Image, dict[str, object]]],
    jobs: Jobs,
    docker28: Engine,
    tmp_path: Path,
) -> None:
    pushed, listed = left(form)
    client, number, digest = _official(jobs, tmp_path), int(str(listed["id"])), str(listed["digest"])

    got = client.download(number, tmp_path / "got", digest)
    stored = client.download(number, tmp_path / "stored", digest, skipDecompress=True)

    assert listed["name"] == "image-app@v1"
    assert got["digestMismatch"] == stored["digestMismatch"] is False
    archive = _only_file(tmp_path / "got")
    container = _only_file(tmp_path / "stored")
    if form == "zip":
        assert archive.name == "image-app@v1.tar.zst"
        _test_zip(container)
    else:
        assert container.read_bytes() == archive.read_bytes()
    assert archives.blobs(archive) == pushed.blobs
    docker28.docker("load", "--input", str(archive))
    for name in NAMES:
        assert docker28.image_id(name) == pushed.digest
        assert docker28.run(name) == pushed.token
    docker28.docker("image", "rm", "--force", *NAMES)


def test_an_artifact_that_was_copied_inside_the_storage_is_downloaded_and_loaded_by_hand_as_any_other(
    left: Callable[[str], tuple[Image, dict[str, object]]],
    jobs: Jobs,
    toolbox: Toolbox,
    docker28: Engine,
    tmp_path: Path,
) -> None:
    pushed, _ = left("zip")
    relay = jobs.relay("promote")
    jobs.actions.traffic.reset()

    toolbox.host("crane", "tag", "--insecure", f"{relay.host}/app:v1", "v2")

    traffic = jobs.actions.traffic
    assert traffic.received[kinds.PUT_BLOCK] < traffic.calls[kinds.COPY_BLOCK] * MIB
    assert relay.request("DELETE", "/v2/app/manifests/v1")[0] == 202
    client = _official(jobs, tmp_path)
    (listed,) = client.list(latest=True)
    client.download(int(str(listed["id"])), tmp_path / "got", None)
    client.download(int(str(listed["id"])), tmp_path / "stored", None, skipDecompress=True)
    _test_zip(_only_file(tmp_path / "stored"))
    archive = _only_file(tmp_path / "got")
    assert (listed["name"], listed.get("digest")) == ("image-app@v2", None)
    assert archives.blobs(archive) == pushed.blobs
    docker28.docker("load", "--input", str(archive))
    assert docker28.run("app:v2") == pushed.token
    docker28.docker("image", "rm", "--force", "app:v2", f"{PUBLIC_HOST}/app:v2")


@pytest.mark.timeout(600)  # 4 GiB are made, stored, downloaded, and unzipped twice: two minutes
def test_an_archive_over_four_gibibytes_is_unzipped_by_the_official_client_and_sound_to_unzip(
    light_jobs: Jobs, light_storage: Storage, tmp_path: Path
) -> None:
    relay = light_jobs.relay("build")
    client = ImpatientClient(relay, "large")
    client.tag("v1", [client.push(random_mebibytes(_OVER_4_GIB))])
    relay.kill()
    official = _official(light_jobs, tmp_path, 300.0)
    (listed,) = official.list()

    got = official.download(listed["id"], tmp_path / "got", listed["digest"])

    assert got["digestMismatch"] is False
    unzipped = _only_file(tmp_path / "got").stat().st_size
    _only_file(tmp_path / "got").unlink()
    (path,) = light_storage.held.blobs
    stored = tmp_path / "stored.zip"
    light_storage.held.copy(path, stored)
    _test_zip(stored)
    with zipfile.ZipFile(stored) as file:
        assert [(each.filename, each.file_size) for each in file.infolist()] == [("image-large@v1.tar.zst", unzipped)]
    assert unzipped > 4 * _GIB
