"""What the benchmarks share: programs to start and to stop, requests, random content, figures.

Each benchmark is a module that runs from the root of the repository: `python -m benchmarks.start`.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Self

from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
MIB = 1 << 20
GIB = 1 << 30

_POLL = 0.002  # seconds between two looks whether a server answers
_START = 30.0  # seconds in which a server has to answer
_STOP = 60.0  # seconds in which a server has to end
_SILENCE = 120.0  # seconds without a byte after which a request is given up
_PIECE = 4 * MIB  # bytes per read of an answer
_CERTIFICATE = (
    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=storage "
    "-addext subjectAltName=IP:127.0.0.1"
)

CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Failed(Exception):
    """A program did not do what it should; the message says which and what."""


class Server:
    """A program that serves a registry at a port of 127.0.0.1, for as long as the block lasts."""

    def __init__(
        self, command: Sequence[str], port: int, environment: Mapping[str, str] | None = None, folder: Path = ROOT
    ) -> None:
        self.command = list(command)
        self.port = port
        self._folder = folder
        self._environment = {**without_settings(), **(environment or {})}
        self.started_in = 0.0  # seconds until the first 200 on /v2/

    def __enter__(self) -> Self:
        began = time.perf_counter()
        self._process = subprocess.Popen(self.command, cwd=self._folder, env=self._environment, stdout=sys.stderr)
        try:
            self._wait(began + _START)
        except BaseException:
            self.__exit__()
            raise
        self.started_in = time.perf_counter() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self._process.pid

    def kill(self) -> None:
        """End the program at once; requests under way fail."""
        self._process.kill()
        self._process.wait()

    def _wait(self, deadline: float) -> None:
        while not answers(self.port):
            if self._process.poll() is not None:
                raise Failed(f"{self.command[0]} ended with status {self._process.returncode}")
            if time.perf_counter() > deadline:
                raise Failed(f"{self.command[0]} does not answer on port {self.port}")
            time.sleep(_POLL)


def relay(
    data: Path,
    *options: str,
    before: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    checkout: Path = ROOT,
) -> Server:
    """Prepare a relay with its own data folder; `before` is a command that runs it, such as strace."""
    port = free_port()
    command = [sys.executable, "-m", "proxy", "serve", "--port", str(port), "--data", str(data)]
    return Server([*before, *command, "--log-level", "warning", *options], port, environment, checkout)


def without_settings() -> dict[str, str]:
    """Return the environment without settings for a relay; byte code is kept, as by every installed relay."""
    without = ("RELAY_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def answers(port: int) -> bool:
    """Return whether a registry says 200 on /v2/."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, HTTPException):
        connection.request("GET", "/v2/")
        return connection.getresponse().status == HTTPStatus.OK
    return False


def warm(size: int) -> None:
    """Make sure that this much free memory is quick to get.

    A virtual machine gives memory that was free for a few seconds back to its host, and pays 2 s/GiB to get it again:
    far more than what is to be measured. So somebody else uses it, and ends.
    """
    subprocess.run([sys.executable, "-c", f"b'x' * {size}"], check=True)


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1 that vouches for itself; gives a file with its key as well, and one without."""
    both, public = folder / "storage.pem", folder / "ca.pem"
    command = ["openssl", *_CERTIFICATE.split(), "-keyout", str(both), "-out", str(public)]
    subprocess.run(command, check=True, capture_output=True)
    with both.open("a") as file:
        file.write(public.read_text())
    return both, public


def peak_rss(pid: int) -> int:
    """Return the most memory in bytes that a process had resident so far (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failed(f"process {pid} has no VmHWM")


def cpu_seconds(pid: int) -> float:
    """Return the seconds that processors have worked for a process so far, in the kernel too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Content and requests


def noise(size: int) -> Iterator[bytes]:
    """Return random bytes, 1 MiB at a time: nothing that compresses, and nothing that has to be kept."""
    for at in range(0, size, MIB):
        yield os.urandom(min(MIB, size - at))


class Registry:
    """The requests of a client to one repository; each blob on a connection of its own."""

    def __init__(self, port: int, name: str) -> None:
        self._port = port
        self._base = f"/v2/{name}"

    def push(self, content: Iterator[bytes]) -> tuple[str, int]:
        """Upload a blob by POST, one PATCH in chunks, PUT; gives digest and size."""
        sha256, size = hashlib.sha256(), 0

        def hashed() -> Iterator[bytes]:
            nonlocal size
            for chunk in content:
                sha256.update(chunk)
                size += len(chunk)
                yield chunk

        location = self._ask("POST", f"{self._base}/blobs/uploads/", 202).headers["Location"]
        location = self._ask("PATCH", location, 202, hashed()).headers["Location"]  # docker-registry changes it
        digest = "sha256:" + sha256.hexdigest()
        self._ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", 201)
        return digest, size

    def tag(self, tag: str, *layers: tuple[str, int]) -> None:
        """Push the manifest of an image, and with it seal the image."""
        body = manifest(self.push(iter([CONFIG])), *layers)
        self._ask("PUT", f"{self._base}/manifests/{tag}", 201, body, {"Content-Type": MANIFEST})

    def pull(self, digest: str) -> None:
        """Fetch a blob and check it."""
        sha256 = hashlib.sha256()
        answer = self._ask("GET", f"{self._base}/blobs/{digest}", 200, whole=False)
        while part := answer.read(_PIECE):
            sha256.update(part)
        if digest != "sha256:" + sha256.hexdigest():
            raise Failed(f"what came as {digest} is sha256:{sha256.hexdigest()}")

    def manifest(self, tag: str) -> None:
        """Fetch a manifest."""
        self._ask("GET", f"{self._base}/manifests/{tag}", 200)

    def digest(self, tag: str) -> str:
        """Return the digest of the manifest that a tag has."""
        answer = self._ask("HEAD", f"{self._base}/manifests/{tag}", 200, headers={"Accept": MANIFEST})
        return answer.headers["Docker-Content-Digest"]

    def range(self, digest: str, start: int, stop: int) -> bytes:
        """Fetch the bytes [start, stop) of a blob."""
        path, headers = f"{self._base}/blobs/{digest}", {"Range": f"bytes={start}-{stop - 1}"}
        answer = self._ask("GET", path, 206, headers=headers, whole=False)
        return answer.read()

    def _ask(
        self,
        method: str,
        path: str,
        expected: int,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        *,
        whole: bool = True,
    ) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=_SILENCE)
        connection.request(method, path, body, {"Connection": "close"} | (headers or {}))
        answer = connection.getresponse()
        if answer.status != expected:
            raise Failed(f"{method} {path}: {answer.status} instead of {expected}: {answer.read(300)!r}")
        if whole:
            answer.read()
        return answer


def manifest(config: tuple[str, int], *layers: tuple[str, int]) -> bytes:
    """Write the manifest of an image; of config and layers it takes digest and size."""

    def descriptor(kind: str, blob: tuple[str, int]) -> dict[str, object]:
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": blob[0], "size": blob[1]}

    fields = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor("config.v1+json", config)}
    return json.dumps(fields | {"layers": [descriptor("layer.v1.tar+gzip", each) for each in layers]}).encode()


# Figures


def load() -> str:
    """Return how busy the machine is: with a load near the number of CPUs, times mean little."""
    return f"load average {', '.join(f'{each:.1f}' for each in os.getloadavg())} on {os.cpu_count()} CPUs"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Compare round by round, so that a busy minute counts for both; gives the median of the ratios."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def mib(size: float) -> str:
    """Write a number of bytes."""
    return f"{size / MIB:,.1f} MiB"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a Markdown table; the first one is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])
