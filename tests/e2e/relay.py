"""The service as a user starts it: a process of its own, a port, a data folder."""

import http.client
import json
import os
import re
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e import forked
from tests.ports import free_port

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

PUBLIC_HOST = "localhost:5000"  # as on a runner, whatever port a test has
DIRECTORY = {"RELAY_STORE": "directory"}

_START_SECONDS = 50.0  # it takes a tenth of one on an idle machine
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.01
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Relay:
    """One relay over one data folder; `start` again after `kill` or `stop` is the next job."""

    is_forked = True

    def __init__(self, data: Path, *options: str, environment: Mapping[str, str] = DIRECTORY) -> None:
        self.data = data
        self.options = options
        self.environment = environment
        self.answers: list[bytes] = []  # to what tests asked, if it was an error
        self.port = 0
        self._log = data.with_name(f"{data.name}.log")
        self._process: BaseProcess | None = None

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Start on a free port, another one if that is taken meanwhile, and wait until `/v2/` answers 200."""
        assert self._process is None, "it is running already"
        self.data.mkdir(parents=True, exist_ok=True)
        while not self.attempt(free_port()):
            assert f"port {self.port} is taken" in self.log, f"the relay did not start:\n{self.log[-4000:]}"

    def attempt(self, port: int) -> bool:
        """Start on a port; return whether that worked."""
        self.port = port
        arguments = ["serve", "--port", str(self.port), "--data", str(self.data), *self.options]
        environment = _environment(self.environment)
        self._process = forked.start(arguments, environment, self._log, anew=not self.is_forked)
        deadline = time.monotonic() + _START_SECONDS
        while not self._alive():
            if not self._process.is_alive() or time.monotonic() > deadline:
                self.kill()
                return False
            time.sleep(_POLL_SECONDS)
        assert self._process.is_alive(), "another server answers on this port"
        return True

    def _alive(self) -> bool:
        try:
            return self.request("GET", "/v2/")[0] in {200, 401}  # the latter with a password
        except OSError:
            return False

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def kill(self) -> None:
        """End it as a service container ends: without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def stop(self) -> int:
        """Ask it to end, and return its exit status."""
        self.signal()
        return self.ended(_STOP_SECONDS)

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        assert self._process is not None, "it is not running"
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def ended(self, seconds: float) -> int:
        """Wait until it has ended by itself, for so many seconds, and return its exit status."""
        assert self._process is not None, "it is not running"
        self._process.join(seconds)
        status = self._process.exitcode
        assert status is not None, f"it still runs after {seconds:g} s"
        self._process = None
        return status

    def rss_peak_kib(self) -> int:
        """Return the largest resident memory since the start, which has to be that of a process that is not forked."""
        assert self._process is not None, "it is not running"
        assert not self.is_forked, "use the fixture measured"
        found = _PEAK.search(Path(f"/proc/{self._process.pid}/status").read_text())
        assert found, "the kernel tells no peak"
        return int(found[1])

    def archives(self) -> list[Path]:
        return sorted(self.data.rglob("*.tar.zst"))

    def archive_of(self, name: str) -> Path:
        """Return the one archive of a repository."""
        ours = [path for path in self.archives() if path.name.startswith(f"image-{name}@")]
        assert len(ours) == 1, f"{name} has {[path.name for path in ours]}"
        return ours[0]

    def other_bytes(self) -> int:
        """Return how many bytes the data folder holds besides archives."""
        files = [path for path in self.data.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files if not path.name.endswith(".tar.zst"))

    def forget_all_but_archives(self) -> None:
        """Make the spool empty, as the next job finds it."""
        assert self._process is None, "it is running"
        for path in sorted(self.data.rglob("*"), reverse=True):
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
            elif not path.name.endswith(".tar.zst"):
                path.unlink()

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | Iterable[bytes] | None = None,
        *,
        patience: float = 60.0,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            said = answer.read()
            if answer.status >= 300:
                self.answers.append(said)
            return answer.status, answer.headers, said
        finally:
            connection.close()

    def read(self, path: str) -> bytes:
        status, _, body = self.request("GET", path, {"Accept": ", ".join(_MANIFESTS)})
        assert status == 200, f"{path}: {status} {body[:500]!r}"
        return body

    def json(self, path: str) -> Any:
        return json.loads(self.read(path))

    def digest(self, name: str, reference: str) -> str | None:
        """Return the digest of a manifest, or None where there is none."""
        headers = {"Accept": ", ".join(_MANIFESTS)}
        status, answer, _ = self.request("HEAD", f"/v2/{name}/manifests/{reference}", headers)
        assert status in {200, 404}, f"HEAD {name}:{reference} answered {status}"
        return answer["Docker-Content-Digest"] if status == 200 else None

    def config_digest(self, name: str, reference: str) -> str:
        """Return the digest of the config of the linux/amd64 image."""
        manifest = self.json(f"/v2/{name}/manifests/{reference}")
        for child in manifest.get("manifests", []):
            if child["platform"]["architecture"] == "amd64":
                return self.config_digest(name, child["digest"])
        return str(manifest["config"]["digest"])

    def tags(self) -> list[tuple[str, str]]:
        """Return every (name, tag) that the relay lists."""
        names = self.json("/v2/_catalog")["repositories"]
        listed = [(name, self.json(f"/v2/{name}/tags/list")["tags"]) for name in names]
        return [(name, tag) for name, tags in listed for tag in tags]


def _environment(wanted: Mapping[str, str]) -> dict[str, str]:
    """Return ours without what would configure the service by accident, and with what shall."""
    foreign = ("RELAY_", "GITHUB_", "ACTIONS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "RELAY_PUBLIC_HOST": PUBLIC_HOST, **wanted}
