"""Machines beside that of an engine: in networks of their own with a wire to it, or in its own, with other files."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.bridged import Bridged
from tests.e2e.clients import run

_WIRE = "image-relay0"
_ENGINE, _JOB = "192.168.231.1", "192.168.231.2"


@contextmanager
def wired(engine: Bridged, name: str, folder: Path) -> Iterator[Sequence[str]]:
    """Make a machine that reaches the engine's by a name; yield what stands before a command that runs on it."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{_ENGINE} {name}\n")
    prepare = f"mount --bind {hosts} /etc/hosts && ip link set lo up && echo ready && exec cat"
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "sh", "-c", prepare],
        env=engine.toolbox.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as machine:
        try:
            assert machine.stdout
            assert machine.stdout.readline() == b"ready\n"
            _connect(engine, machine.pid)
            yield ["nsenter", f"--net=/proc/{machine.pid}/ns/net", f"--mount=/proc/{machine.pid}/ns/mnt", "--"]
        finally:
            machine.kill()


def _connect(engine: Bridged, machine: int) -> None:
    """Lay the wire; it goes with the network of the machine."""
    inside = f"nsenter --net=/proc/{machine}/ns/net"
    commands = [
        f"{shlex.join(engine.inside())} ip link add {_WIRE} type veth peer name eth0 netns {machine}",
        f"{shlex.join(engine.inside())} ip address add {_ENGINE}/24 dev {_WIRE}",
        f"{shlex.join(engine.inside())} ip link set {_WIRE} up",
        f"{inside} ip address add {_JOB}/24 dev eth0",
        f"{inside} ip link set eth0 up",
        f"{inside} ip route add default via {_ENGINE}",
    ]
    for command in commands:
        run(shlex.split(command), engine.toolbox.env())


@contextmanager
def cut(engine: Bridged, port: int) -> Iterator[None]:
    """Let nothing come to a port of the engine's machine by the wire."""
    rule = ["PREROUTING", "--in-interface", _WIRE, "--protocol", "tcp", "--dport", str(port), "--jump", "DROP"]
    run([*engine.inside(), "iptables", "--table", "raw", "--insert", *rule], engine.toolbox.env())
    try:
        yield
    finally:
        run([*engine.inside(), "iptables", "--table", "raw", "--delete", *rule], engine.toolbox.env())


def sidecar(engine: Bridged) -> Sequence[str]:
    """Return what stands before a command in another container of the engine's pod: they share a network and a socket.

    Nothing else of the engine's files is there.
    """
    steps = [
        "mount --types tmpfs tmpfs /run",
        "touch /run/docker.sock",
        f"mount --bind {engine.socket} /run/docker.sock",
        f"mount --types tmpfs tmpfs {engine.folder}",
        'exec "$@"',
    ]
    return [*engine.inside(), "unshare", "--mount", "sh", "-c", " && ".join(steps), "sh"]
