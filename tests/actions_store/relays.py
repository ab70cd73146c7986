"""Relays of the jobs of a run, each with an empty disk, and what their clients do with them."""

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientSession

from config import job
from config.settings import Settings
from proxy.api.services import Services
from proxy.app import serve
from proxy.oci.digest import Digest
from proxy.runtime.limits import DEFAULT, Limits, Policy, Rereading, Timeouts
from tests.api.relay import Answer, Relay
from tests.fakes.actions.emulator import Emulator, Job

QUICK = Policy(attempts=8, first=0.01, longest=0.1)
AGAIN = Rereading(Policy(attempts=4, first=0.01), rest=0.1)
WAITS: dict[str, Any] = {
    "looks": (0.0, 0.05, 0.1, 0.2),
    "shows": 0.5,
    "passed": 0.5,
    "again": (0.02, 0.06),
    "rest": 0.1,
}
HASTY = Timeouts(QUICK, QUICK, AGAIN, connect=5, call=5, finalize=5, commit=5, transfer=5, stall=3, answer=5, **WAITS)


class Listener(Relay):
    """A client that remembers what it was told when something went wrong."""

    def __init__(self, port: int, data: Path, session: ClientSession, services: Services) -> None:
        super().__init__(port, data, session, services)
        self.told: list[str] = []

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        answer = await super().ask(method, path, **more)
        if answer.status >= 400 or path.startswith(("/relay", "/metrics")):
            self.told.append(f"{answer.headers} {answer.body!r}")
        return answer


class Relays:
    """Starts relays, with its `limits`; all end with the block. None of them may show one of the `secrets`."""

    def __init__(self, folder: Path) -> None:
        self.secrets = {"sig=", "sig%3D"}
        self.started: list[Listener] = []
        self.limits = DEFAULT
        self._folder = folder
        self._count = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(
        self,
        actions: Emulator,
        started: Job | None = None,
        tempo: Timeouts = HASTY,
        limits: Limits | None = None,
        token: str = "",
        **more: Any,
    ) -> Relay:
        """Start the relay of a job, of a job `build` where none is named; in an empty folder, or `data`.

        `token` is its GITHUB_TOKEN.
        """
        started = started or actions.job("build")
        self.secrets |= {started.token, started.token.split(".")[1], started.token.split(".")[2]}
        if not actions.options.flavour.decimal_ids:  # numbers are everywhere by chance
            self.secrets |= {started.id, started.run.backend_id}
        return await self._start(
            {**actions.environment(started), "GITHUB_TOKEN": token}, tempo, limits or self.limits, **more
        )

    async def start_without_session(self, actions: Emulator, **more: Any) -> Relay:
        """Start a relay as a service container is: it gets its session later."""
        hosts = actions.environment(actions.job("build"))["RELAY_TRUSTED_HOSTS"]
        return await self._start({"RELAY_TRUSTED_HOSTS": hosts}, HASTY, self.limits, **more)

    async def _start(self, environment: dict[str, str], tempo: Timeouts, limits: Limits, **more: Any) -> Relay:
        hosts = tuple(environment.pop("RELAY_TRUSTED_HOSTS").split(","))
        data = more.pop("data", None) or self._folder / f"relay-{self._count}"
        self._count += 1
        settings = {"host": ("127.0.0.1",), "port": 0, "settle_seconds": 3600, "store": "actions", **more}
        chosen, limits = Settings(data=data, trusted_hosts=hosts, **settings), replace(limits, service=tempo)
        services, port = await self._stack.enter_async_context(serve(chosen, job.read(environment), limits))
        session = await self._stack.enter_async_context(
            ClientSession(auto_decompress=False, skip_auto_headers=["Content-Type"])
        )
        relay = Listener(port, data, session, services)
        self.started.append(relay)
        return relay


async def pulled(relay: Relay, reference: object, name: str = "app") -> dict[str, bytes]:
    """Pull a manifest and all below it, checked; gives the contents by digest, the manifest as `manifest`."""
    answer = await relay.get(reference, name)
    assert answer.status == 200, answer.body
    found = {"manifest": answer.body}
    document = answer.json
    for child in document.get("manifests", []):
        found |= await pulled(relay, child["digest"], name)
    layers = [document["config"], *document["layers"]] if "layers" in document else []
    for descriptor in layers:
        blob = await blob_of(relay, descriptor["digest"], name)
        assert blob.status == 200, blob.body
        assert str(Digest.of(blob.body)) == descriptor["digest"]
        found[descriptor["digest"]] = blob.body
    return found


async def blob_of(relay: Relay, digest: object, name: str = "app", **headers: str) -> Answer:
    return await relay.ask("GET", f"/v2/{name}/blobs/{digest}", headers=headers)
