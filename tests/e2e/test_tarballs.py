"""Tarballs as real tools write them go in, compressed in any way, and come out for every engine."""

import hashlib
import io
import json
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile, several_layers
from tests.e2e.jobs import Jobs
from tests.e2e.push_pull_clients import CLIENTS
from tests.e2e.relay import Relay
from tests.fakes.actions.fixtures import require_tools
from tests.fakes.actions.official import OfficialClient
from tests.machine import require
from tests.tarballs import COMPRESSIONS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAME = "localhost:5000/app:v1"


@dataclass(frozen=True)
class Workshop:
    """What makers of tarballs work with; `token` is what the image prints."""

    toolbox: Toolbox
    docker20: Engine
    docker28: Engine
    docker28_graph: Engine
    relay: Relay
    store: Path
    folder: Path
    token: str

    def context(self) -> Path:
        return dockerfile(self.folder / "context", self.token)

    @property
    def tarball(self) -> Path:
        return self.folder / "image.tar"

    def podman(self, *arguments: str) -> str:
        root = ("--root", f"{self.store}/root", "--runroot", f"{self.store}/run", "--storage-driver", "vfs")
        return self.toolbox.newer("podman", *root, *arguments)


Maker = Callable[[Workshop], None]


def _docker20(shop: Workshop) -> None:
    shop.docker20.docker("build", "--quiet", "--tag", NAME, str(shop.context()))
    shop.docker20.docker("save", "--output", str(shop.tarball), NAME)
    shop.docker20.docker("image", "rm", "--force", NAME)


def _docker28(shop: Workshop) -> None:
    _build_and_save(shop, shop.docker28)


def _docker28_graph(shop: Workshop) -> None:
    _build_and_save(shop, shop.docker28_graph)


def _build_and_save(shop: Workshop, engine: Engine) -> None:
    engine.build(shop.context(), "--tag", NAME, "--load")
    engine.docker("save", "--output", str(shop.tarball), NAME)
    engine.docker("image", "rm", "--force", NAME)


def _buildx(kind: str) -> Maker:
    def make(shop: Workshop) -> None:
        shop.docker28.build(shop.context(), "--output", f"type={kind},dest={shop.tarball},name={NAME}")

    return make


def _skopeo(kind: str, *, new: bool) -> Maker:
    def make(shop: Workshop) -> None:
        run = shop.toolbox.newer if new else shop.toolbox.host
        reference = NAME if kind == "docker-archive" else "v1"
        image = several_layers(shop.folder / "layout", shop.token)
        run("skopeo", "copy", image.source, f"{kind}:{shop.tarball}:{reference}")

    return make


def _podman(kind: str) -> Maker:
    def make(shop: Workshop) -> None:
        image = several_layers(shop.folder / "layout", shop.token)
        shop.toolbox.newer("skopeo", "copy", image.source, f"oci-archive:{shop.folder}/in.tar:{NAME}")
        shop.podman("load", "--input", f"{shop.folder}/in.tar")
        shop.podman("save", "--format", kind, "--output", str(shop.tarball), NAME)

    return make


def _crane(shop: Workshop) -> None:
    image = several_layers(shop.folder / "layout", shop.token)
    CLIENTS["crane"].push(shop.toolbox, image, f"{shop.relay.host}/source:v1")
    shop.toolbox.host("crane", "pull", "--format=tarball", f"{shop.relay.host}/source:v1", str(shop.tarball))


MAKERS: dict[str, Maker] = {
    "docker-20.10-save": _docker20,
    "docker-28-save": _docker28,
    "docker-28-graph-save": _docker28_graph,
    "buildx-docker": _buildx("docker"),
    "buildx-oci": _buildx("oci"),
    "skopeo-1.9-docker-archive": _skopeo("docker-archive", new=False),
    "skopeo-1.9-oci-archive": _skopeo("oci-archive", new=False),
    "skopeo-1.22-docker-archive": _skopeo("docker-archive", new=True),
    "skopeo-1.22-oci-archive": _skopeo("oci-archive", new=True),
    "podman-docker-archive": _podman("docker-archive"),
    "podman-oci-archive": _podman("oci-archive"),
    "crane-tarball": _crane,
}


