"""The jobs of one workflow run: a relay for each, as a process of its own with an empty disk.

What no relay may ever tell is collected here as it is handed out, and looked for in all that the relays said.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

from tests.e2e.relay import Relay
from tests.fakes.actions.emulator import Emulator, Job
from tests.fakes.actions.rest import READ_TOKEN, WRITE_TOKEN

NO_SESSION = 'image-relay has no session: put "- uses: OWNER/image-relay@v1" before this step'

_TALKATIVE = {"RELAY_STORE": "actions", "RELAY_LOG_LEVEL": "debug"}
_ANSWERS = ("/relay/health", "/relay/images", "/relay/summary", "/metrics", "/v2/_catalog")


class Jobs:
    """The jobs of the run of one emulator; at the end all relays are killed, and what they said is searched."""

    def __init__(self, actions: Emulator, folder: Path) -> None:
        self.actions = actions
        self.secrets: set[str] = {READ_TOKEN, WRITE_TOKEN, "sig=", "sig%3D"}
        self._folder = folder
        self._relays: list[Relay] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        said: list[str] = []
        try:
            said = [self._ended(relay) for relay in self._relays]
        finally:
            for relay in self._relays:
                relay.kill()
        self.search(said)

    def job(self, name: str = "build", attempt: int = 1) -> Job:
        """Begin a job: from now on nobody may show its token."""
        job = self.actions.job(name, attempt=attempt)
        self.secrets |= {job.token, job.token.split(".")[1]}
        if not self.actions.options.flavour.decimal_ids:  # short numbers are everywhere by chance
            self.secrets |= {job.id, job.run.backend_id}
        return job

    def environment(self, name: str = "build", attempt: int = 1) -> dict[str, str]:
        """Return the environment of a job."""
        return self.actions.environment(self.job(name, attempt))

    def relay(self, name: str = "build", *, attempt: int = 1, **settings: str) -> Relay:
        """Start the relay of a job, with the credentials in its environment and nothing on its disk."""
        return self.start({**self.environment(name, attempt), **settings})

    def service_container(self) -> Relay:
        """Start a relay as `services:` does: before there is a session, and without any credentials."""
        return self.start({})

    def start(self, environment: Mapping[str, str]) -> Relay:
        """Start a relay over artifacts in a new folder."""
        folder = self._folder / f"relay{len(self._relays)}"
        relay = Relay(folder, environment={**_TALKATIVE, **environment})
        self._relays.append(relay)
        relay.start()
        return relay

    def offer(self, name: str = "build", **changes: str) -> bytes:
        """Write what the action of a job hands over."""
        job = self.job(name)
        return json.dumps(
            {
                "token": job.token,
                "results_url": f"{self.actions.origin}/",
                "repository": self.actions.options.repository,
                "run_id": str(job.run.number),
                "run_attempt": str(job.run.attempt),
                "public_host": "localhost:5000",
                "retention_days": 90,
                "access": "write",
                "action_version": "1.0.0",
                **changes,
            }
        ).encode()

    def search(self, texts: Iterable[str]) -> None:
        """Fail where a secret is found, without showing it once more."""
        for text in texts:
            found = [secret for secret in self.secrets if secret in text]
            places = [text[: text.index(secret)][-200:] for secret in found]
            assert not found, f"{len(found)} secrets were told, after: {places}"

    def _ended(self, relay: Relay) -> str:
        """Ask a relay all it tells, end it, and return that with its log."""
        answers = [_answer(relay, path) for path in _ANSWERS] if relay.is_running else []
        answers += [body.decode(errors="replace") for body in relay.answers]
        relay.kill()
        print(relay.log)  # noqa: T201 - pytest shows it beside a failure
        return "\n".join([*answers, relay.log])


def _answer(relay: Relay, path: str) -> str:
    try:
        status, headers, body = relay.request("GET", path, patience=10)
    except TimeoutError:  # what keeps it busy fails the test elsewhere
        return ""
    return f"{status} {headers} {body.decode(errors='replace')}"
