"""What the tests of the action share: jobs of a run, relays in them, and listeners that belong to somebody else."""

import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.action.runner import Step, require_node, service
from tests.e2e.jobs import Jobs
from tests.e2e.relay import Relay
from tests.fakes.actions.fixtures import Emulate, azurite, emulate

__all__ = ["azurite", "emulate"]

NO_ENGINE = "/nowhere"  # a PATH on which there is no docker

Use = Callable[..., Step]


@pytest.fixture
def jobs(emulate: Emulate, tmp_path: Path) -> Iterator[Jobs]:
    """The jobs of one run under GitHub."""
    require_node()
    with Jobs(emulate(), tmp_path) as started:
        yield started


@pytest.fixture
def relay(jobs: Jobs) -> Relay:
    """The service container of a job: no session, no credentials."""
    return jobs.start({"RELAY_TRUSTED_HOSTS": jobs.actions.trusted_hosts, "RELAY_SETTLE_SECONDS": "3600"})


@pytest.fixture
def use(jobs: Jobs, tmp_path: Path) -> Use:
    """Use the action in a job without Docker whose service `relay` is at a port of this machine."""

    def make(
        at: int | None, /, *, of: str = "build", environment: Mapping[str, str] | None = None, **inputs: str
    ) -> Step:
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        told = {"PATH": NO_ENGINE, **jobs.environment(of), **(environment or {})}
        context: Mapping[str, Any] = {} if at is None else service("relay", {"5000": str(at)})
        return Step(tmp_path / f"step-{len(list(tmp_path.glob('step-*')))}", told, given, context)

    return make


class Recorder:
    """Somebody else's server: answers every request as a relay without a session would, and keeps all it was told."""

    def __init__(self, answer: bytes = b'{"version": "9.9.9", "store": "actions", "session": "none"}') -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                heard.append(f"{self.requestline}\n{self.headers}\n{body.decode(errors='replace')}")
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_HEAD = do_PUT = do_POST = _answer  # noqa: N815 - names of the base class

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def stranger() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()