@pytest.fixture
def engines(docker20: Engine, docker28: Engine, docker28_graph: Engine) -> Iterator[tuple[Engine, Engine, Engine]]:
    """All engines; what a test pulled or loaded is removed from them."""
    all_of_them = (docker20, docker28, docker28_graph)
    before = {engine.name: _images(engine) for engine in all_of_them}
    yield all_of_them
    for engine in all_of_them:
        if new := _images(engine) - before[engine.name]:
            engine.docker("image", "rm", "--force", *new)


@pytest.fixture
def shop(
    toolbox: Toolbox, engines: tuple[Engine, Engine, Engine], relay: Relay, local_store: Path, tmp_path: Path
) -> Workshop:
    return Workshop(toolbox, *engines, relay, local_store, tmp_path, secrets.token_hex(16))


def _images(engine: Engine) -> set[str]:
    listed = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    return {each for each in listed if "<none>" not in each}


def _send(relay: Relay, tarball: bytes, path: str) -> dict[str, object]:
    status, _, body = relay.request("PUT", f"/relay/images{path}", body=tarball, patience=120)
    assert status == 201, body
    (taken,) = json.loads(body)["images"]
    return dict(taken)


def _layout_digest(tarball: bytes) -> str | None:
    """Return the digest of the image in an OCI layout."""
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        if "index.json" not in archive.getnames():
            return None
        index = archive.extractfile("index.json")
        assert index is not None
        (digest,) = {each["digest"] for each in json.load(index)["manifests"]}
        return str(digest)


def _pull_and_run(engines: tuple[Engine, ...], reference: str, token: str) -> None:
    layers = set()
    for engine in engines:
        engine.pull(reference)
        assert engine.run(reference) == token
        layers.add(engine.layers(reference))
    assert len(layers) == 1


@pytest.mark.parametrize(
    ("maker", "compression"),
    [(maker, list(COMPRESSIONS)[number % len(COMPRESSIONS)]) for number, maker in enumerate(MAKERS)]
    + [("docker-28-save", each) for each in COMPRESSIONS if each != "gzip"],
)
def test_what_a_tool_wrote_is_pulled_by_every_engine(
    maker: str, compression: str, shop: Workshop, engines: tuple[Engine, ...]
) -> None:
    MAKERS[maker](shop)
    made = shop.tarball.read_bytes()

    taken = _send(shop.relay, COMPRESSIONS[compression](made), "/team/app:v1")

    digest = _layout_digest(made)
    assert digest in {None, taken["digest"]}
    assert shop.relay.digest("team/app", "v1") == taken["digest"]
    _pull_and_run(engines, f"{shop.relay.host}/team/app:v1", shop.token)


def test_the_names_in_a_tarball_are_enough(shop: Workshop, engines: tuple[Engine, ...]) -> None:
    _docker20(shop)

    taken = _send(shop.relay, shop.tarball.read_bytes(), "")

    assert taken["reference"] == "app:v1"
    _pull_and_run(engines, f"{shop.relay.host}/app:v1", shop.token)


@pytest.mark.parametrize("maker", ["docker-20.10-save", "docker-28-save", "docker-28-graph-save", "crane-tarball"])
def test_what_comes_out_is_loaded_by_every_engine(maker: str, shop: Workshop, engines: tuple[Engine, ...]) -> None:
    MAKERS[maker](shop)
    taken = _send(shop.relay, shop.tarball.read_bytes(), "/app:v1")

    for engine, compression in zip(engines, ("none", "zstd", "zstd"), strict=True):
        with _fetched(shop.relay, f"{NAME}?compression={compression}") as tarball:
            engine.docker("load", stdin=tarball.stdout or subprocess.DEVNULL)
        assert engine.run(NAME) == shop.token
    assert shop.docker28.image_id(NAME) == taken["digest"]
    for engine in (shop.docker20, shop.docker28_graph):
        assert engine.image_id(NAME) == shop.relay.config_digest("app", "v1")


