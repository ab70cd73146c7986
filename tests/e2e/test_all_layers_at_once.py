"""An image of as many layers as an engine takes, all of which Docker 29 sends and fetches at once, without a limit."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import Barrier

import pytest

from tests.e2e.images import Descriptor
from tests.e2e.impatient import ImpatientClient, random_mebibytes
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay

# A gibibyte each way: a minute on a quiet machine.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.usefixtures("measured")]

LAYERS = 127
MEBIBYTES = 8  # of each layer
MOST = 150 * 1024  # KiB
_PATIENCE = 300.0  # seconds without a byte
_TEXT = b"".join(b"line %d of a file that compresses well\n" % number for number in range(30_000))[: 1 << 20]


def text_mebibytes(mebibytes: int) -> Iterator[bytes]:
    """Yield content that compresses, and of which no two layers are the same."""
    yield os.urandom(16)
    for _ in range(mebibytes):
        yield _TEXT


CONTENTS: dict[str, Callable[[int], Iterator[bytes]]] = {"random": random_mebibytes, "text": text_mebibytes}


@pytest.fixture(params=CONTENTS)
def content(request: pytest.FixtureRequest) -> Callable[[int], Iterator[bytes]]:
    return CONTENTS[request.param]


def test_of_a_directory(relay: Relay, content: Callable[[int], Iterator[bytes]]) -> None:
    layers = _pushed(relay, content)
    assert relay.rss_peak_kib() < MOST
    relay.stop()
    relay.start()

    _pull(relay, layers)

    assert relay.rss_peak_kib() < MOST


def test_of_artifacts(light_jobs: Jobs, content: Callable[[int], Iterator[bytes]]) -> None:
    relay = light_jobs.relay("build")
    layers = _pushed(relay, content)
    other = light_jobs.relay("test")

    _pull(other, layers)

    assert other.rss_peak_kib() < MOST


def _pushed(relay: Relay, content: Callable[[int], Iterator[bytes]]) -> list[Descriptor]:
    """Push all layers at once, then their manifest."""
    began = Barrier(LAYERS, timeout=_PATIENCE)

    def push(_: int) -> Descriptor:
        began.wait()
        return ImpatientClient(relay, "app", _PATIENCE).push(content(MEBIBYTES))

    with ThreadPoolExecutor(LAYERS) as threads:
        layers = list(threads.map(push, range(LAYERS)))
    ImpatientClient(relay, "app").tag("v1", layers)
    return layers


def _pull(relay: Relay, layers: list[Descriptor]) -> None:
    """Pull all layers at once, and check each."""
    manifest = json.loads(relay.read("/v2/app/manifests/v1"))
    assert [each["digest"] for each in manifest["layers"]] == [each["digest"] for each in layers]
    began = Barrier(LAYERS, timeout=_PATIENCE)

    def pull(layer: Descriptor) -> str:
        began.wait()
        path, found = f"/v2/app/blobs/{layer['digest']}", hashlib.sha256()
        while True:
            connection = HTTPConnection("127.0.0.1", relay.port, timeout=_PATIENCE)
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            if answer.status != 307:
                break
            path = answer.headers["Location"]
        assert answer.status == 200, answer.read()
        while part := answer.read(64 * 1024):
            found.update(part)
        return f"sha256:{found.hexdigest()}"

    with ThreadPoolExecutor(LAYERS) as threads:
        assert list(threads.map(pull, layers)) == [each["digest"] for each in layers]
