"""An engine with a network, for what publishes ports or talks between containers."""

import json

from tests.e2e.clients import run
from tests.e2e.engines import Docker20
from tests.machine import require


class Bridged(Docker20):
    """Docker 20.10 that can publish ports and make networks: in a network of its own, without a way out.

    What shall reach the ports that it publishes, or its containers, has to be started in there.
    """

    name = "bridged"
    namespaces = ("--mount", "--pid", "--net")
    network = ()

    def command(self) -> list[str]:
        engine = super().command()
        for tool in ("iptables", "nsenter", "curl"):
            require(tool)
        return ["sh", "-c", f'{require("ip")} link set lo up && exec "$@"', "sh", *engine]

    def inside(self) -> list[str]:
        """Return what to put before a command that shall run in this engine's network."""
        assert self._process is not None, "it is not running"
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", "--"]

    @property
    def address(self) -> str:
        """The address of this engine's machine, as its containers see it."""
        shown = run([*self.inside(), "ip", "-json", "-4", "address", "show", "docker0"], self.toolbox.env()).stdout
        return str(json.loads(shown)[0]["addr_info"][0]["local"])

    def curl(self, *arguments: str) -> str:
        """Ask what listens in this engine's network; anything but success raises."""
        asking = ["curl", "--silent", "--show-error", "--fail-with-body", *arguments]
        return run([*self.inside(), *asking], self.toolbox.env()).stdout
