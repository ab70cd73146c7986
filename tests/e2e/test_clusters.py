"""The examples for kind and k3d load an image of several platforms into a node, as its containerd takes it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import recipes
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.recipes import Kitchen

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_NODE = "test-control-plane"
_LABELS = ("io.x-k8s.kind.cluster=test", "io.x-k8s.kind.role=control-plane")
_LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_FOLDERS = ("dev", "etc", "proc", "run/containerd", "sys", "tmp", "usr")


@pytest.fixture
def node(docker28: Engine, tmp_path: Path) -> Iterator[str]:
    """A container that looks like a node to kind: it has the programs of the engine's machine, and its containerd."""
    root = tmp_path / "node"
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    for name, target in _LINKS.items():
        (root / name).symlink_to(target)
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as packing:
        assert packing.stdout
        docker28.docker("import", "-", "node", stdin=packing.stdout)
    labels = [part for label in _LABELS for part in ("--label", label)]
    mounts = ("/usr:/usr:ro", f"{docker28.folder}/exec/containerd/containerd.sock:/run/containerd/containerd.sock")
    volumes = [part for mount in mounts for part in ("--volume", mount)]
    docker28.docker(
        *("run", "--detach", "--network", "none", "--name", _NODE), *labels, *volumes, "node", "sleep", "infinity"
    )
    yield _NODE
    docker28.docker("rm", "--force", _NODE)


@pytest.fixture
def kitchen(node: str, docker28: Engine, toolbox: Toolbox, tmp_path: Path) -> Iterator[Kitchen]:
    """Push an image of two platforms, with attestations; let kind be there, and k3d as far as its import goes."""
    kitchen = Kitchen(tmp_path, toolbox)
    kitchen.engine(docker28)
    kitchen.tool("kind", newer=True, DOCKER_HOST=f"unix://{docker28.socket}")
    node_imports = [*docker28.client(), "exec", "--interactive", node, "ctr", "image", "import", "--all-platforms", "-"]
    kitchen.script("k3d", f'test "$1 $2 $4 $5" = "image import --cluster test"\n{" ".join(node_imports)} <"$3"')
    kitchen.relay.start()
    two = "docker build --platform linux/amd64,linux/s390x "
    kitchen.cook(recipes.blocks("docker build")[0].replace("docker build ", two))
    yield kitchen
    kitchen.relay.kill()


def loading(cluster: str) -> str:
    """Return the step of an example that loads the image."""
    texts = map(recipes.command, recipes.steps(cluster, "test"))
    (text,) = [text for text in texts if "/relay/images/" in text]
    return text


@pytest.mark.parametrize(("cluster", "namespace"), [("kind", "k8s.io"), ("k3d", "default")])
def test_the_node_has_the_platform_of_the_image_under_the_name_that_kubernetes_looks_for(
    cluster: str, namespace: str, kitchen: Kitchen, node: str, docker28: Engine
) -> None:
    kitchen.cook(loading(cluster))

    (child,) = [
        each["digest"]
        for each in kitchen.relay.json("/v2/app/manifests/ci")["manifests"]
        if each["platform"]["architecture"] == "amd64"
    ]
    listed = docker28.docker("exec", node, "ctr", "--namespace", namespace, "images", "ls")
    found = {line.split()[0]: line.split()[2] for line in listed.splitlines()[1:]}
    assert found["docker.io/library/app:ci"] == child
    docker28.docker("load", "--input", str(kitchen.context / "app.tar"))
    assert docker28.run("app:ci") == kitchen.token


def test_kind_cannot_load_an_image_of_several_platforms_that_docker_has_pulled(
    kitchen: Kitchen, docker28: Engine
) -> None:
    docker28.docker("image", "rm", "--force", kitchen.reference)  # it has built both platforms
    docker28.docker("builder", "prune", "--all", "--force")
    docker28.pull(kitchen.reference)

    with pytest.raises(AssertionError, match=r"ctr: content digest .* not found"):
        kitchen.cook(f"kind load docker-image {kitchen.reference} --name test")
