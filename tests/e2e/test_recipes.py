"""The commands of docs/builds.md and of the examples do what they promise, with every image store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import recipes
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.e2e.recipes import Kitchen, blocks, compressions
from tests.e2e.relay import PUBLIC_HOST, Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_BUILDS = recipes.builds()
_ZSTD = blocks("docker build")[0]
_PLAIN = _ZSTD.replace("compression=zstd", "compression=uncompressed")
_COMPOSE = f"services:\n  app:\n    build: .\n    image: {PUBLIC_HOST}/app:ci\n"
_STORES = [("docker28", "docker28_graph", "zstd"), ("docker28_graph", "docker28", "gzip")]


@pytest.fixture
def kitchen(toolbox: Toolbox, tmp_path: Path) -> Iterator[Kitchen]:
    kitchen = Kitchen(tmp_path, toolbox)
    kitchen.relay.start()
    yield kitchen
    kitchen.relay.kill()


def runs(engine: Engine, kitchen: Kitchen) -> bool:
    """Pull the image that was pushed, and tell whether it is that."""
    digest = engine.pull(kitchen.reference)
    return digest == kitchen.relay.digest("app", "ci") and engine.run(kitchen.reference) == kitchen.token


def test_there_is_a_recipe_for_every_way() -> None:
    assert {"README", "page", "digest", "action", "bake", "compose", "buildx engine"} <= _BUILDS.keys()


@pytest.mark.parametrize(("pushing", "pulling", "compression"), _STORES)
@pytest.mark.parametrize("recipe", _BUILDS)
def test_what_a_recipe_builds_and_pushes_runs_with_the_other_store(
    recipe: str, pushing: str, pulling: str, compression: str, kitchen: Kitchen, request: pytest.FixtureRequest
) -> None:
    pusher, puller = (request.getfixturevalue(engine) for engine in (pushing, pulling))
    kitchen.engine(pusher)
    for name, text in (("docker-bake.hcl", blocks("Bake", "hcl")[0]), ("compose.yaml", _COMPOSE)):
        if (recipe == "bake") == (name == "docker-bake.hcl"):
            (kitchen.context / name).write_text(kitchen.here(text))

    outputs = kitchen.cook(_BUILDS[recipe])

    pushed = kitchen.relay.digest("app", "ci")
    assert compressions(kitchen.relay) == {compression}
    assert outputs.get("digest", pushed) == pushed
    assert pusher.run(kitchen.reference) == kitchen.token  # as in a later step of the same job
    assert runs(puller, kitchen)


_PODMAN, _BUILDAH = blocks("Podman and Buildah")
_EXAMPLE = "\n".join(map(recipes.command, recipes.steps("podman", "build")))


@pytest.mark.parametrize("newer", [False, True], ids=["old", "new"])
@pytest.mark.parametrize("text", [_PODMAN, _BUILDAH, _EXAMPLE], ids=["podman", "buildah", "example"])
def test_what_podman_and_buildah_push_runs_in_docker(
    text: str, newer: bool, kitchen: Kitchen, docker28: Engine, local_store: Path
) -> None:
    for tool in ("podman", "buildah"):
        kitchen.tool(tool, *_stored_in(local_store), newer=newer)

    kitchen.cook(text)

    assert compressions(kitchen.relay) == {"zstd"}
    assert runs(docker28, kitchen)


def _stored_in(folder: Path) -> tuple[str, ...]:
    return ("--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs")


def test_what_the_classic_store_saves_runs_with_the_other_one(
    kitchen: Kitchen, docker28: Engine, docker28_graph: Engine
) -> None:
    kitchen.engine(docker28_graph)

    kitchen.cook(blocks("The classic store")[0])

    assert runs(docker28, kitchen)


# Who can pull zstd

_OCI, _DOCKER = "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"


def _clients(kitchen: Kitchen, store: Path) -> list[str]:
    """Return the commands by which clients of Debian 12 pull."""
    for tool, options in (("podman", _stored_in(store)), ("skopeo", ())):
        kitchen.tool(tool, *options, newer=False)
    skopeo = f"skopeo copy --src-tls-verify=false docker://{kitchen.reference} dir:{store}/copy"
    return [f"podman pull --tls-verify=false {kitchen.reference}", skopeo]


def test_zstd_in_media_types_of_oci_can_be_pulled_by_old_clients(
    kitchen: Kitchen, docker28: Engine, docker28_graph: Engine, local_store: Path
) -> None:
    kitchen.engine(docker28)

    kitchen.cook(_ZSTD.replace("docker build", "docker build --provenance=false"))

    assert {each["mediaType"] for each in kitchen.relay.json("/v2/app/manifests/ci")["layers"]} == {_OCI}
    for pull in _clients(kitchen, local_store):
        kitchen.cook(pull)
    assert runs(docker28_graph, kitchen)


def test_zstd_in_media_types_of_docker_can_not(
    kitchen: Kitchen, docker28: Engine, docker28_graph: Engine, local_store: Path
) -> None:
    kitchen.engine(docker28)

    without = _ZSTD.replace(",oci-mediatypes=true", "")
    kitchen.cook(without.replace("docker build", "docker build --provenance=false"))

    assert {each["mediaType"] for each in kitchen.relay.json("/v2/app/manifests/ci")["layers"]} == {_DOCKER}
    for pull in _clients(kitchen, local_store):
        with pytest.raises(AssertionError, match="unsupported docker v2s2 media type"):
            kitchen.cook(pull)
    assert runs(docker28_graph, kitchen)
    assert f"`{_DOCKER}`" in recipes.PAGE.read_text()
    assert "`unsupported docker v2s2 media type`" in recipes.PAGE.read_text()


def test_the_oldest_docker_cannot_pull_zstd_and_says_what_the_page_says(
    kitchen: Kitchen, docker20: Engine, docker28: Engine
) -> None:
    kitchen.engine(docker28)
    kitchen.cook(_ZSTD)

    with pytest.raises(AssertionError, match="Error processing tar file"):
        docker20.pull(kitchen.reference)

    assert "`Error processing tar file`" in recipes.PAGE.read_text()


# Layers that are not compressed

_SKOPEO, _REGCTL = blocks("Layers that are not compressed")
_BY_DOCKER = (
    f"docker pull {PUBLIC_HOST}/app:ci\n"
    f"docker tag {PUBLIC_HOST}/app:ci ghcr.io/YOUR-ORG/app:ci\n"
    "docker push ghcr.io/YOUR-ORG/app:ci\n"
)
_BY_IMAGETOOLS = f"docker buildx imagetools create --tag ghcr.io/YOUR-ORG/app:ci {PUBLIC_HOST}/app:ci"


@pytest.mark.parametrize(
    ("text", "newer"),
    [(_SKOPEO, True), (_SKOPEO, False), (f"regctl registry set ghcr.io/YOUR-ORG --tls disabled\n{_REGCTL}", True)],
    ids=["new skopeo", "old skopeo", "regctl"],
)
def test_plain_layers_are_compressed_on_their_way_to_another_registry(
    text: str, newer: bool, kitchen: Kitchen, elsewhere: Relay, docker28: Engine
) -> None:
    kitchen.engine(docker28)
    kitchen.skopeo(newer=newer)
    kitchen.cook(_PLAIN)
    assert compressions(kitchen.relay) == {"tar"}

    kitchen.cook(text)

    reference = f"{elsewhere.host}/app:ci"
    assert compressions(elsewhere) == {"gzip"}
    assert docker28.pull(reference) == elsewhere.digest("app", "ci") != kitchen.relay.digest("app", "ci")
    assert docker28.run(reference) == kitchen.token


@pytest.mark.parametrize("text", [_BY_IMAGETOOLS, _BY_DOCKER], ids=["imagetools", "docker"])
def test_plain_layers_stay_plain_where_nobody_compresses_them(
    text: str, kitchen: Kitchen, elsewhere: Relay, docker28: Engine
) -> None:
    kitchen.engine(docker28)
    kitchen.cook(_PLAIN)

    kitchen.cook(text)

    assert compressions(elsewhere) == {"tar"}
    assert elsewhere.digest("app", "ci") == kitchen.relay.digest("app", "ci")
