"""The action on the machine of an engine, and what it finds and leaves there."""

import json
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.action.runner import ROOT, Step
from tests.e2e.bridged import Bridged
from tests.e2e.engines import Engine
from tests.e2e.images import dockerfile
from tests.e2e.relay import Relay
from tests.machine import require_node

LABEL = "label=image-relay.job"  # of what the action starts

Use = Callable[..., Step]

_CARRY = """
import { load, save } from "./images.mjs"
import { readInputs } from "./inputs.mjs"
import { Relay } from "./relay.mjs"
import { run } from "./runner.mjs"
await run(async () => {
  const relay = new Relay(process.argv[1])
  const inputs = readInputs()
  await save(relay, inputs.save)
  await load(relay, inputs.load, inputs.platform)
})
"""


def carry(relay: Relay, engine: Engine, command: str, images: list[str]) -> "subprocess.CompletedProcess[str]":
    """Save or load as the action does, between a relay and an engine that are found already."""
    inputs = {"INPUT_IMAGE": "relay", f"INPUT_{command.upper()}": "\n".join(images)}
    done = subprocess.run(
        [require_node(), "--input-type=module", "--eval", _CARRY, f"http://127.0.0.1:{relay.port}"],
        cwd=ROOT / "action",
        env={**engine.toolbox.env(), "PATH": engine.path(), **inputs},
        capture_output=True,
        check=False,
        text=True,
    )
    print(done.stdout + done.stderr)  # noqa: T201 - pytest shows it beside a failure
    return done


def containers(engine: Bridged, *filters: str) -> list[str]:
    """Return the ids of all containers."""
    chosen = [part for each in filters for part in ("--filter", each)]
    return engine.docker("ps", "--all", "--quiet", "--no-trunc", *chosen).split()


def build(engine: Bridged, reference: str, folder: Path) -> str:
    """Build an image that prints a token, and return that."""
    token = secrets.token_hex(16)
    engine.docker("build", "--tag", reference, str(dockerfile(folder, token)))
    return token


def session(engine: Bridged, port: int) -> str:
    """Return how the session is of the relay at this port."""
    return str(json.loads(engine.curl(f"http://127.0.0.1:{port}/relay/health"))["session"])
