"""Every artifact of a run loads by hand, and who copies or tags what the run has sends no layer, nor does the relay."""

import re
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import PRINT_TOKEN, Image, Layout, attested_index, base_layers, several_layers
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS, regctl
from tests.e2e.relay import PUBLIC_HOST, Relay
from tests.fakes.actions.fixtures import require_tools
from tests.fakes.actions.official import OfficialClient
from tests.machine import require

# Every artifact of a run is downloaded, loaded into two engines and run: 50 s.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_RECEIVED = re.compile(r"^image_relay_received_bytes_total (\S+)$", re.MULTILINE)
_MANIFESTS = 16 * 1024  # bytes that manifests have at most, of images of megabytes


def _one_platform(path: Path, platform: str, token: str) -> Image:
    layout = Layout(path)
    return layout.finish(layout.image(base_layers(token), PRINT_TOKEN, platform), token)


def _merged(jobs: Jobs, toolbox: Toolbox, docker28: Engine, folder: Path) -> str:
    """Push an image of each of two platforms in a job of its own, merge them in a third one under two tags."""
    token = secrets.token_hex(16)
    for platform in ("amd64", "s390x"):
        relay = jobs.relay(platform)
        image = _one_platform(folder / platform, platform, token)
        CLIENTS["crane"].push(toolbox, image, f"{relay.host}/merged:{platform}")
        relay.kill()
    relay = jobs.relay("merge")
    tags = [f"--tag={relay.host}/merged:{tag}" for tag in ("both", "latest")]
    sources = [f"{relay.host}/merged:{platform}" for platform in ("amd64", "s390x")]
    docker28.docker("buildx", "imagetools", "create", *tags, *sources)
    relay.kill()
    return token


def _of_many_tags(jobs: Jobs, toolbox: Toolbox, folder: Path) -> Image:
    """Push an index, tag it twice more, and copy it to another repository, in two jobs."""
    image, relay = attested_index(folder / "index"), jobs.relay("build")
    CLIENTS["crane"].push(toolbox, image, f"{relay.host}/app:v1")
    toolbox.host("crane", "tag", f"{relay.host}/app:v1", "main")
    relay.kill()
    relay = jobs.relay("tag")
    toolbox.host("crane", "tag", f"{relay.host}/app:v1", "stable")
    regctl(toolbox, relay.host, "image", "copy", f"{relay.host}/app:v1", f"{relay.host}/other:v1")
    relay.kill()
    return image


def _downloaded(jobs: Jobs, folder: Path) -> dict[str, Path]:
    """Download every artifact of the run as GitHub's own client does; give the archives by reference."""
    jobs.actions.options.whole_read_limit = None  # it reads without Range
    client = OfficialClient(require_tools(), jobs.environment("download"), folder)
    found = {}
    for listed in client.list():
        got = client.download(int(listed["id"]), folder / listed["name"], listed.get("digest", ""))
        assert not got.get("digestMismatch")
        (file,) = (folder / listed["name"]).iterdir()
        found[listed["name"].removeprefix("image-").replace("@", ":")] = file
    return found


def _load(engine: Engine, archive: Path) -> None:
    """Load an archive; an engine before Docker 23 takes no zstd."""
    if not engine.graph_store:
        engine.docker("load", "--input", str(archive))
        return
    command = [require("zstd"), "--decompress", "--stdout", "--quiet", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as zstd:
        engine.docker("load", stdin=zstd.stdout or subprocess.DEVNULL)


def test_every_artifact_of_a_run_is_downloaded_loaded_by_hand_and_runs(
    jobs: Jobs, toolbox: Toolbox, docker20: Engine, docker28: Engine, tmp_path: Path
) -> None:
    image = _of_many_tags(jobs, toolbox, tmp_path)
    token = _merged(jobs, toolbox, docker28, tmp_path)

    found = _downloaded(jobs, tmp_path / "got")

    tags = {"app:v1", "app:main", "app:stable", "other:v1"}
    merges = {"merged:both", "merged:latest"}
    assert found.keys() == tags | merges | {"merged:amd64", "merged:s390x"}
    assert all(archives.blobs(found[tag]) == image.blobs for tag in tags)
    parts = archives.blobs(found["merged:amd64"]) | archives.blobs(found["merged:s390x"])
    assert all(archives.blobs(found[merge]) > parts for merge in merges)
    for reference in sorted(found.keys() - {"merged:s390x"}):  # which does not run here
        for engine in (docker20, docker28):
            _load(engine, found[reference])
            names = (reference, f"{PUBLIC_HOST}/{reference}")
            assert [engine.run(name) for name in names] == [image.token if reference in tags else token] * 2
            engine.docker("image", "rm", "--force", *names)


def _crane_tag(tools: Toolbox, _: Engine, host: str) -> list[str]:
    tools.host("crane", "tag", f"{host}/app:v1", "new")
    return ["app:new"]


def _crane_copy(tools: Toolbox, _: Engine, host: str) -> list[str]:
    tools.host("crane", "copy", f"{host}/app:v1", f"{host}/other:v1")
    return ["other:v1"]


def _regctl_copy(tools: Toolbox, _: Engine, host: str) -> list[str]:
    for target in ("app:new", "other:v1"):
        regctl(tools, host, "image", "copy", f"{host}/app:v1", f"{host}/{target}")
    return ["app:new", "other:v1"]


def _skopeo_copy(tools: Toolbox, _: Engine, host: str) -> list[str]:
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
    tools.newer("skopeo", "copy", "--all", *plain, f"docker://{host}/app:v1", f"docker://{host}/app:new")
    return ["app:new"]


def _imagetools(tags: int) -> Callable[[Toolbox, Engine, str], list[str]]:
    def create(_: Toolbox, engine: Engine, host: str) -> list[str]:
        made = [f"app:new{number}" for number in range(tags)]
        wanted = [f"--tag={host}/{each}" for each in made]
        engine.docker("buildx", "imagetools", "create", *wanted, f"{host}/app:v1")
        return made

    return create


RE_TAGS: dict[str, Callable[[Toolbox, Engine, str], list[str]]] = {
    "crane tag": _crane_tag,
    "crane copy": _crane_copy,
    "regctl image copy": _regctl_copy,
    "skopeo copy": _skopeo_copy,
    "imagetools create of 2 tags": _imagetools(2),
    "imagetools create of 3 tags": _imagetools(3),
}


def _received(relay: Relay) -> int:
    found = _RECEIVED.search(relay.read("/metrics").decode())
    return int(float(found[1])) if found else 0


@pytest.mark.parametrize("way", RE_TAGS)
@pytest.mark.parametrize("make", [several_layers, attested_index])
def test_a_later_job_with_an_empty_disk_is_sent_no_layer_that_the_run_has(
    make: Callable[[Path], Image], way: str, jobs: Jobs, toolbox: Toolbox, docker28: Engine, tmp_path: Path
) -> None:
    image, first = make(tmp_path / "image"), jobs.relay("build")
    CLIENTS["crane"].push(toolbox, image, f"{first.host}/app:v1")
    first.kill()
    later, traffic = jobs.relay("tag"), jobs.actions.traffic
    traffic.reset()

    made = RE_TAGS[way](toolbox, docker28, later.host)

    assert _received(later) < _MANIFESTS
    assert traffic.received["put_block"] < _MANIFESTS * len(made)  # the rest was copied inside the storage
    later.kill()
    reader = jobs.relay("read")
    for reference in made:
        name, _, tag = reference.partition(":")
        CLIENTS["crane"].pull(toolbox, f"{reader.host}/{reference}", tmp_path / reference.replace(":", "-"))
        assert reader.digest(name, tag)
