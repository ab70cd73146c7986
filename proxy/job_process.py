"""The relay as a process that the action starts in a job.

Standard input has a password, a session and a nonce, so that no argument, variable or file has them. Standard output
gets one line: the port once the relay serves the session, or else why it cannot. The log goes to standard error.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from config import address, job
from config.reading import SettingsInvalid, read
from proxy import app
from proxy.api.server import CannotListen, PortTaken
from proxy.api.services import Services
from proxy.backends.choice import StoreUnusable
from proxy.errors import RegistryError
from proxy.reporting.log_format import configure
from proxy.runtime import garbage
from proxy.runtime.files import FolderInUse
from proxy.text import safe_text


def main(environment: Mapping[str, str] = address.ENVIRONMENT) -> None:
    """Serve until SIGTERM; exit status 1 if that could not begin, or if something is not durable at its end.

    Whoever imported this has paused garbage collection.
    """
    garbage.resume()
    told = json.loads(sys.stdin.buffer.read())
    password = {"RELAY_PASSWORD": told["password"]} if told["password"] else {}

    async def serving(services: Services, port: int) -> None:
        await services.run_change.take_session(json.dumps(told["session"]).encode())
        _answer({"port": port})

    try:
        settings, _ = read(environment={**environment, **password})
        configure(settings.log_format, settings.log_level)
        is_durable = app.run(settings, job.read(environment), serving, told["nonce"].encode())
    except PortTaken:
        _answer({"taken": True})
        is_durable = False
    except (SettingsInvalid, StoreUnusable, CannotListen, FolderInUse, RegistryError, OSError) as error:
        _answer({"problem": "; ".join(map(safe_text, str(error).splitlines()))})
        is_durable = False
    sys.stderr.flush()
    os._exit(0 if is_durable else 1)


def _answer(what: Mapping[str, Any]) -> None:
    """Tell the action how it went, and let go of its pipe: a step waits for whoever has one."""
    print(json.dumps(what), flush=True)  # noqa: T201 - what the action reads
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
