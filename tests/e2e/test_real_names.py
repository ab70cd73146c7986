"""docs/real-names.md: clients ask the relay for images of registries, as the page configures them."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import recipes
from tests.e2e.clients import Toolbox, require_newer, run
from tests.e2e.engines import Engine, first_child
from tests.e2e.images import Image, several_layers
from tests.e2e.relay import PUBLIC_HOST, Relay
from tests.machine import require

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PAGE = recipes.ROOT / "docs" / "real-names.md"


def setting(heading: str, language: str, relay: Relay) -> str:
    """Return what the page configures, for this relay."""
    (text,) = recipes.blocks(heading, language, PAGE)
    return text.replace(PUBLIC_HOST, relay.host).replace("127.0.0.1:5000", f"127.0.0.1:{relay.port}")


def pushed(relay: Relay, toolbox: Toolbox, folder: Path, name: str) -> Image:
    """Push an image never seen before to a path of the relay."""
    image = several_layers(folder)
    target = f"docker://{relay.host}/{name}"
    toolbox.newer("skopeo", "copy", "--all", "--preserve-digests", "--dest-tls-verify=false", image.source, target)
    return image


@contextmanager
def configured(engine: Engine, text: str) -> Iterator[None]:
    """Let an engine read its configuration with these settings too, as `systemctl reload` does."""
    path, process = engine.folder / "daemon.json", _dockerd(engine)
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | json.loads(text)))
        _reload(engine, process)
        yield
    finally:
        path.write_text(before)
        _reload(engine, process)


def _reload(engine: Engine, process: int) -> None:
    read = engine.log.count("Reloaded configuration")
    os.kill(process, signal.SIGHUP)
    while engine.log.count("Reloaded configuration") == read:
        assert "Error reloading" not in engine.log, engine.log[-2000:]
        assert Path(f"/proc/{process}").exists(), engine.log[-2000:]


def _dockerd(engine: Engine) -> int:
    """Return the process of an engine: the one by that name below what was started."""
    assert engine._process
    below = first_child(engine._process.pid)
    while below and Path(f"/proc/{below}/comm").read_text().strip() != "dockerd":
        below = first_child(below)
    assert below
    return below


@pytest.fixture(params=["docker20", "docker28", "docker28_graph"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


def test_docker_asks_the_relay_for_images_of_docker_hub(
    engine: Engine, relay: Relay, toolbox: Toolbox, tmp_path: Path
) -> None:
    image = pushed(relay, toolbox, tmp_path / "image", "team/app:pr")
    (tmp_path / "Dockerfile").write_text(f"FROM team/app:pr\nENV X={image.token}\n")

    with configured(engine, setting("Docker", "json", relay)):
        assert engine.pull("team/app:pr") == image.digest
        assert engine.run("team/app:pr") == image.token
        engine.docker("image", "rm", "--force", "team/app:pr")
        engine.docker("build", "--tag", "child:v1", str(tmp_path))

        assert engine.run("child:v1") == image.token
    engine.docker("image", "rm", "--force", "child:v1")


@pytest.mark.parametrize("newer", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("tool", ["podman", "buildah", "skopeo"])
def test_podman_and_its_relatives_ask_the_relay_first(
    tool: str, newer: bool, relay: Relay, toolbox: Toolbox, tmp_path: Path, local_store: Path
) -> None:
    image = pushed(relay, toolbox, tmp_path / "image", "ghcr.io/team/app:pr")
    conf = tmp_path / "registries.conf"
    conf.write_text(setting("Podman, Buildah and skopeo", "toml", relay))
    client = [*toolbox.entering(), require_newer(tool)] if newer else [require(tool)]
    stores = ["--root", f"{local_store}/root", "--runroot", f"{local_store}/run", "--storage-driver", "vfs"]
    if tool == "skopeo":
        copy = ["--registries-conf", str(conf), "copy", "docker://ghcr.io/team/app:pr", f"dir:{local_store}/copy"]
        run([*client, *copy], toolbox.env())
        assert (local_store / "copy" / "manifest.json").exists()
        return

    env = {"CONTAINERS_REGISTRIES_CONF": str(conf)}
    told = ["env", *(f"{name}={value}" for name, value in env.items())]
    command = [*toolbox.entering(), *told, *client[len(toolbox.entering()) :]] if newer else [*told, *client]
    run([*command, *stores, "pull", "--quiet", "ghcr.io/team/app:pr"], toolbox.env())

    listed = run([*command, *stores, "images", "--digests", "--noheading"], toolbox.env()).stdout
    assert "ghcr.io/team/app" in listed
    assert image.digest in listed


def test_containerd_asks_the_relay_first(relay: Relay, toolbox: Toolbox, tmp_path: Path, docker28: Engine) -> None:
    image = pushed(relay, toolbox, tmp_path / "image", "ghcr.io/team/app:pr")
    hosts = tmp_path / "certs.d" / "ghcr.io" / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(setting("containerd and Kubernetes", "toml", relay))
    ctr = ["ctr", "--address", f"{docker28.folder}/exec/containerd/containerd.sock", "--namespace", "real"]

    toolbox.newer(*ctr, "images", "pull", "--hosts-dir", str(hosts.parents[1]), "ghcr.io/team/app:pr")

    listed = toolbox.newer(*ctr, "images", "ls")
    assert {line.split()[0]: line.split()[2] for line in listed.splitlines()[1:]} == {
        "ghcr.io/team/app:pr": image.digest
    }
    toolbox.newer(*ctr, "images", "rm", "ghcr.io/team/app:pr")
