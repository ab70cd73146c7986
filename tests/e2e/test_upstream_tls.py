"""A mirror of a real registry behind TLS, whose certificate is of an authority that only SSL_CERT_FILE names."""

import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST
from tests.api.relay import CONFIG, described, document
from tests.e2e.relay import DIRECTORY, Relay
from tests.machine import require
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ADDRESS = "0.0.0.0"  # noqa: S104 - connects to this machine, and is not by its name a loopback address, which needs no TLS
LAYER = bytes(range(256)) * 20_000
BLOBS = (b'{"os":"linux","architecture":"amd64"}', LAYER)
IMAGE = document(config=described(BLOBS[0], CONFIG), layers=[described(LAYER)])
_SETTINGS = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}}}
"""


def _made(folder: Path, what: str) -> None:
    subprocess.run([require("openssl"), *what.format(folder=folder).split()], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority, and the certificate and key of a registry beside it."""
    folder = tmp_path_factory.mktemp("tls")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    (folder / "names").write_text(f"subjectAltName=IP:{ADDRESS}\n")
    _made(folder, f"req -x509 {key} -days 2 -subj /CN=authority -keyout {{folder}}/ca.key -out {{folder}}/ca.pem")
    _made(folder, f"req {key} -subj /CN=registry -keyout {{folder}}/key.pem -out {{folder}}/request.pem")
    signed = "x509 -req -in {folder}/request.pem -CA {folder}/ca.pem -CAkey {folder}/ca.key -CAcreateserial -days 2"
    _made(folder, f"{signed} -extfile {{folder}}/names -out {{folder}}/cert.pem")
    return folder / "ca.pem"


@pytest.fixture(scope="module")
def registry(authority: Path) -> Iterator[str]:
    """A registry with an image; gives its host and port."""
    folder, port = authority.parent, free_port()
    (folder / "config.yml").write_text(_SETTINGS.format(folder=folder, port=port))
    command = [require("docker-registry"), "serve", str(folder / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _push(port, ssl.create_default_context(cafile=str(authority)))
            yield f"{ADDRESS}:{port}"
        finally:
            process.kill()


def _push(port: int, trusting: ssl.SSLContext) -> None:
    def ask(method: str, path: str, body: bytes = b"", media_type: str = "application/octet-stream") -> tuple[int, str]:
        connection = HTTPSConnection(ADDRESS, port, context=trusting, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": media_type})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Location", "")
        finally:
            connection.close()

    end = time.monotonic() + 20
    while True:
        try:
            assert ask("GET", "/v2/")[0] == 200
            break
        except ConnectionError:
            assert time.monotonic() < end, "the registry does not start"
            time.sleep(0.05)
    for blob in BLOBS:
        _, location = ask("POST", "/v2/team/app/blobs/uploads/")
        path = location.partition(str(port))[2]
        assert ask("PUT", f"{path}&digest={Digest.of(blob)}", blob)[0] == 201
    assert ask("PUT", "/v2/team/app/manifests/v1", IMAGE.content, OCI_MANIFEST)[0] == 201


def _relay(folder: Path, registry: str, **environment: str) -> Relay:
    return Relay(folder / "data", environment={**DIRECTORY, "RELAY_UPSTREAMS": f"ghcr.io={registry}", **environment})


def test_a_registry_with_a_certificate_of_an_own_authority(registry: str, authority: Path, tmp_path: Path) -> None:
    relay = _relay(tmp_path, registry, SSL_CERT_FILE=str(authority))
    relay.start()
    try:
        assert relay.read("/v2/ghcr.io/team/app/manifests/v1") == IMAGE.content
        for blob in BLOBS:
            assert relay.read(f"/v2/ghcr.io/team/app/blobs/{Digest.of(blob)}") == blob
    finally:
        relay.kill()


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(registry: str, tmp_path: Path) -> None:
    relay = _relay(tmp_path, registry, SSL_CERT_FILE="")
    relay.start()
    try:
        status, _, body = relay.request("GET", "/v2/ghcr.io/team/app/manifests/v1")
    finally:
        relay.kill()

    (error,) = json.loads(body)["errors"]
    assert (status, error["code"]) == (403, "DENIED")
    assert error["message"] == (
        f"ghcr.io gives no answer: the certificate of {ADDRESS} is not trusted; "
        "SSL_CERT_FILE can name a file with that of its authority"
    )
