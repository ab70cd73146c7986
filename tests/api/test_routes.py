"""The surface: what is there, under which methods, and what is said of all else."""

import pytest

from proxy.oci.digest import Digest
from tests.api.relay import Relay

DIGEST = Digest.of(b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_this_is_a_registry(relay: Relay, method: str, path: str) -> None:
    answer = await relay.ask(method, path)

    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.body == (b"{}\n" if method == "GET" else b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/", "GET,HEAD"),
        ("POST", "/v2/_catalog", "GET,HEAD"),
        ("GET", "/v2/app/blobs/uploads/", "POST"),
        ("POST", "/v2/app/blobs/uploads/0", "DELETE,GET,HEAD,PATCH,PUT"),
        ("PUT", f"/v2/app/blobs/{DIGEST}", "DELETE,GET,HEAD"),
        ("PATCH", "/v2/app/manifests/v1", "DELETE,GET,HEAD,PUT"),
        ("DELETE", "/v2/app/tags/list", "GET,HEAD"),
        ("PUT", f"/v2/app/referrers/{DIGEST}", "GET,HEAD"),
        ("DELETE", "/relay/health", "GET,HEAD"),
        ("OPTIONS", "/v2/", "GET,HEAD"),
        ("TRACE", "/v2/", "GET,HEAD"),
    ],
)
async def test_what_is_there_under_other_methods_names_them(relay: Relay, method: str, path: str, allowed: str) -> None:
    answer = await relay.ask(method, path)

    assert answer.error == (405, "UNSUPPORTED")
    assert ",".join(sorted(answer.headers["Allow"].split(","))) == allowed


@pytest.mark.parametrize(
    "path", ["/", "/v3/", "/v2/app", "/v2/app/", "/v2/app/tags", "/v2/app/manifests/", "/v2/tags/list", "/relay/"]
)
async def test_elsewhere_is_nothing(relay: Relay, path: str) -> None:
    answer = await relay.ask("GET", path)

    assert answer.error == (404, "NAME_UNKNOWN")
    assert path in answer.message


@pytest.mark.parametrize(
    "name", ["a/blobs", "a/uploads", "a/blobs/uploads", "manifests", "a/manifests", "v2/v2", "a/tags/list", "tags/list"]
)
async def test_a_repository_may_be_named_like_a_part_of_the_path(relay: Relay, name: str) -> None:
    pushed = await relay.push_image("tags", "list", "blobs", name=name)

    for reference in ("tags", "list", "blobs", pushed.digest):
        assert (await relay.get(reference, name)).body == pushed.content
    assert (await relay.ask("GET", f"/v2/{name}/tags/list")).json == {"name": name, "tags": ["blobs", "list", "tags"]}
    assert (await relay.ask("GET", f"/v2/{name}/referrers/{pushed.digest}")).json["manifests"] == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_slash_of_a_name_may_be_encoded(relay: Relay, method: str) -> None:
    await relay.push_image("v1", name="a/b")

    answer = await relay.ask(method, "/v2/a%2Fb/manifests/v2", data=b"{}" if method == "PUT" else None)

    assert answer.error in {(404, "MANIFEST_UNKNOWN"), (400, "MANIFEST_INVALID")}


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/_ping"), ("GET", "/v1/search?q=app"), ("PUT", "/v1/users/")])
async def test_version_1_of_the_api_is_refused_in_the_form_of_version_2(relay: Relay, method: str, path: str) -> None:
    answer = await relay.ask(method, path)

    assert answer.error == (404, "UNSUPPORTED")
    assert "version 2" in answer.message


@pytest.mark.parametrize(
    ("method", "path", "advice"),
    [
        (
            "GET",
            "/relay/images/app:v1?platfrom=linux/arm64",
            "?platfrom is not a parameter here; did you mean ?platform",
        ),
        ("HEAD", "/relay/images/app:v1?Engine=linux/arm64", ""),
        (
            "GET",
            "/relay/images/app:v1?compression=none&zstd",
            "there are ?compression, ?platform, ?engine, ?loadable, ?o",
        ),
        ("PUT", "/relay/images/app:v1?progres", "did you mean ?progress"),
        ("PUT", "/relay/images?platform=linux/arm64", "there are ?progress"),
        ("DELETE", "/relay/images?all&dryrun", "did you mean ?dry-run"),
        ("DELETE", "/relay/images/app:v1?dry_run", "did you mean ?dry-run"),
        ("GET", "/relay/images?platform=linux/arm64", "?platform is not a parameter here; there are none"),
        ("GET", "/relay/proof?chalenge=0", "did you mean ?challenge"),
    ],
)
async def test_a_parameter_that_would_be_ignored_is_refused(relay: Relay, method: str, path: str, advice: str) -> None:
    await relay.push_image("v1")

    answer = await relay.ask(method, path)

    assert answer.status == 400
    assert method == "HEAD" or (answer.error == (400, "UNSUPPORTED") and advice in answer.message)
    assert relay.artifacts() == ["image-app@v1.tar.zst"]


async def test_what_the_specification_does_not_know_is_passed_over(relay: Relay) -> None:
    await relay.push_image("v1")

    assert (await relay.ask("GET", "/v2/app/manifests/v1?platfrom=linux/arm64")).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/app/tags/list"),
        ("GET", f"/v2/app/referrers/{DIGEST}"),
        ("GET", "/v2/app/manifests/v2"),
        ("GET", "/relay/health"),
        ("GET", "/relay/images"),
        ("PUT", "/relay/images"),
        ("POST", "/relay/flush"),
        ("DELETE", "/relay/images/app:v1"),
        ("DELETE", "/relay/images?superseded"),
        ("GET", "/nowhere"),
    ],
)
async def test_a_prompt_is_on_a_line_of_its_own_after_an_answer_in_json(relay: Relay, method: str, path: str) -> None:
    await relay.push_image("v1")

    answer = await relay.ask(method, path)

    assert answer.json is not None
    assert answer.body.endswith(b"}\n")
    assert int(answer.headers["Content-Length"]) == len(answer.body)
