"""A relay that is stopped, as `docker stop` does it, keeps what it has promised, whatever its clients do."""

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import tarballs
from tests.e2e.images import CONFIG, MANIFEST, Descriptor, digest_of
from tests.e2e.impatient import ImpatientClient, random_mebibytes
from tests.e2e.jobs import Jobs
from tests.e2e.relay import DIRECTORY, Relay
from tests.fakes.actions.faults import Delay

# A relay has eight seconds to end, with clients that take longer: 20 s each.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_KILL = 10.0  # seconds after which `docker stop` kills
_BIG = 8  # mebibytes; more than sockets buffer
_STOPPING = "image-relay is stopping"
_SETTINGS = {"RELAY_SETTLE_SECONDS": "3600", "RELAY_LOG_LEVEL": "debug"}
_PENDING = 4  # images that were pushed by digest alone
_CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'

Promises = dict[tuple[str, str], str]  # by name and tag or digest: the digest that was answered with 201
Situation = Callable[[Relay, Promises], AbstractContextManager[None]]


# What is pushed


def manifest_of(config: Descriptor, *layers: Descriptor) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).encode()


def put(relay: Relay, name: str, reference: str, manifest: bytes, patience: float = 60.0) -> int:
    headers = {"Content-Type": MANIFEST}
    return relay.request("PUT", f"/v2/{name}/manifests/{reference}", headers, manifest, patience=patience)[0]


def uploaded(relay: Relay, name: str, mebibytes: int = 1) -> bytes:
    """Upload what a manifest names, and return the manifest."""
    client = ImpatientClient(relay, name)
    return manifest_of(client.push([_CONFIG], CONFIG), client.push(random_mebibytes(mebibytes)))


def pushed_by_digest(relay: Relay, promises: Promises, name: str, mebibytes: int = 1) -> str:
    manifest = uploaded(relay, name, mebibytes)
    digest = digest_of(manifest)
    assert put(relay, name, digest, manifest) == 201
    promises[name, digest] = digest
    return digest


def check(relay: Relay, promises: Promises) -> None:
    """Pull what was promised, all of it."""
    for (name, reference), digest in promises.items():
        manifest = relay.read(f"/v2/{name}/manifests/{reference}")
        assert digest_of(manifest) == digest
        for each in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
            assert digest_of(relay.read(f"/v2/{name}/blobs/{each['digest']}")) == each["digest"]


# Clients


@contextmanager
def connected(relay: Relay, request: str, body: bytes = b"") -> Iterator[socket.socket]:
    """Send the beginning of a request, and read nothing."""
    with socket.create_connection(("localhost", relay.port), timeout=30) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"{request} HTTP/1.1\r\nHost: localhost:{relay.port}\r\n".encode() + body)
        yield client


