"""What tests ask of the machine. They ask before they do anything else, and what is missing skips them.

The same thing always gives the same reason, "THING: what to do", so that the end of a run has one line for each.
"""

import gc
import os
import resource
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(os.environ.get("IMAGE_RELAY_TOOLS", "/opt/image-relay-tools"))
# Debian's docker must win over any newer one that the machine happens to have.
HOST_PATH = f"{TOOLS}/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPEN_FILES = 4096  # enough for a thousand uploads beside their client, and little enough for programs that count to it
INSTALLS = "tools/install-test-tools"

_GO_PROGRAMS = {"act", "actionlint", "buildkitd", "conformance", "crane", "oras", "regctl"}
_PACKAGES = {"busybox": "busybox-static", "docker": "docker.io", "dockerd": "docker.io", "ip": "iproute2"}
_OLDEST_NODE = 20


def missing(thing: str, remedy: str) -> NoReturn:
    """Skip the test for want of a thing; fail it where REQUIRE_TOOLS=1 promises that all is there."""
    reason = f"{thing}: {remedy}"
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(f"needs {reason}", pytrace=False)
    pytest.skip(reason)


def require(tool: str) -> str:
    """Return the path of a program of this machine."""
    path = shutil.which(tool, path=HOST_PATH)
    if path is None:
        package = "" if tool in _GO_PROGRAMS else f"Debian's package {_PACKAGES.get(tool, tool)}, or "
        missing(tool, f"{package}{INSTALLS}")
    return path


def require_root() -> None:
    """Engines, foreign roots and small disks need mounts and namespaces."""
    if not _may_mount():
        missing("root with the right to mount", f"{INSTALLS} and the tests as root, in a container with --privileged")


def require_node() -> str:
    """Return the path of Node."""
    node = shutil.which("node")
    if node is None or _major_version(node) < _OLDEST_NODE:
        missing(f"Node {_OLDEST_NODE} or newer on PATH", "with npm from https://nodejs.org; that of Debian 12 is older")
    return node


def require_ipv6() -> None:
    """Some machines, and containers of Docker, have no address ::1."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        missing("IPv6", "an address ::1 of this machine (ip address add ::1/128 dev lo)")


def raise_open_files() -> None:
    """Let this process have as many open files as tests need at most, or as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(OPEN_FILES, hard)), hard))


@contextmanager
def open_files_left(count: int) -> Iterator[None]:
    """Let this process open so many more files at most, for the block."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + count, limits[1]))  # noqa: PTH208
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextmanager
def no_file_left_to_open() -> Iterator[None]:
    """Let this process open no file at all, for the block."""
    gc.collect()  # else files of earlier tests are closed meanwhile
    with open_files_left(20), ExitStack() as taken:
        with suppress(OSError):
            while True:
                taken.enter_context(socket.socket())
        yield


def require_open_files() -> None:
    """A thousand uploads and their client are more than 1,024 open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        missing(f"{OPEN_FILES} open files", f"a hard limit that allows them (ulimit -Hn is {soft})")


def counted(reasons: list[str]) -> list[str]:
    """Return a line for each reason, with the number of tests; the most frequent first."""
    return [f"{count:5}  {reason}" for reason, count in Counter(reasons).most_common()]


@cache
def _may_mount() -> bool:
    if os.geteuid() != 0:
        return False
    probe = ["unshare", "--mount", "--pid", "--fork", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0  # noqa: S603


@cache
def _major_version(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, check=False, text=True).stdout  # noqa: S603
    return int(said.removeprefix("v").partition(".")[0] or 0)