def test_several_images_are_loaded_from_one_tarball(shop: Workshop, engines: tuple[Engine, ...]) -> None:
    tokens = {}
    for tag in ("v1", "v2"):
        image = several_layers(shop.folder / tag)
        tokens[tag] = image.token
        CLIENTS["crane"].push(shop.toolbox, image, f"{shop.relay.host}/app:{tag}")

    for engine, compression in zip(engines, ("gzip", "zstd", "none"), strict=True):
        with _fetched(shop.relay, f"app:v1,app:v2?compression={compression}") as tarball:
            engine.docker("load", stdin=tarball.stdout or subprocess.DEVNULL)
        assert {tag: engine.run(f"app:{tag}") for tag in tokens} == tokens


def test_curl_sends_what_docker_saves_through_a_pipe(shop: Workshop, engines: tuple[Engine, ...]) -> None:
    shop.docker20.docker("build", "--quiet", "--tag", NAME, str(shop.context()))
    save = [*shop.docker20.client(), "save", NAME]
    send = [require("curl"), "--silent", "--show-error", "--fail", "-T", "-"]

    with subprocess.Popen(save, stdout=subprocess.PIPE) as saving:
        url = f"http://{shop.relay.host}/relay/images/app:v1?progress"
        said = subprocess.run([*send, url], stdin=saving.stdout, check=True, capture_output=True, text=True).stdout

    assert said.splitlines()[-1].startswith(f"app:v1 {shop.relay.digest('app', 'v1')}: ")
    _pull_and_run(engines, f"{shop.relay.host}/app:v1", shop.token)


def _fetched(relay: Relay, path: str) -> "subprocess.Popen[bytes]":
    command = [require("curl"), "--silent", "--show-error", "--fail", f"http://{relay.host}/relay/images/{path}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


# Docker's guide "Share built image between jobs with GitHub Actions", ours on one end, on both, or on none


@pytest.mark.parametrize("receiver", ["theirs", "ours"])
@pytest.mark.parametrize("sender", ["theirs", "ours"])
def test_the_recipe_of_today_works_with_ours_on_either_end(
    sender: str, receiver: str, shop: Workshop, jobs: Jobs, docker28: Engine, engines: tuple[Engine, ...]
) -> None:
    """build-push-action with `type=docker`, upload-artifact; download-artifact, `docker load`, `docker image ls -a`."""
    tarball = shop.folder / "myimage.tar"
    jobs.actions.options.whole_read_limit = None  # the official client reads without Range
    if sender == "theirs":
        docker28.build(shop.context(), "--output", f"type=docker,dest={tarball},name=myimage")
        build = OfficialClient(require_tools(), jobs.environment("build"), shop.folder)
        build.upload("myimage", [tarball])
    else:
        relay = jobs.relay("build")
        docker28.build(shop.context(), "--tag", f"{relay.host}/myimage", "--push")
        relay.kill()

    if receiver == "theirs":
        use = OfficialClient(require_tools(), jobs.environment("use"), shop.folder)
        listed = max(use.list(), key=lambda each: int(each["id"]))  # buildx puts parts under the tag before the whole
        use.download(int(listed["id"]), shop.folder / "got", str(listed["digest"]))
        (file,) = (shop.folder / "got").iterdir()
        docker28.docker("load", "--input", str(file))
        assert "myimage" in docker28.docker("image", "ls", "-a")
        assert docker28.run("myimage") == shop.token
    else:
        relay = jobs.relay("use")
        _pull_and_run(engines, f"{relay.host}/myimage", shop.token)


def test_a_file_that_others_saved_keeps_its_bytes(shop: Workshop) -> None:
    """What comes out as a tar holds the layers that went in, bit by bit."""
    _docker28(shop)
    made = shop.tarball.read_bytes()
    _send(shop.relay, made, "/app:v1")

    status, _, out = shop.relay.request("GET", "/relay/images/app:v1?compression=none", patience=60)

    assert status == 200
    assert _blobs(made) == _blobs(out)


def _blobs(tarball: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        files = [archive.extractfile(each) for each in archive if each.name.startswith("blobs/") and each.isfile()]
        return {hashlib.sha256(file.read()).hexdigest() for file in files if file}