def refusal(client: socket.socket) -> str:
    """Read an answer that has to be a refusal in the form of the registry, and return its sentence."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.status == 403
    (error,) = json.loads(answer.read())["errors"]
    assert error["code"] == "DENIED"
    return str(error["message"])


@contextmanager
def idle(relay: Relay, _: Promises) -> Iterator[None]:
    with connected(relay, "GET /v2/", b"\r\n") as client:
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert json.load(answer) == {}
        yield
        assert client.recv(1) == b""


@contextmanager
def kept_alive(relay: Relay, promises: Promises) -> Iterator[None]:
    """Who asks for something new on an open connection is told why there is no answer."""
    with connected(relay, "GET /v2/", b"\r\n") as client, stuck_pull(relay, promises):
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert json.load(answer) == {}
        asking = threading.Timer(1, client.sendall, [b"GET /relay/health HTTP/1.1\r\nHost: localhost\r\n\r\n"])
        asking.start()
        yield
        asking.join()
        assert refusal(client).startswith(_STOPPING)


def _layer(relay: Relay) -> str:
    return str(json.loads(relay.read("/v2/app/manifests/v1"))["layers"][0]["digest"])


@contextmanager
def stuck_pull(relay: Relay, _: Promises) -> Iterator[None]:
    with connected(relay, f"GET /v2/app/blobs/{_layer(relay)}", b"\r\n") as client:
        assert client.recv(8) == b"HTTP/1.1"
        yield


@contextmanager
def stuck_tarball(relay: Relay, _: Promises) -> Iterator[None]:
    with connected(relay, "GET /relay/images/app:v1", b"\r\n") as client:
        assert client.recv(8) == b"HTTP/1.1"
        yield


@contextmanager
def slow_pull(relay: Relay, _: Promises) -> Iterator[None]:
    received = bytearray()

    def read() -> None:
        try:
            while chunk := client.recv(4096):
                received.extend(chunk)
                time.sleep(0.01)
        except OSError:  # cut
            pass

    with connected(relay, f"GET /v2/app/blobs/{_layer(relay)}", b"\r\n") as client:
        reader = threading.Thread(target=read)
        reader.start()
        yield
        reader.join()
    assert len(received) < _BIG << 20  # it has no end, so nobody takes it for the whole


@contextmanager
def upload(relay: Relay, _: Promises) -> Iterator[None]:
    """A body that does not end gets its answer before the relay does."""
    location = relay.request("POST", "/v2/app/blobs/uploads/")[1]["Location"]
    chunk = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with connected(relay, f"PATCH {location}", chunk) as client:
        while relay.request("GET", location)[1]["Range"] != "0-4":
            pass
        yield
        assert refusal(client).startswith(_STOPPING)


@contextmanager
def open_upload(relay: Relay, _: Promises) -> Iterator[None]:
    assert relay.request("POST", "/v2/pending/blobs/uploads/")[0] == 202
    yield


@contextmanager
def tarball_coming(relay: Relay, _: Promises) -> Iterator[None]:
    body = tarballs.legacy_save(tarballs.sample(), "app:tarball")
    head = f"Content-Length: {len(body)}\r\n\r\n".encode()
    with connected(relay, "PUT /relay/images/app:tarball", head + body[:-1]) as client:
        yield
        assert refusal(client).startswith(_STOPPING)


@contextmanager
def _asking(ask: Callable[[], int], statuses: list[int]) -> Iterator[None]:
    """Wait for an answer while the relay is stopped; 0 stands for a connection that was cut."""

    def run() -> None:
        try:
            statuses.append(ask())
        except (OSError, http.client.HTTPException):
            statuses.append(0)

    asking = threading.Thread(target=run)
    asking.start()
    time.sleep(0.2)  # so that it has come to the store, in most runs
    yield
    asking.join()


@contextmanager
def seal(relay: Relay, promises: Promises) -> Iterator[None]:
    """A push by tag on its way to the store."""
    manifest, statuses = uploaded(relay, "app"), list[int]()
    with _asking(lambda: put(relay, "app", "sealed", manifest), statuses):
        yield
    assert statuses == [201]
    promises["app", "sealed"] = digest_of(manifest)


@contextmanager
def tarball(relay: Relay, promises: Promises) -> Iterator[None]:
    """A tarball that has come, and is on its way to the store."""
    body, statuses, answers = tarballs.oci_save(tarballs.sample(), "app:saved"), list[int](), list[bytes]()

    def send() -> int:
        status, _, said = relay.request("PUT", "/relay/images/app:saved", None, body)
        answers.append(said)
        return status

    with _asking(send, statuses):
        yield
    assert statuses == [201]
    promises["app", "saved"] = json.loads(answers[0])["images"][0]["digest"]


@contextmanager
def flush(relay: Relay, _: Promises) -> Iterator[None]:
    statuses = list[int]()
    with _asking(lambda: relay.request("POST", "/relay/flush")[0], statuses):
        yield
    assert statuses == [200]


@contextmanager
def all_at_once(relay: Relay, promises: Promises) -> Iterator[None]:
    with ExitStack() as stack:
        for each in _SITUATIONS[:-1]:
            stack.enter_context(each(relay, promises))
        yield


_SITUATIONS: Sequence[Situation] = [
    *(
        idle,
        kept_alive,
        stuck_pull,
        stuck_tarball,
        slow_pull,
        upload,
        open_upload,
        tarball_coming,
        seal,
        tarball,
        flush,
    ),
    all_at_once,
]


def stop(relay: Relay, promises: Promises, situation: Situation) -> int:
    """Do as `docker stop` does, and return the exit status; it has to end before it would be killed."""
    with situation(relay, promises):
        began = time.monotonic()
        relay.signal()
        status = relay.ended(_KILL)
        print(f"{situation.__name__}: ended with {status} after {time.monotonic() - began:.2f} s")  # noqa: T201
    return status


def prepared(relay: Relay) -> Promises:
    """Push an image by tag, and some by digest alone."""
    promises: Promises = {}
    manifest = uploaded(relay, "app", _BIG)
    assert put(relay, "app", "v1", manifest) == 201
    promises["app", "v1"] = digest_of(manifest)
    for number in range(_PENDING):
        pushed_by_digest(relay, promises, f"pending{number % 3}")
    return promises


@pytest.mark.parametrize("situation", _SITUATIONS)
def test_what_was_promised_is_in_the_folder(situation: Situation, tmp_path: Path) -> None:
    relay = Relay(tmp_path / "data", environment={**DIRECTORY, **_SETTINGS})
    relay.start()
    try:
        promises = prepared(relay)

        assert stop(relay, promises, situation) == 0, relay.log
        relay.forget_all_but_archives()
        relay.start()

        check(relay, promises)
    finally:
        relay.kill()


@pytest.mark.parametrize("situation", _SITUATIONS)
def test_what_was_promised_is_in_the_run_though_storage_is_slow(situation: Situation, jobs: Jobs) -> None:
    relay = jobs.start({**jobs.environment(), **_SETTINGS})
    promises = prepared(relay)
    jobs.actions.plan.play("put_block_list", Delay(1), times=None)

    assert stop(relay, promises, situation) == 0, relay.log

    check(jobs.relay("test"), promises)


def test_what_does_not_fit_is_named_and_served_again_from_the_folder(jobs: Jobs) -> None:
    relay = jobs.start({**jobs.environment(), **_SETTINGS, "RELAY_UPLOAD_CONCURRENCY": "1"})
    stored: Promises = {}
    small = pushed_by_digest(relay, stored, "small")
    kept: Promises = {}
    big = pushed_by_digest(relay, kept, "big", 2 * _BIG)
    manifest, statuses = uploaded(relay, "app", _BIG), list[int]()
    jobs.actions.plan.play("put_block", Delay(3), times=None)  # four mebibytes

    with _asking(lambda: put(relay, "app", "v1", manifest), statuses):
        relay.signal()
        assert relay.ended(_KILL) == 1

    assert statuses == [403]
    assert f"small@{small} is not durable" not in relay.log
    assert f"big@{big} is not durable: there was no time to store it" in relay.log
    assert f"a relay with the same data folder ({relay.data}) will have it again" in relay.log
    assert "app:v1 was not stored before the end; push it again" in relay.log
    jobs.actions.plan.clear()
    other = jobs.relay("test")
    check(other, stored)
    assert other.digest("app", "v1") is None
    relay.start()
    check(relay, kept)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_next_signal_ends_it_at_once(number: signal.Signals, relay: Relay) -> None:
    promises = prepared(relay)
    with stuck_pull(relay, promises):
        relay.signal(number)
        while "stopping" not in relay.log:
            pass
        relay.signal(number)
        assert relay.ended(_KILL) == 128 + number  # as who does not wait for the client
    assert "Traceback" not in relay.log
