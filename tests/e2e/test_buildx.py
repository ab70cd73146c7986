"""What BuildKit pushes: attested indexes, merged tags, caches."""

import re
import secrets
from pathlib import Path

import pytest

from tests.e2e import archives
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import Relay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def test_a_push_of_two_platforms_with_attestations_leaves_exactly_one_archive(
    relay: Relay, docker28: Engine, tmp_path: Path
) -> None:
    token = secrets.token_hex(16)
    context, reference = dockerfile(tmp_path / "context", token), f"{relay.host}/app:v1"

    both = ("--platform", "linux/amd64,linux/s390x", "--provenance=true")
    pushed = docker28.build(context, *both, "--tag", reference, "--push")

    children = relay.json("/v2/app/manifests/v1")["manifests"]
    assert relay.digest("app", "v1") == pushed
    assert len(children) == 4
    assert [path.name for path in relay.archives()] == ["image-app@v1.tar.zst"]
    inside = archives.blobs(relay.archive_of("app"))
    assert inside >= {pushed, *(child["digest"] for child in children)}
    assert docker28.pull(reference) == pushed
    assert docker28.run(reference) == token


@pytest.mark.parametrize(
    ("pushing", "pulling", "compression"),
    [("docker28", "docker28_graph", "zstd"), ("docker28_graph", "docker28", "gzip")],  # a classic store makes gzip only
)
def test_what_buildkit_is_to_push_in_zstd_runs_in_the_other_store(
    pushing: str, pulling: str, compression: str, relay: Relay, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pusher, puller = (request.getfixturevalue(engine) for engine in (pushing, pulling))
    token, reference = secrets.token_hex(16), f"{relay.host}/app:v1"
    output = f"type=image,name={reference},push=true,oci-mediatypes=true,compression=zstd,force-compression=true"

    pusher.build(dockerfile(tmp_path / "context", token), "--provenance=false", "--output", output)

    layers = relay.json("/v2/app/manifests/v1")["layers"]
    assert {re.split("[.+]", each["mediaType"])[-1] for each in layers} == {compression}
    assert puller.pull(reference) == relay.digest("app", "v1")
    assert puller.run(reference) == token


def test_imagetools_merges_two_tags_into_one(relay: Relay, docker28: Engine, tmp_path: Path) -> None:
    context = dockerfile(tmp_path / "context", secrets.token_hex(16))
    tags = [f"{relay.host}/app:{platform}" for platform in ("amd64", "s390x")]
    for tag in tags:
        one = ("--platform", f"linux/{tag.rpartition(':')[2]}", "--provenance=false")
        docker28.build(context, *one, "--tag", tag, "--push")

    docker28.docker("buildx", "imagetools", "create", "--tag", f"{relay.host}/app:both", *tags)

    merged = relay.json("/v2/app/manifests/both")["manifests"]
    assert {child["platform"]["architecture"] for child in merged} == {"amd64", "s390x"}
    assert {child["digest"] for child in merged} == {
        relay.digest("app", "amd64"),
        relay.digest("app", "s390x"),
    }
    names = [path.name for path in relay.archives()]
    assert names == [f"image-app@{tag}.tar.zst" for tag in ("amd64", "both", "s390x")]
    assert docker28.pull(f"{relay.host}/app:both") == relay.digest("app", "both")


@pytest.mark.parametrize("image_manifest", ["true", "false"])
def test_a_build_cache_saved_by_one_job_spares_the_next_one_the_work(
    image_manifest: str, relay: Relay, docker28: Engine, tmp_path: Path
) -> None:
    context = _never_the_same_twice(tmp_path / "context")
    saved = f"mode=max,oci-mediatypes=true,image-manifest={image_manifest}"
    save = ("--cache-to", f"type=registry,ref={relay.host}/app:cache,{saved}")
    docker28.build(context, *save, "--tag", "cached:first", "--load")
    docker28.docker("builder", "prune", "--all", "--force")
    relay.kill()
    relay.forget_all_but_archives()
    relay.start()

    cache = ("--cache-from", f"type=registry,ref={relay.host}/app:cache")
    docker28.build(context, *cache, "--tag", "cached:second", "--load")
    docker28.build(context, "--no-cache", "--tag", "cached:never", "--load")

    assert docker28.layers("cached:second") == docker28.layers("cached:first")
    assert docker28.layers("cached:never") != docker28.layers("cached:first")
    assert [path.name for path in relay.archives()] == ["image-app@cache.tar.zst"]


def _never_the_same_twice(folder: Path) -> Path:
    """Write a build context whose result shows whether its steps were run or taken from a cache."""
    context = dockerfile(folder, secrets.token_hex(16))
    step = "/bin/busybox cat /proc/sys/kernel/random/uuid > /made"
    with (context / "Dockerfile").open("a") as file:
        file.write(f'RUN --network=none ["/bin/busybox", "sh", "-c", "{step}"]\n')
    return context
