"""What is not here comes from the registry that the client names: exactly, once, and from no other."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web

from proxy.oci.digest import Digest
from proxy.runtime.limits import DEFAULT, Policy
from tests.api.relay import CONFIG, MIB, Answer, Relay, described, document, pushed_image, pushed_index, running
from tests.fakes.upstream import TOKEN, FakeUpstream, broken, content, status, upstream
from tests.fakes.upstream import Answer as Planned
from tests.ports import free_port
from tests.registry_harness import noise, until

LIMITS = replace(DEFAULT, upstream=Policy(attempts=3, first=0.01, longest=0.01))
PULL = {
    "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*",
    "User-Agent": "containerd/2.1.9",
}
DOCKER = {"User-Agent": "docker/28.5.2 go/go1.24 UpstreamClient(Docker-Client/28.5.2)", "Accept": "a/b, c/d, e/f"}
Start = Callable[..., AbstractAsyncContextManager[Relay]]


@pytest.fixture
async def there() -> AsyncIterator[FakeUpstream]:
    async with upstream() as fake:
        yield fake


@pytest.fixture
def start(there: FakeUpstream, tmp_path: Path) -> Start:
    """Start a relay that may ask the upstream, under the names of two registries."""
    hosts = (f"docker.io={there.host}", f"ghcr.io={there.host}")
    return partial(running, tmp_path / "data", limits=LIMITS, upstreams=hosts)


@pytest.fixture
async def relay(start: Start) -> AsyncIterator[Relay]:
    async with start() as relay:
        yield relay


async def pull(relay: Relay, path: str, reference: object, query: str = "?ns=docker.io", **more: Any) -> Answer:
    return await relay.ask("GET", f"/v2/{path}/manifests/{reference}{query}", **more)


async def blob(relay: Relay, path: str, digest: object, query: str = "?ns=docker.io", **more: Any) -> Answer:
    return await relay.ask("GET", f"/v2/{path}/blobs/{digest}{query}", **more)


async def test_an_image_that_is_here_is_served_whatever_relays_a_request_has_come_by(start: Start) -> None:
    async with start() as relay:
        image = await relay.push_image("3", name="library/alpine")
        own = relay.services.mirror.upstreams.via("")
        for via in (
            own,
            f"{own}, {own}",
            "x" * 5000,
            ", ".join(f"1.1 image-relay-{number:016x}" for number in range(99)),
        ):
            answer = await pull(relay, "library/alpine", "3", headers={**PULL, "Via": via})
            assert (answer.status, answer.body) == (200, image.content)
            answer = await pull(relay, "library/alpine", "4", headers={**PULL, "Via": via})
            assert answer.error == ((404, "MANIFEST_UNKNOWN") if via.startswith("x") else (508, "DENIED"))


async def test_all_tries_of_a_registry_that_hangs_have_a_time_together(there: FakeUpstream, tmp_path: Path) -> None:
    over = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    async def stop_after_some_bytes(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(MIB)})
        await response.prepare(request)
        await response.write(bytes(10))
        return await hang(request)

    image = there.add_image("library/alpine", "3", layers=(noise(MIB),))
    endless = Policy(attempts=1000, first=0.01, longest=0.01)
    limits = replace(LIMITS, upstream=endless, upstream_stall=0.1, upstream_patience=1.0)
    hosts = (f"docker.io={there.host}",)
    async with running(tmp_path / "data", limits=limits, upstreams=hosts) as relay, asyncio.timeout(30):
        there.plan["manifests"].extend([hang] * 1000)
        answer = await pull(relay, "library/alpine", "3")
        assert (answer.error, "has failed" in answer.message) == ((403, "DENIED"), True)
        there.plan["manifests"].clear()
        assert (await pull(relay, "library/alpine", "3")).body == image.content
        there.plan["blobs"].extend([stop_after_some_bytes] * 1000)
        with suppress(ClientPayloadError):
            assert (await blob(relay, "library/alpine", Digest.of(noise(MIB)))).status == 403
        over.set()


@pytest.mark.parametrize("others", [0, 1, 2])
async def test_a_relay_that_asks_itself_says_so_at_once(tmp_path: Path, others: int) -> None:
    """Directly, or by way of other relays, of which each has clients at that moment."""
    ports = [free_port() for _ in range(others + 1)]
    async with AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(
                running(tmp_path / str(port), limits=LIMITS, port=port, upstreams=(f"docker.io=127.0.0.1:{following}",))
            )
            for port, following in zip(ports, [*ports[1:], ports[0]], strict=True)
        ]
        for wanted in ("3", Digest.of(b"")):
            async with asyncio.timeout(10):
                answers = await asyncio.gather(*(pull(relay, "library/alpine", wanted) for relay in relays * 5))
            assert {(*answer.error, answer.message) for answer in answers} == {
                (
                    403,
                    "DENIED",
                    "docker.io leads back to this relay; name the address of another registry in RELAY_UPSTREAMS",
                )
            }
        async with asyncio.timeout(10):
            answer = await blob(relays[0], "library/alpine", Digest.of(b"none"))
        assert answer.error == (404, "BLOB_UNKNOWN")


# What is fetched, and how often


async def test_an_image_comes_by_tag_and_by_digest_and_then_from_here(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(5 * MIB + 1)
    image = there.add_image("library/alpine", "3", layers=(layer, b"", b"small"))

    for reference in ("3", image.digest, "3"):
        answer = await pull(relay, "library/alpine", reference)
        assert (answer.status, answer.body) == (200, image.content)
        assert answer.headers["Docker-Content-Digest"] == str(image.digest)
        assert answer.headers["Content-Type"] == image.media_type
        for part in (layer, b"", b"small"):
            found = await blob(relay, "library/alpine", Digest.of(part))
            assert (found.status, found.body == part, found.headers["Content-Length"]) == (200, True, str(len(part)))
    asked = there.requests()
    assert sorted(asked) == sorted([asked[0], *set(asked)]), "the first one was asked without a token, no other twice"
    assert len(there.requests("blobs")) == 3


async def test_the_spool_of_the_relay_before_serves_the_layers(there: FakeUpstream, start: Start) -> None:
    layer = noise(3 * MIB)
    image = there.add_image("library/alpine", "3", layers=(layer,))
    for _ in range(2):
        async with start() as relay:
            assert (await pull(relay, "library/alpine", "3")).body == image.content
            assert (await blob(relay, "library/alpine", Digest.of(layer))).body == layer

    assert len(there.requests("blobs")) == 1


async def test_many_clients_of_one_blob_cause_one_download(there: FakeUpstream, relay: Relay) -> None:
    layer, half = noise(4 * MIB), asyncio.Event()
    there.add_image("library/alpine", "3", layers=(layer,))
    await pull(relay, "library/alpine", "3")

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(layer))})
        await response.prepare(request)
        await response.write(layer[: 3 * MIB])
        await half.wait()
        await response.write(layer[3 * MIB :])
        return response

    there.plan["blobs"].append(slowly)
    url = f"http://127.0.0.1:{relay.port}/v2/library/alpine/blobs/{Digest.of(layer)}?ns=docker.io"
    async with relay.session.get(url) as first:
        assert await first.content.readexactly(2 * MIB) == layer[: 2 * MIB], "it is passed on while it comes"
        others = [asyncio.ensure_future(blob(relay, "library/alpine", Digest.of(layer))) for _ in range(4)]
        middle = asyncio.ensure_future(
            blob(relay, "library/alpine", Digest.of(layer), headers={"Range": f"bytes={3 * MIB - 5}-{3 * MIB + 4}"})
        )
        await asyncio.sleep(0)
        half.set()
        assert await first.read() == layer[2 * MIB :]
    assert [(await each).body == layer for each in others] == [True] * 4
    assert ((await middle).status, (await middle).body) == (206, layer[3 * MIB - 5 : 3 * MIB + 5])
    assert len(there.requests("blobs")) == 1


@pytest.mark.parametrize("query", ["?ns=docker.io", "?ns=ghcr.io"])
async def test_an_image_that_lies_about_a_layer_spoils_no_pull_of_another_image(
    there: FakeUpstream, relay: Relay, query: str
) -> None:
    layer, go_on = noise(MIB), asyncio.Event()
    there.add_image("team/app", "v1", layers=(layer,))
    lie = document(config=described(b"{}", CONFIG), layers=[described(layer, size=10)])
    there.add("evil/app", lie, "v1", blobs=(layer,))
    await pull(relay, "evil/app", "v1", "?ns=ghcr.io")
    await pull(relay, "team/app", "v1", query)

    async def slowly(_: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(body=layer)

    there.plan["blobs"] += [slowly, slowly]
    lying = asyncio.ensure_future(blob(relay, "evil/app", Digest.of(layer), "?ns=ghcr.io"))
    await until(lambda: len(there.requests("blobs")) == 1)
    honest = asyncio.ensure_future(blob(relay, "team/app", Digest.of(layer), query))
    await until(lambda: honest.done() or len(there.requests("blobs")) == 2)
    go_on.set()

    assert (await honest).body == layer
    assert (await lying).error == (403, "DENIED")


async def test_an_index_and_the_image_of_a_platform(there: FakeUpstream, relay: Relay) -> None:
    children = [there.add_image("team/app", layers=(name.encode(),)) for name in ("amd64", "arm64")]
    index = there.add("team/app", pushed_index(*(each.descriptor() for each in children)), "v1")

    assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == index.content
    assert (await pull(relay, "team/app", children[1].digest, "?ns=ghcr.io")).body == children[1].content
    assert (await blob(relay, "team/app", Digest.of(b"arm64"), "?ns=ghcr.io")).body == b"arm64"
    assert not [each for each in there.requests() if str(children[0].digest) in each]


async def test_a_head_of_a_pull_and_of_a_blob_bring_no_layer(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(MIB)
    image = there.add_image("library/alpine", "3", layers=(layer,))

    unknown = await relay.ask("HEAD", f"/v2/library/alpine/blobs/{Digest.of(layer)}?ns=docker.io")
    found = await relay.ask("HEAD", "/v2/library/alpine/manifests/3?ns=docker.io", headers=PULL)
    known = await relay.ask("HEAD", f"/v2/library/alpine/blobs/{Digest.of(layer)}?ns=docker.io")

    assert (found.status, found.headers["Docker-Content-Digest"]) == (200, str(image.digest))
    assert [each.headers["Content-Length"] for each in (unknown, known)] == [str(MIB)] * 2
    assert not [each for each in there.asked if "/blobs/" in each.path and each.method == "GET"]


async def without_length(request: web.Request) -> web.StreamResponse:
    """Answer as a registry that computes nothing for a HEAD, or that sends chunks."""
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write_eof()
    return response


async def first_byte(_: web.Request) -> web.StreamResponse:
    return web.Response(status=206, body=b"x", headers={"Content-Range": f"bytes 0-0/{MIB}"})


@pytest.mark.parametrize("ranges", [[], [first_byte]], ids=["whole", "ranges"])
async def test_a_size_that_a_head_does_not_tell_is_told_by_the_first_byte(
    there: FakeUpstream, relay: Relay, ranges: list[Planned]
) -> None:
    layer = noise(MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    there.plan["blobs"] += [without_length, *ranges]

    head = await relay.ask("HEAD", f"/v2/library/alpine/blobs/{Digest.of(layer)}?ns=docker.io")
    there.plan["blobs"] += [without_length, *ranges]

    assert (head.status, head.headers["Content-Length"]) == (200, str(MIB))
    assert (await blob(relay, "library/alpine", Digest.of(layer))).body == layer


async def test_a_registry_that_tells_no_size_at_all_is_named(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3", layers=(b"layer",))
    there.plan["blobs"] += [without_length, without_length]

    answer = await blob(relay, "library/alpine", Digest.of(b"layer"))

    assert answer.error == (403, "DENIED")
    assert answer.message.startswith("docker.io does not say how long sha256:")


async def test_a_layer_that_the_cache_has_no_room_for_is_passed_on_and_not_kept(
    there: FakeUpstream, start: Start
) -> None:
    layer = noise(3 * MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    async with start(spool_limit=2 * MIB) as relay:
        await pull(relay, "library/alpine", "3")
        assert [(await blob(relay, "library/alpine", Digest.of(layer))).body == layer for _ in range(2)] == [True] * 2
        await until(lambda: not relay.files("uploads"))
        assert relay.files("blobs") == []
    assert len(there.requests("blobs")) == 2


# Whose images they are


async def test_registries_are_kept_apart(there: FakeUpstream, tmp_path: Path) -> None:
    async with upstream() as other:
        hosts = (f"docker.io={there.host}", f"ghcr.io={other.host}")
        async with running(tmp_path / "two", limits=LIMITS, upstreams=hosts) as relay:
            hub = there.add_image("team/app", "v1", layers=(b"of the hub",))
            github = other.add_image("team/app", "v1", layers=(b"of github",))
            own = await relay.push_image("v1", name="team/web")

            assert (await pull(relay, "team/app", "v1", "?ns=docker.io")).body == hub.content
            assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == github.content
            assert (await pull(relay, "ghcr.io/team/app", "v1", "")).body == github.content
            assert (await pull(relay, "docker.io/team/app", "v1", "")).body == hub.content
            assert (await pull(relay, "team/web", "v1", "?ns=ghcr.io")).status == 404
            assert (await pull(relay, "team/web", "v1", "?ns=docker.io")).body == own.content
            assert (await blob(relay, "team/app", Digest.of(b"of the hub"), "?ns=ghcr.io")).status == 404
            assert (await pull(relay, "team/app", hub.digest, "?ns=ghcr.io")).status == 404


async def test_nobody_waits_for_a_registry_that_stalls_but_its_own_pulls(there: FakeUpstream, tmp_path: Path) -> None:
    layers, over = tuple(noise(1000, number) for number in range(12)), asyncio.Event()

    async def stall(_: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response(status=404)

    async with upstream() as other:
        hosts = (f"docker.io={there.host}", f"ghcr.io={other.host}")
        async with running(tmp_path / "two", limits=LIMITS, upstreams=hosts) as relay:
            hub = there.add_image("team/app", "v1", layers=(b"of the hub",))
            other.add_image("team/app", "v1", layers=layers)
            other.plan["blobs"].extend([stall] * len(layers))
            await pull(relay, "team/app", "v1", "?ns=ghcr.io")
            stalled = [asyncio.create_task(blob(relay, "team/app", Digest.of(each), "?ns=ghcr.io")) for each in layers]
            await until(lambda: len(other.requests("blobs")) >= 8)

            assert (await pull(relay, "team/app", "v1")).body == hub.content
            assert (await blob(relay, "team/app", Digest.of(b"of the hub"))).body == b"of the hub"
            over.set()
            await asyncio.gather(*stalled)


async def test_what_was_fetched_is_no_image_of_this_relay(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3")
    await pull(relay, "library/alpine", "3")
    await blob(relay, "library/alpine", Digest.of(b"layer"))

    assert (await pull(relay, "alpine", "3", "")).status == 404
    assert (await blob(relay, "alpine", Digest.of(b"layer"), "")).status == 404
    assert (await relay.ask("GET", "/v2/_catalog")).json == {"repositories": []}
    assert (await relay.ask("GET", "/v2/alpine/tags/list")).status == 404


async def test_an_artifact_of_the_same_name_does_not_answer_for_a_registry(
    there: FakeUpstream, relay: Relay, opened: list[str]
) -> None:
    image = there.add_image("library/node", "latest")
    (relay.data / "node.tar.zst").write_bytes(b"what a build step has uploaded")
    opened.clear()

    assert (await pull(relay, "library/node", "latest")).body == image.content
    assert not [path for path in opened if path.endswith("node.tar.zst")]


async def test_an_image_of_the_run_wins_under_its_real_name(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("team/app", "v1")
    own = await relay.push_image("v1", name="ghcr.io/team/app")

    assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == own.content
    assert there.asked == []


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("app", ""), ("team/app", ""), ("quay.io/team/app", ""), ("team/app", "?ns=quay.io"), ("app", "?ns="),
        ("team/app", "?ns=docker.io.example.com"), ("team/app", "?ns=docker.io:444"),
    ],
)  # fmt: skip
async def test_nobody_else_is_asked(there: FakeUpstream, relay: Relay, path: str, query: str) -> None:
    there.add_image(path, "v1")

    missing = await pull(relay, path, "v1", query, headers=PULL)

    assert missing.error == (404, "MANIFEST_UNKNOWN")
    assert "v1 is not here" in missing.message
    assert (await blob(relay, path, Digest.of(b"layer"), query)).error == (404, "BLOB_UNKNOWN")
    assert there.asked == []


async def test_without_upstreams_nothing_is_asked(there: FakeUpstream, tmp_path: Path) -> None:
    there.add_image("library/alpine", "3")
    async with running(tmp_path / "none") as relay:
        assert (await pull(relay, "library/alpine", "3")).status == 404
    assert there.asked == []


async def test_a_push_is_told_nothing_of_the_upstream(there: FakeUpstream, relay: Relay) -> None:
    """Else its client would leave out what the upstream has, and report that it is stored."""
    image = there.add_image("team/app", "v1")
    pushing = {"Accept": "application/vnd.oci.image.manifest.v1+json, */*", "User-Agent": "containerd/2.1.9"}

    for path in (f"manifests/{image.digest}", "manifests/v1"):
        assert (await relay.ask("HEAD", f"/v2/ghcr.io/team/app/{path}", headers=pushing)).status == 404
    layer = Digest.of(b"layer")
    assert (await relay.ask("HEAD", f"/v2/ghcr.io/team/app/blobs/{layer}", headers=pushing)).status == 404
    mounted = await relay.ask("POST", f"/v2/app/blobs/uploads/?mount={layer}&from=ghcr.io%2Fteam%2Fapp")
    assert mounted.status == 202
    assert there.asked == []


# Docker Hub without its name: dockerd with `registry-mirrors`


async def test_docker_asks_a_mirror_by_another_host_than_images_have(there: FakeUpstream, relay: Relay) -> None:
    official, other = there.add_image("library/alpine", "3"), there.add_image("team/app", "v1")
    own = f"localhost:{relay.port}"

    assert (await pull(relay, "library/alpine", "3", "", headers=DOCKER)).body == official.content
    assert (await pull(relay, "team/app", "v1", "", headers=DOCKER)).body == other.content
    assert (await blob(relay, "team/app", Digest.of(b"layer"), "", headers=DOCKER)).body == b"layer"
    there.asked.clear()
    missing = await pull(relay, "team/app", "v1", "", headers=DOCKER | {"Host": own})
    assert missing.error == (404, "MANIFEST_UNKNOWN"), "it is an image of this relay that is meant"
    containerd = DOCKER | {"User-Agent": "docker/28.5.2 go/go1.24 containerd-client/2.1.5 storage-driver/overlayfs"}
    assert (await pull(relay, "team/app", "v1", "", headers=containerd)).status == 404
    assert there.asked == []


async def test_a_wrong_tag_of_an_own_image_is_not_looked_for_elsewhere(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("team/app", "v2")
    await relay.push_image("v1", name="team/app")

    missing = await pull(relay, "team/app", "v2", "", headers=DOCKER)

    assert (missing.status, there.asked) == (404, [])
    assert "team/app:v1" in missing.message


# Tokens and logins


async def test_a_private_image_needs_the_login_which_no_other_host_gets(there: FakeUpstream, start: Start) -> None:
    there.private, there.redirects = True, True
    image, layer = there.add_image("team/app", "v1"), Digest.of(b"layer")
    async with start() as relay:
        refused = await pull(relay, "team/app", "v1", "?ns=ghcr.io")
        assert refused.error == (403, "DENIED")
        assert "RELAY_UPSTREAM_AUTH=ghcr.io=USER:TOKEN" in refused.message
    there.asked.clear()
    async with start(upstream_auth="ghcr.io=user:secret") as relay:
        assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == image.content
        assert (await blob(relay, "team/app", layer, "?ns=ghcr.io")).body == b"layer"
        assert (await pull(relay, "team/app", "v1", "?ns=docker.io")).status == 403, "the login is of another registry"
    assert {each.authorization for each in there.asked if each.host == "registry"} == {"", f"Bearer {TOKEN}"}
    assert [each.authorization for each in there.asked if each.host == "elsewhere"] == [""]


async def test_basic_authentication(there: FakeUpstream, start: Start) -> None:
    there.scheme, image = "Basic", there.add_image("team/app", "v1")
    async with start(upstream_auth="ghcr.io=user:secret") as relay:
        assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == image.content
        assert (await pull(relay, "team/app", "v1", "?ns=docker.io")).error == (403, "DENIED")
    assert there.asked[0].authorization == ""


async def test_a_registry_without_authentication_gets_no_login(there: FakeUpstream, start: Start) -> None:
    there.scheme, image = "", there.add_image("team/app", "v1")
    async with start(upstream_auth="ghcr.io=user:secret") as relay:
        assert (await pull(relay, "team/app", "v1", "?ns=ghcr.io")).body == image.content
    assert {each.authorization for each in there.asked} == {""}


@pytest.mark.parametrize("lasts", ["9" * 400, "-1", "1e999", "true", '"300"', "null"])
async def test_however_long_a_token_server_says_that_a_token_is_good(
    there: FakeUpstream, relay: Relay, lasts: str
) -> None:
    image = there.add_image("team/app", "v1")
    there.plan["token"].append(content(f'{{"token": "{TOKEN}", "expires_in": {lasts}}}'.encode(), "application/json"))

    assert (await pull(relay, "team/app", "v1")).body == image.content


async def test_a_token_that_has_expired_is_renewed_once(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("team/app", "v1")
    await pull(relay, "team/app", "v1")
    refused = f'Bearer realm="http://{there.host}/token",service="fake"'
    there.plan["blobs"].append(status(401, WWW_Authenticate=refused))

    assert (await blob(relay, "team/app", Digest.of(b"layer"))).body == b"layer"
    assert len([each for each in there.asked if each.host == "token"]) == 2


UNUSABLE = [
    ("ftp://127.0.0.1/", "it has to be https"),
    ("http://user:secret@127.0.0.1/", "it has a login in it"),
    ("http://[::1", "it is not valid"),
    ("https://registry.example:99999/", "it is not valid"),
    ("https://registry.example:port/", "it is not valid"),
    ("https://a..example/", "it is not valid"),
]


@pytest.mark.parametrize(("realm", "why"), [*UNUSABLE, ("/token", "it has no host"), ("x", "it has no host")])
async def test_a_token_server_that_cannot_be_used(there: FakeUpstream, relay: Relay, realm: str, why: str) -> None:
    there.realm = realm
    there.add_image("team/app", "v1")

    answer = await pull(relay, "team/app", "v1")

    assert answer.error == (403, "DENIED")
    assert answer.message == f"docker.io names a token server that cannot be used: {why}"
    assert not [each for each in there.asked if each.host == "token"]


async def test_those_who_need_a_token_at_once_cause_one_request_for_it(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("team/app", "v1", "v2")

    answers = await asyncio.gather(*(pull(relay, "team/app", tag) for tag in ("v1", "v2")))

    assert [each.status for each in answers] == [200, 200]
    assert len([each for each in there.asked if each.host == "token"]) == 1


# Upstreams that fail


NOTHING_GIVEN = "the token server of docker.io gives no token"


@pytest.mark.parametrize(
    ("kind", "answer", "why"),
    [
        ("token", content(b"{}", "application/json"), f"{NOTHING_GIVEN} (200)"),
        ("token", content(b'{"token": 5}', "application/json"), f"{NOTHING_GIVEN} (200)"),
        ("token", content(b'{"token": "a\\r\\nb"}', "application/json"), f"{NOTHING_GIVEN} (200)"),
        ("token", content(b"<html>", "text/html"), f"{NOTHING_GIVEN} (200)"),
        ("token", status(404), f"{NOTHING_GIVEN} (404)"),
        ("token", status(403), "docker.io refuses team/app without a login"),
        ("manifests", status(403), "docker.io refuses team/app without a login"),
        ("manifests", status(418), "docker.io answered 418 when it was asked for team/app"),
        ("manifests", broken(b"{", 100), "docker.io broke off ("),
    ],
    ids=["nothing", "a number", "two lines", "a page", "no 404", "no 403", "403", "418", "broken"],
)
async def test_what_is_no_token_or_no_image_is_told_and_then_forgotten(
    there: FakeUpstream, relay: Relay, kind: str, answer: Planned, why: str
) -> None:
    image = there.add_image("team/app", "v1")
    there.plan[kind].append(answer)

    refused = await pull(relay, "team/app", "v1")

    assert refused.error == (403, "DENIED")
    assert refused.message.startswith(why)
    assert (await pull(relay, "team/app", "v1")).body == image.content


async def test_a_limit_that_is_short_and_comes_again_and_again_is_told(there: FakeUpstream, relay: Relay) -> None:
    image = there.add_image("team/app", "v1")
    there.plan["manifests"] += [status(429, Retry_After="0")] * 3

    told = await pull(relay, "team/app", "v1")

    assert told.error == (429, "TOOMANYREQUESTS")
    assert told.headers["Retry-After"] == "1"
    assert (await pull(relay, "team/app", "v1")).body == image.content


async def test_a_rest_that_begins_elsewhere_is_not_taken(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(5 * MIB)
    there.add_image("team/app", "v1", layers=(layer,))
    await pull(relay, "team/app", "v1")

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Range": f"bytes 5-{len(layer) - 1}/{len(layer)}"}
        return web.Response(status=206, body=layer[5:], headers=headers)

    there.plan["blobs"] += [broken(layer[: 3 * MIB], len(layer)), elsewhere]

    with pytest.raises(ClientPayloadError):
        await blob(relay, "team/app", Digest.of(layer))
    assert (await blob(relay, "team/app", Digest.of(layer))).body == layer


async def test_a_tag_that_is_nowhere(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3")

    named = await pull(relay, "library/alpine", "9")
    implied = await pull(relay, "library/alpine", "9", "", headers=DOCKER)

    assert [named.error, implied.error] == [(404, "MANIFEST_UNKNOWN")] * 2
    assert "neither this relay nor docker.io has library/alpine:9" in named.message
    assert "alpine:9 is not here" in implied.message


async def test_wrong_bytes_are_never_served_whole_nor_kept(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(5 * MIB)
    there.add_image("library/alpine", "3", layers=(layer, b"small"))
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"] += [content(layer[:-1] + b"!"), content(b"other"), content(b"too many"), content(b"few")]

    with pytest.raises(ClientPayloadError):
        await blob(relay, "library/alpine", Digest.of(layer))
    for _ in range(3):
        wrong = await blob(relay, "library/alpine", Digest.of(b"small"))
        assert wrong.error == (403, "DENIED")
        assert "docker.io sent" in wrong.message
    await until(lambda: not relay.files("uploads"))
    assert relay.files("blobs") == []
    assert (await blob(relay, "library/alpine", Digest.of(layer))).body == layer
    assert (await blob(relay, "library/alpine", Digest.of(b"small"))).body == b"small"


async def test_of_too_many_bytes_it_is_told_who_sent_them(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(3 * MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"] += [content(layer + b"!")] * 8

    for _ in range(8):
        with suppress(ClientPayloadError):  # it broke off after the first piece
            wrong = await blob(relay, "library/alpine", Digest.of(layer))
            assert wrong.error == (403, "DENIED")
            assert wrong.message.startswith("docker.io sent more bytes than it should")


async def test_the_file_of_wrong_bytes_is_closed_at_once(there: FakeUpstream, relay: Relay) -> None:
    def opened() -> list[str]:
        return [path for path in map(_target, Path("/proc/self/fd").iterdir()) if str(relay.data / "spool") in path]

    there.add_image("library/alpine", "3", layers=(b"small",))
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"] += [content(b"other")] * 5
    gc.disable()
    try:
        for _ in range(5):
            assert (await blob(relay, "library/alpine", Digest.of(b"small"))).status == 403
        await until(lambda: not relay.files("uploads"))
        assert opened() == []
    finally:
        gc.enable()


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:  # closed meanwhile
        return ""


async def test_a_wrong_manifest_is_not_served(there: FakeUpstream, relay: Relay) -> None:
    image, other = there.add_image("library/alpine", "3"), pushed_image(b"{}", b"other")
    lie = {"Docker-Content-Digest": str(image.digest)}
    there.plan["manifests"] += [
        content(other.content, other.media_type),
        content(other.content, other.media_type, **lie),
        content(b"<html>", "text/html"),
        content(b"[" * (4 * MIB + 1), image.media_type),
    ]

    assert (await pull(relay, "library/alpine", image.digest)).error == (403, "DENIED")
    for _ in range(3):
        assert (await pull(relay, "library/alpine", "3")).error == (403, "DENIED")
    assert (await pull(relay, "library/alpine", "3")).body == image.content


@pytest.mark.parametrize("with_ranges", [True, False])
async def test_a_layer_that_breaks_off_goes_on_where_it_was(
    there: FakeUpstream, relay: Relay, with_ranges: bool
) -> None:
    layer = noise(5 * MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"].append(broken(layer[: 3 * MIB], len(layer)))
    if not with_ranges:
        there.plan["blobs"].append(content(layer))

    assert (await blob(relay, "library/alpine", Digest.of(layer))).body == layer
    assert len(there.requests("blobs")) == 2


async def test_a_layer_may_break_off_as_often_as_it_gets_on(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(10 * MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    await pull(relay, "library/alpine", "3")

    async def two_more(request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0
        response = web.StreamResponse(status=206 if start else 200)
        response.headers["Content-Range"] = f"bytes {start}-{len(layer) - 1}/{len(layer)}"
        response.content_length = len(layer) - start
        await response.prepare(request)
        await response.write(layer[start : start + 2 * MIB])
        assert request.transport
        request.transport.close()
        return response

    there.plan["blobs"] += [two_more] * 4

    assert (await blob(relay, "library/alpine", Digest.of(layer))).body == layer


async def test_a_layer_that_breaks_off_again_and_again_is_cut_off(there: FakeUpstream, relay: Relay) -> None:
    layer = noise(5 * MIB)
    there.add_image("library/alpine", "3", layers=(layer,))
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"] += [broken(layer[: 3 * MIB], len(layer)), *[broken(b"", 1)] * 2]

    with pytest.raises(ClientPayloadError):
        await blob(relay, "library/alpine", Digest.of(layer))
    await until(lambda: not relay.files("uploads"))
    assert relay.files("blobs") == []


async def test_a_rate_limit_is_told_and_kept(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3")
    there.plan["manifests"].append(status(429, Retry_After="3600"))

    answers = [await pull(relay, "library/alpine", "3") for _ in range(3)]

    assert [each.error for each in answers] == [(429, "TOOMANYREQUESTS")] * 3
    assert 3590 <= int(answers[2].headers["Retry-After"]) <= 3600
    assert "docker.io accepts no more requests" in answers[0].message
    assert len(there.asked) == 1


@pytest.mark.parametrize("kind", ["manifests", "token"])
@pytest.mark.parametrize(
    ("after", "seconds"),
    [
        ("3600", 3600),
        (timedelta(hours=12), 12 * 3600),
        ("9" * 30, 86_400),
        ("soon", 60),
        ("-5", 60),
        ("", 60),
    ],
    ids=["seconds", "date", "for ever", "a word", "before now", "nothing"],
)
async def test_a_rate_limit_of_the_registry_or_its_token_server_is_passed_on(
    there: FakeUpstream, relay: Relay, kind: str, after: str | timedelta, seconds: int
) -> None:
    there.add_image("library/alpine", "3")
    if isinstance(after, timedelta):
        after = format_datetime(datetime.now(UTC) + after, usegmt=True)
    there.plan[kind].append(status(429, Retry_After=after))

    answers = [await pull(relay, "library/alpine", "3") for _ in range(2)]

    assert [each.error for each in answers] == [(429, "TOOMANYREQUESTS")] * 2
    assert int(answers[1].headers["Retry-After"]) == pytest.approx(seconds, abs=30)
    assert len([each for each in there.asked if each.host == "registry"]) == 1


async def test_a_short_rate_limit_is_waited_for(there: FakeUpstream, relay: Relay) -> None:
    image = there.add_image("library/alpine", "3")
    there.plan["manifests"].append(status(429, Retry_After="1"))

    assert (await pull(relay, "library/alpine", "3")).body == image.content


async def test_what_passes_is_tried_again(there: FakeUpstream, relay: Relay) -> None:
    image = there.add_image("library/alpine", "3")
    there.plan["manifests"] += [status(503), status(500)]
    there.plan["token"].append(status(502))

    assert (await pull(relay, "library/alpine", "3")).status == 403
    assert (await pull(relay, "library/alpine", "3")).body == image.content


async def test_an_upstream_that_is_down(there: FakeUpstream, relay: Relay, tmp_path: Path) -> None:
    async with (
        upstream() as gone,
        running(tmp_path / "down", limits=LIMITS, upstreams=(f"docker.io={gone.host}",)) as lonely,
    ):
        pass
    async with running(tmp_path / "down", limits=LIMITS, upstreams=(f"docker.io={gone.host}",)) as lonely:
        refused = await pull(lonely, "library/alpine", "3")
    assert refused.error == (403, "DENIED")
    assert "docker.io has failed" in refused.message
    assert relay.port != lonely.port
    assert there.asked == []


async def test_a_tag_is_asked_for_again_after_a_while_and_answers_though_its_registry_is_down(
    there: FakeUpstream, start: Start
) -> None:
    first = there.add_image("library/alpine", "3")
    async with start(limits=replace(LIMITS, upstream_tag=0.0)) as relay:
        await pull(relay, "library/alpine", "3")
        there.asked.clear()
        assert (await pull(relay, "library/alpine", "3")).body == first.content
        assert [each.method for each in there.asked] == ["HEAD"]
        there.plan["manifests"].extend([status(503)] * 3)
        assert (await pull(relay, "library/alpine", "3")).body == first.content
        second = there.add_image("library/alpine", "3", layers=(b"newer",))
        assert (await pull(relay, "library/alpine", "3")).body == second.content


@pytest.mark.parametrize(("place", "why"), UNUSABLE)
async def test_redirects_that_are_not_followed(there: FakeUpstream, relay: Relay, place: str, why: str) -> None:
    there.add_image("library/alpine", "3")
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"].append(status(307, Location=place))

    answer = await blob(relay, "library/alpine", Digest.of(b"layer"))

    assert answer.error == (403, "DENIED")
    assert answer.message == f"docker.io redirects to an address that cannot be used: {why}"


async def test_redirects_in_a_circle(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3")
    await pull(relay, "library/alpine", "3")
    there.plan["blobs"].extend([status(307, Location="?again")] * 5)

    assert (await blob(relay, "library/alpine", Digest.of(b"layer"))).error == (403, "DENIED")


# Patience


async def test_a_slow_upstream_redirects_the_client_to_itself(there: FakeUpstream, start: Start) -> None:
    image, go = there.add_image("library/alpine", "3"), asyncio.Event()

    async def late(_: web.Request) -> web.StreamResponse:
        await go.wait()
        return web.Response(body=image.content, headers={"Content-Type": image.media_type})

    there.plan["manifests"].append(late)
    async with start(limits=replace(LIMITS, first_answer=0.05)) as relay:
        hop = await pull(relay, "library/alpine", "3")
        assert hop.status == 307
        hop = await relay.ask("GET", hop.headers["Location"])
        assert hop.status == 307
        go.set()
        while hop.status == 307:
            hop = await relay.ask("GET", hop.headers["Location"])
        assert hop.body == image.content
    assert len(there.requests("manifests")) == 1


async def test_a_tag_that_is_nowhere_yet_is_waited_for(there: FakeUpstream, start: Start) -> None:
    async with start(wait=30, limits=replace(LIMITS, wait_pauses=(0.05,))) as relay:
        waiting = asyncio.ensure_future(pull(relay, "team/app", "v1", "?ns=ghcr.io"))
        await until(lambda: there.asked)
        pushed = await relay.push_image("v1", name="ghcr.io/team/app")
        assert (await waiting).body == pushed.content
    assert len(there.requests("manifests")) == 2, "without a token, and with one"


async def test_header_summary_and_metrics_name_the_registry(there: FakeUpstream, relay: Relay) -> None:
    there.add_image("library/alpine", "3")
    manifest = await pull(relay, "library/alpine", "3")
    layers = [await blob(relay, "library/alpine", Digest.of(b"layer")) for _ in range(2)]  # then it is in the cache
    relay.services.pulls.end()

    assert [each.headers["Image-Relay-From"] for each in (manifest, *layers)] == ["docker.io"] * 3
    summary = (await relay.ask("GET", "/relay/summary")).body.decode()
    assert "docker.io/library/alpine:3" in summary
    assert "docker pull" not in summary, "it is no image of this run, and may be none for an engine"
    figures = (await relay.ask("GET", "/metrics")).body.decode()
    assert 'image_relay_call_bytes_total{direction="received",service="upstream"}' in figures


# Kept in the run


async def test_what_was_pulled_is_kept_for_the_other_jobs(there: FakeUpstream, start: Start) -> None:
    layer = noise(3 * MIB)
    children = [there.add_image("library/alpine", layers=(name, layer)) for name in (b"amd64", b"arm64")]
    index = there.add("library/alpine", pushed_index(*(each.descriptor() for each in children)), "3")
    async with start(upstream_keep=True, spool_limit=100 * MIB) as relay:
        for reference in ("3", children[0].digest):
            await pull(relay, "library/alpine", reference)
        await blob(relay, "library/alpine", Digest.of(b"amd64"))  # its client has the other layer
        await until(relay.artifacts)
    for path in (relay.data / "spool").rglob("*"):
        if path.is_file():
            path.unlink()
    there.asked.clear()

    async with start(upstream_keep=True) as other:
        assert (await pull(other, "library/alpine", "3")).body == index.content
        assert (await pull(other, "library/alpine", children[0].digest)).body == children[0].content
        assert (await blob(other, "library/alpine", Digest.of(layer))).body == layer
        head = await other.ask("HEAD", f"/v2/library/alpine/blobs/{Digest.of(layer)}?ns=docker.io")
        assert head.headers["Content-Length"] == str(len(layer))
        assert (await pull(other, "alpine", "3", "")).status == 404
        assert (await pull(other, "library/alpine", "3", "?ns=ghcr.io")).body == index.content
        assert {each.path for each in there.asked} == {"/token", "/v2/library/alpine/manifests/3"}
        there.asked.clear()
        assert (await pull(other, "library/alpine", children[1].digest)).body == children[1].content
        assert there.requests()


async def test_what_cannot_be_kept_is_pulled_all_the_same(
    there: FakeUpstream, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    image = there.add_image("library/alpine", "3")
    there.plan["blobs"].append(status(404))
    async with start(upstream_keep=True) as relay:
        assert (await pull(relay, "library/alpine", "3")).body == image.content
        assert (await blob(relay, "library/alpine", Digest.of(b"layer"))).status == 404
        there.plan["blobs"].append(status(404))
        await until(lambda: "is not kept" in caplog.text)
        assert relay.artifacts() == []
