"""The name under which an image was saved is the one under which it is loaded: real engines, every kind of registry."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.e2e import steps
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import Relay
from tests.machine import require

# Images of three registries are saved, loaded and run in an engine: 20 to 60 s each.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

IPV6 = "[fd00::1]:5000/team/app:pr"
# Each has the same path, but for those that are the same repository: without a host, of Docker Hub, of this machine.
NAMES = {
    "no host": "team/app:pr",
    "Docker Hub": "docker.io/team/hub:pr",
    "ghcr.io": "ghcr.io/team/app:pr",
    "quay.io": "quay.io/team/app:pr",
    "this machine": "localhost:5000/team/here:pr",
    "a port": "registry.example:5001/team/app:pr",
    "a short host with a port": "registry:5000/team/app:pr",
    "IPv6": IPV6,
    "upper case": "MyHost/team/app:pr",
    "upper case with a port": "RELAY.Example:80/team/app:pr",
}
_SOME = {"no host", "Docker Hub", "this machine", "a port", "upper case with a port"}  # which docker20 can have, too
PATHS = {
    "no host": "team/app:pr",
    "Docker Hub": "team/hub:pr",
    "Docker Hub by name": "docker.io/team/hub:pr",
    "ghcr.io": "ghcr.io/team/app:pr",
    "quay.io": "quay.io/team/app:pr",
    "this machine": "team/here:pr",
}
Carry = Callable[[Relay, Engine, str, list[str]], None]


def by_command(relay: Relay, engine: Engine, command: str, images: list[str]) -> None:
    main([command, *images, "--host", "127.0.0.1", "--port", str(relay.port)])


def by_action(relay: Relay, engine: Engine, command: str, images: list[str]) -> None:
    assert steps.carry(relay, engine, command, images).returncode == 0


def by_request(relay: Relay, engine: Engine, command: str, images: list[str]) -> None:
    """Do as `docker save | curl` does, and `curl | docker load`."""
    for each in images:
        first, _, second = each.partition("=")
        if command == "save":
            target = (second or first).replace("[", "%5B").replace("]", "%5D")
            saved = subprocess.run([*engine.client(), "save", first], stdout=subprocess.PIPE, check=True).stdout
            status, _, body = relay.request("PUT", f"/relay/images/{target}", body=saved)
            assert status == 201, body
            continue
        path = f"/relay/images/{each.replace('[', '%5B').replace(']', '%5D')}?compression=none"
        status, _, body = relay.request("GET", path)
        assert status == 200, body
        subprocess.run([*engine.client(), "load"], input=body, check=True)


WAYS: dict[str, Carry] = {"command": by_command, "action": by_action, "request": by_request}
# The command speaks with engines itself, the others by their docker.
EACH_WAY = [
    *(("command", engine) for engine in ("docker20", "docker28", "docker28_graph")),
    *(("action", engine) for engine in ("docker28", "docker28_graph")),
    *(("request", engine) for engine in ("docker20", "docker28")),
]


@pytest.fixture(params=["docker20", "docker28", "docker28_graph"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    engine: Engine = request.getfixturevalue(request.param)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.socket}")
    forget(engine)
    yield engine
    forget(engine)


def forget(engine: Engine) -> None:
    if images := engine.docker("image", "ls", "--quiet", "--no-trunc").split():
        engine.docker("image", "rm", "--force", *dict.fromkeys(images))


def listed(engine: Engine) -> set[str]:
    return set(engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())


def built(engine: Engine, folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Build another image for each name, all on one layer; gives what each prints."""
    folder.mkdir()
    shutil.copy(require("busybox"), folder / "busybox")
    for kind, name in names.items():
        says = json.dumps(["/bin/busybox", "echo", kind])
        (folder / "Dockerfile").write_text(f"FROM scratch\nCOPY busybox /bin/busybox\nCMD {says}\n")
        engine.docker("build", "--quiet", "--tag", name, str(folder))
    return {name: kind for kind, name in names.items()}


def known_to(engine: Engine) -> dict[str, str]:
    """Give all names to one engine, and some of those that it can have to each of the others."""
    return {kind: name for kind, name in NAMES.items() if engine.name == "docker28" or kind in _SOME}


@pytest.mark.parametrize(("way", "engine"), EACH_WAY, indirect=["engine"])
def test_every_registry_has_its_image_back_under_its_name(
    engine: Engine, relay: Relay, way: str, tmp_path: Path
) -> None:
    tokens = built(engine, tmp_path / "contexts", known_to(engine))
    WAYS[way](relay, engine, "save", list(tokens))
    forget(engine)

    loaded = set()
    for name in tokens:
        WAYS[way](relay, engine, "load", [name])

        loaded.add(name.removeprefix("docker.io/"))
        assert listed(engine) == loaded
    assert {name: engine.run(name) for name in tokens} == tokens


