"""The ways in which clients use a mirror: settings of dockerd and of BuildKit, and containerd's `hosts.toml`."""

import json
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tests.e2e.buildkit import BuildKit, buildkit
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Docker28, Engine
from tests.e2e.images import Image
from tests.e2e.relay import DIRECTORY
from tests.fakes.distribution import PASSWORD, USER


def mirroring(registry: str) -> dict[str, str]:
    """Return the environment of a relay that has a registry for Docker Hub and for ghcr.io, with a login for both."""
    hosts = ("docker.io", "ghcr.io")
    return {
        **DIRECTORY,
        "RELAY_UPSTREAMS": ",".join(f"{host}={registry}" for host in hosts),
        "RELAY_UPSTREAM_AUTH": "\n".join(f"{host}={USER}:{PASSWORD}" for host in hosts),
    }


class MirrorClient(Protocol):
    """A client to which the relay is a mirror; `host` is the registry in whose place it asks the relay."""

    host: str

    def pull(self, name: str, wanted: Image) -> None:
        """Pull `host/name:v1`, and check that it is what is wanted; raise ClientError if it cannot be had."""

    def drop(self, name: str) -> None:
        """Forget what was pulled."""


class Dockerd:
    """An engine with `registry-mirrors`, which are for Docker Hub alone."""

    host = "docker.io"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def pull(self, name: str, wanted: Image) -> None:
        assert self._engine.pull(f"{name}:v1") == wanted.digest
        assert self._engine.run(f"{name}:v1") == wanted.token

    def drop(self, name: str) -> None:
        self._engine.docker("rmi", "-f", f"{name}:v1")


class Containerd:
    """The containerd of an engine, by `ctr` and a `hosts.toml`."""

    host = "ghcr.io"

    def __init__(self, engine: Engine, mirror: str) -> None:
        self._engine = engine
        self._folder = engine.toolbox.work / f"hosts-{secrets.token_hex(4)}"
        (self._folder / self.host).mkdir(parents=True)
        (self._folder / self.host / "hosts.toml").write_text(
            f'server = "https://{self.host}"\n[host."http://{mirror}"]\n  capabilities = ["pull", "resolve"]\n'
        )

    def pull(self, name: str, wanted: Image) -> None:
        self._ctr("images", "pull", "--local", "--hosts-dir", str(self._folder), f"{self.host}/{name}:v1")
        assert wanted.digest in self._ctr("images", "list")

    def drop(self, name: str) -> None:
        self._ctr("images", "rm", "--sync", f"{self.host}/{name}:v1")

    def _ctr(self, *arguments: str) -> str:
        address = str(self._engine.folder / "exec" / "containerd" / "containerd.sock")
        return self._engine.toolbox.newer("ctr", "--address", address, "--namespace", "mirror", *arguments)


class Builder:
    """A buildkitd with the relay as the mirror of a host, which builds on what it pulls."""

    def __init__(self, builder: BuildKit, host: str) -> None:
        self.host = host
        self._builder = builder

    def pull(self, name: str, wanted: Image) -> None:
        built = self._builder.folder / "built.tar"
        (self._builder.folder / "Dockerfile").write_text(f"FROM {self.host}/{name}:v1\nLABEL built=yes\n")
        self._builder.build(self._builder.folder, built)
        with tarfile.open(built) as archive:
            names = {each.removeprefix("blobs/").replace("/", ":") for each in archive.getnames()}
        assert _layers(wanted) <= names

    def drop(self, _: str) -> None:
        self._builder.prune()


@contextmanager
def mirrored_engine(kind: type[Engine], toolbox: Toolbox, mirror: str) -> Iterator[Engine]:
    """Run an engine with the mirror, and no way to Docker Hub, until the end of the block."""

    class Mirrored(kind):  # type: ignore[misc,valid-type] # each engine in turn
        name = f"m{kind.name}"

        def settings(self) -> dict[str, object]:
            return {**super().settings(), "registry-mirrors": [f"http://{mirror}"]}

    started = Mirrored(toolbox)
    started.start()
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def mirrored_builder(toolbox: Toolbox, mirror: str, host: str) -> Iterator[Builder]:
    """Run a buildkitd with the mirror of a host until the end of the block."""
    mirrors = f'[registry."{host}"]\n  mirrors = ["{mirror}"]\n[registry."{mirror}"]\n  http = true\n'
    with buildkit(toolbox, mirrors) as builder:
        yield Builder(builder, host)


@contextmanager
def mirror_client(kind: str, toolbox: Toolbox, mirror: str) -> Iterator[MirrorClient]:
    """Run one of `dockerd`, `containerd` and `buildkitd` until the end of the block."""
    if kind == "buildkitd":
        with mirrored_builder(toolbox, mirror, "ghcr.io") as builder:
            yield builder
        return
    with mirrored_engine(Docker28, toolbox, mirror) as engine:
        yield Dockerd(engine) if kind == "dockerd" else Containerd(engine, mirror)


def _layers(image: Image) -> set[str]:
    """Return the digests of the layers of the linux/amd64 image, in an index or alone."""
    root = _document(image, image.digest)
    if "manifests" in root:
        (near,) = [each for each in root["manifests"] if each["platform"]["architecture"] == "amd64"]
        root = _document(image, near["digest"])
    return {each["digest"] for each in root["layers"]}


def _document(image: Image, digest: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((image.layout / "blobs").joinpath(*digest.split(":")).read_bytes())
    return document
