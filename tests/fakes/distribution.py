"""Debian's docker-registry (distribution 2.8) with token authentication, and the small token server that it trusts.

Anybody may pull; what is below `private/`, and every push, needs the login.
"""

import base64
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.e2e.clients import Toolbox
from tests.machine import require
from tests.ports import free_port

USER, PASSWORD = "somebody", "a-password"
_PRIVATE = "private/"
_START_SECONDS = 20.0
_SETTINGS = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth:
  token:
    realm: http://127.0.0.1:{tokens}/token
    service: test
    issuer: test
    rootcertbundle: {folder}/cert.pem
"""


class _TokenServer(ThreadingHTTPServer):
    """Answers with signed tokens; `scopes` are those that were asked for, with whether a login came."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.folder = folder
        self.scopes: list[tuple[str, bool]] = []

    def signed(self, claims: dict[str, object]) -> str:
        """Sign claims as a JSON Web Token (RFC 7519) with the key whose certificate the registry has."""
        pem = (self.folder / "cert.pem").read_text()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(pem.splitlines()[1:-1])]}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "key.pem")]
        signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True).stdout  # noqa: S603
        return f"{signed}.{_encoded(signature)}"


class _TokenHandler(BaseHTTPRequestHandler):
    server: _TokenServer

    def do_GET(self) -> None:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        sent = self.headers.get("Authorization", "")
        is_known, access = sent == f"Basic {login}", list[dict[str, object]]()
        for scope in parse_qs(urlsplit(self.path).query).get("scope", []):
            kind, name, actions = scope.split(":")
            self.server.scopes.append((scope, is_known))
            allowed = {"pull"} if not name.startswith(_PRIVATE) else set[str]()
            granted = sorted(set(actions.split(",")) & ({"pull", "push"} if is_known else allowed))
            access.append({"type": kind, "name": name, "actions": granted})
        now, refused = int(time.time()), bool(sent) and not is_known
        claims = {"iss": "test", "aud": "test", "exp": now + 300, "nbf": now - 10, "iat": now, "access": access}
        token = self.server.signed(claims | {"sub": "", "jti": secrets.token_hex(8)})
        body = json.dumps({} if refused else {"token": token}).encode()
        self.send_response(401 if refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - as the class has it
        """Say nothing."""


class Distribution:
    """A registry and its token server; `stop` and `start` end it and let it go on with what it has."""

    def __init__(self, folder: Path, tokens: _TokenServer) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.tokens = tokens
        self._settings = folder / "config.yml"
        self._settings.write_text(_SETTINGS.format(folder=folder, port=self.port, tokens=tokens.server_port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [require("docker-registry"), "serve", str(self._settings)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            time.sleep(0.05)

    def store(self, source: str, name: str, toolbox: Toolbox) -> None:
        """Copy an image, with all its platforms, to a name and tag below the registry."""
        login = ["--dest-creds", f"{USER}:{PASSWORD}", "--dest-tls-verify=false"]
        toolbox.host("skopeo", "copy", "--all", *login, source, f"docker://{self.host}/{name}")

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 401
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def distribution(folder: Path) -> Iterator[Distribution]:
    """Serve one until the end of the block."""
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)  # noqa: S603
    with _TokenServer(folder) as tokens:
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        registry = Distribution(folder, tokens)
        registry.start()
        try:
            yield registry
        finally:
            registry.stop()
            tokens.shutdown()


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
