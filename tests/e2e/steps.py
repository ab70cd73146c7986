"""The action on the machine of an engine, and what it finds and leaves there."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path

from tests.action.runner import Step
from tests.e2e.bridged import Bridged
from tests.e2e.images import dockerfile

LABEL = "label=image-relay.job"  # of what the action starts

Use = Callable[..., Step]


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