@pytest.mark.parametrize(("way", "engine"), EACH_WAY, indirect=["engine"])
def test_an_image_goes_and_comes_under_other_names(engine: Engine, relay: Relay, way: str, tmp_path: Path) -> None:
    tokens = built(engine, tmp_path / "contexts", {"one": "one:dev", "other": "other:dev"})
    WAYS[way](relay, engine, "save", [f"one:dev={IPV6}", "other:dev=ghcr.io/team/app:pr"])
    forget(engine)

    WAYS[way](relay, engine, "load", [f"{IPV6}=back:one", "ghcr.io/team/app:pr=quay.io/back/other:v1"])

    assert {name: engine.run(name) for name in listed(engine)} == {
        "back:one": tokens["one:dev"],
        "quay.io/back/other:v1": tokens["other:dev"],
    }


@pytest.mark.parametrize("way", ["command", "request"])
@pytest.mark.parametrize("engine", ["docker28"], indirect=True)  # the relay refuses, whatever would load it
def test_the_same_path_of_another_registry_is_never_loaded(
    engine: Engine, relay: Relay, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = built(engine, tmp_path / "contexts", {"ghcr.io": "ghcr.io/team/app:pr"})
    by_command(relay, engine, "save", list(tokens))
    forget(engine)

    for asked in ("team/app:pr", "quay.io/team/app:pr", "ghcr.io:443/team/app:pr"):
        with pytest.raises((SystemExit, AssertionError)):
            WAYS[way](relay, engine, "load", [asked])

        assert listed(engine) == set()
        if way == "command":
            assert "ghcr.io/team/app:pr" in capsys.readouterr().err


def test_a_path_is_pushed_and_pulled_as_the_registry_that_begins_it(
    engine: Engine, relay: Relay, tmp_path: Path
) -> None:
    tokens = built(engine, tmp_path / "contexts", {kind: NAMES[kind] for kind in PATHS if kind in NAMES})
    for kind, path in PATHS.items():
        if kind in NAMES:
            engine.docker("tag", NAMES[kind], f"{relay.host}/{path}")
            engine.push(f"{relay.host}/{path}")
    forget(engine)

    by_command(relay, engine, "load", list(tokens))
    loaded = {name: engine.run(name) for name in tokens}
    names = {each["references"][0] for each in json.loads(relay.read("/relay/images"))["images"]}
    forget(engine)
    pulled = {}
    for kind, path in PATHS.items():
        engine.pull(f"{relay.host}/{path}")
        pulled[kind] = engine.run(f"{relay.host}/{path}")

    assert loaded == tokens
    assert names == {"team/app:pr", "team/hub:pr", "ghcr.io/team/app:pr", "quay.io/team/app:pr", "team/here:pr"}
    assert pulled == {kind: kind.removesuffix(" by name") for kind in PATHS}


def test_what_was_saved_is_pulled_as_a_path(engine: Engine, relay: Relay, tmp_path: Path) -> None:
    tokens = built(engine, tmp_path / "contexts", {kind: NAMES[kind] for kind in PATHS if kind in NAMES})
    by_command(relay, engine, "save", list(tokens))
    forget(engine)

    for kind, path in PATHS.items():
        engine.pull(f"{relay.host}/{path}")
        assert engine.run(f"{relay.host}/{path}") == kind.removesuffix(" by name")


@pytest.mark.parametrize("way", ["command", "action"])
def test_an_image_for_several_platforms_is_loaded_for_the_engine(
    docker28: Engine, relay: Relay, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{docker28.socket}")
    forget(docker28)
    name, context = "ghcr.io/team/many:pr", dockerfile(tmp_path / "context", "many")
    file = tmp_path / "many.tar"
    docker28.build(context, "--platform", "linux/arm64,linux/amd64", "--output", f"type=oci,dest={file},name={name}")
    main(["save", "--file", str(file), "--host", "127.0.0.1", "--port", str(relay.port)])
    index = relay.json("/v2/ghcr.io/team/many/manifests/pr")
    of = {f"linux/{each['platform']['architecture']}": each["digest"] for each in index["manifests"]}

    WAYS[way](relay, docker28, "load", [name])

    own = docker28.docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}").strip()
    assert docker28.image_id(name) == of[own]
    assert docker28.run(name) == "many"
    forget(docker28)
    main(["load", name, "--platform", "all", "--host", "127.0.0.1", "--port", str(relay.port)])
    assert docker28.image_id(name) == relay.digest("ghcr.io/team/many", "pr")
    forget(docker28)
