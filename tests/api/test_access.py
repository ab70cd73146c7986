import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from aiohttp.typedefs import Middleware

from proxy.api import access
from proxy.api.errors import as_oci_errors
from proxy.api.server import bind_all, listen

SECRET = "pässword: with colon"  # noqa: S105


class Client:
    """Asks a real server that lets everything through but for the middleware under test."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str = "GET", path: str = "/v2/", **headers: str) -> tuple[int, str, str]:
        """Return status, WWW-Authenticate and the sentence of an error."""
        async with self._session.request(method, self._url + path, headers=headers) as answer:
            text = await answer.text()
            sentence = json.loads(text)["errors"][0]["message"] if text else ""
            return answer.status, answer.headers.get("WWW-Authenticate", ""), sentence


@asynccontextmanager
async def behind(middleware: Middleware) -> AsyncIterator[Client]:
    async def pass_through(_: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(middlewares=[as_oci_errors, middleware])
    app.router.add_route("*", "/{anything:.*}", pass_through)
    async with listen(app, bind_all(["127.0.0.1"], 0)) as port, ClientSession() as session:
        yield Client(session, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "host",
    [
        "localhost:5000",
        "localhost",
        "LOCALHOST.",
        "relay:5000",
        "127.0.0.1:5000",
        "192.168.1.7",
        "[::1]:5000",
        "[::ffff:127.0.0.1]:5000",
        "host.docker.internal:5000",
        "Registry.Example:443",
        "registry.example.",
        "registry.localhost:5000",
        "a.b.LOCALHOST.",
        "",
    ],
)
async def test_names_that_can_only_mean_this_machine_pass(host: str) -> None:
    async with behind(access.hosts(lambda: ["registry.example:5000"])) as client:
        assert (await client.ask(Host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:5000",
        "evil.example",
        "127.0.0.1.nip.io:5000",
        "localhost.evil.example",
        "evil.example.notlocalhost",
        "registry.example.evil.example",
        "evil.example:80@localhost",
        "localhost@evil.example",
        "[evil.example]:5000",
        "evil.example:5000:5000",
        "1.2.3.4.5",
    ],
)
async def test_a_foreign_name_with_a_dot_is_refused(host: str) -> None:
    async with behind(access.hosts(lambda: ["registry.example:5000"])) as client:
        status, _, sentence = await client.ask(Host=host)

    assert status == 421
    assert sentence.endswith(f"if it should, start it with RELAY_PUBLIC_HOST={host}")


async def test_without_a_public_host_of_its_own_the_defaults_pass() -> None:
    async with behind(access.hosts(lambda: ["[::1]:5000"])) as client:
        assert (await client.ask(Host="[::1]:5000"))[0] == 200
        assert (await client.ask(Host="registry.example"))[0] == 421


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("user", ["", "me", "käthe"])
async def test_the_password_passes_with_any_user_name(user: str) -> None:
    async with behind(access.password(SECRET, lambda: "localhost:5001")) as client:
        assert (await client.ask(Authorization=basic(user, SECRET)))[0] == 200
        assert (await client.ask(Authorization=basic(user, SECRET).replace("Basic", "bAsIc ")))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !!!",
        "Basic käse",
        "Basic " + base64.b64encode(SECRET.encode()).decode(),
        basic("me", ""),
        basic("me", SECRET + "x"),
        basic("me", SECRET[:-1]),
        basic(SECRET, "me"),
        basic("me", SECRET).replace("Basic", "Bearer"),
    ],
)
@pytest.mark.parametrize("path", ["/v2/", "/relay/images", "/relay/healthy", "/relay/health/x", "/metrics"])
async def test_anything_else_is_asked_for_the_password(header: str, path: str) -> None:
    async with behind(access.password(SECRET, lambda: "localhost:5001")) as client:
        status, challenge, sentence = await client.ask(path=path, Authorization=header)

    assert (status, challenge) == (401, 'Basic realm="image-relay"')
    assert sentence.endswith(": docker login localhost:5001, with any user name")


async def test_a_wrong_password_is_called_wrong_and_logged_but_the_question_whether_there_is_one_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with behind(access.password(SECRET, lambda: "localhost:5001")) as client:
        _, _, asked = await client.ask()
        _, _, empty = await client.ask(Authorization=basic("", ""))  # as skopeo and podman ask
        _, _, mistaken = await client.ask(Authorization=basic("me", "guess"))

    assert asked == empty
    assert asked.startswith("this relay has a password: ")
    assert mistaken.startswith("that is not the password of this relay: ")
    lines = [record for record in caplog.records if record.name == "proxy.api.access"]
    assert [(line.levelname, line.getMessage()) for line in lines] == [("WARNING", "GET /v2/: wrong password")]


async def test_a_health_check_needs_no_password() -> None:
    async with behind(access.password(SECRET, lambda: "localhost:5001")) as client:
        assert (await client.ask(path="/relay/health"))[0] == 200


CLOSED = "nothing can be pushed now"
KEPT = "images of another run stay"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/"),
        ("HEAD", "/v2/x"),
        ("OPTIONS", "/v2/"),
        ("GET", "/relay/images"),
        ("POST", "/relay/flush"),
        ("PUT", "/relay/session"),
        ("POST", "/relay/session"),  # the routes say that this is a PUT
    ],
)
async def test_a_relay_that_is_closed_still_answers_what_changes_nothing(method: str, path: str) -> None:
    async with behind(access.open_for(lambda: CLOSED, lambda: KEPT)) as client:
        assert (await client.ask(method, path))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v2/app/manifests/v1"),
        ("POST", "/v2/app/blobs/uploads/"),
        ("PATCH", "/v2/app/blobs/uploads/1"),
        ("PUT", "/relay/images/app:v1"),
        ("PROPFIND", "/v2/"),
    ],
)
async def test_a_relay_that_is_closed_refuses_every_change_and_says_why(method: str, path: str) -> None:
    async with behind(access.open_for(lambda: CLOSED, str)) as client:
        assert await client.ask(method, path) == (403, "", CLOSED)
        assert (await client.ask("DELETE"))[0] == 200


async def test_a_relay_may_refuse_deletions_alone() -> None:
    async with behind(access.open_for(str, lambda: KEPT)) as client:
        assert await client.ask("DELETE", "/v2/app/manifests/v1") == (403, "", KEPT)
        assert (await client.ask("PUT"))[0] == 200


async def test_a_relay_that_is_open_again_takes_changes() -> None:
    reasons = [CLOSED, ""]

    async with behind(access.open_for(lambda: reasons.pop(0), str)) as client:
        assert (await client.ask("PUT"))[0] == 403
        assert (await client.ask("PUT"))[0] == 200
