"""An image of very many small layers: how it is pushed and pulled, over one connection."""

import hashlib
import json
import time
from http.client import HTTPConnection

from benchmarks.measuring import CONFIG, MANIFEST, Failed, Registry, manifest

_BASE = "/v2/layers"
_COUNT = 5_000


class Image:
    """The image, and a connection of its own to a registry."""

    def __init__(self, port: int, count: int = _COUNT) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)
        self._layers = [_described(number) for number in range(count)]
        self._config = Registry(port, "layers").push(iter([CONFIG]))
        self._pushes = 0

    def send_layers(self) -> None:
        """Push every layer by POST and PUT."""
        for number, (digest, _) in enumerate(self._layers):
            location = self._ask("POST", f"{_BASE}/blobs/uploads/", 202)
            joined = f"{location}{'&' if '?' in location else '?'}digest={digest}"
            self._ask("PUT", joined, 201, _content(number), "application/octet-stream")

    def look_for_layers(self) -> None:
        """Ask for every layer by HEAD, as a client does before it pushes."""
        for digest, _ in self._layers:
            self._ask("HEAD", f"{_BASE}/blobs/{digest}", 200)

    def push_manifest(self) -> None:
        """Push a manifest that was not there before, under one tag."""
        self._pushes += 1
        fields = json.loads(manifest(self._config, *self._layers)) | {"annotations": {"push": str(self._pushes)}}
        self._ask("PUT", f"{_BASE}/manifests/v1", 201, json.dumps(fields).encode(), MANIFEST)

    def pull_manifest(self) -> None:
        """Ask whether there is a manifest, and for it."""
        for method in ("HEAD", "GET"):
            self._ask(method, f"{_BASE}/manifests/v1", 200)

    def pull_layers(self) -> None:
        """Pull every layer."""
        for digest, _ in self._layers:
            self._ask("GET", f"{_BASE}/blobs/{digest}", 200)

    def took(self) -> dict[str, float]:
        """Push and pull it once; return the seconds of each step."""
        found = {}
        for step in (
            self.send_layers,
            self.look_for_layers,
            self.push_manifest,
            self.pull_manifest,
            self.pull_layers,
        ):
            began = time.monotonic()
            step()
            found[step.__name__.replace("_", " ")] = time.monotonic() - began
        return found

    def _ask(self, method: str, path: str, expected: int, body: bytes = b"", kind: str = "") -> str:
        """Send a request, and return the Location of the answer."""
        path = "/" + path.split("/", 3)[3] if path.startswith("http") else path
        headers = {"Content-Type": kind} if kind else {"Accept": MANIFEST}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != expected:
            raise Failed(f"{method} {path}: {answer.status} instead of {expected}: {said[:300]!r}")
        return answer.headers.get("Location", "")


def _content(number: int) -> bytes:
    return str(number).encode() * 20


def _described(number: int) -> tuple[str, int]:
    content = _content(number)
    return "sha256:" + hashlib.sha256(content).hexdigest(), len(content)
