"""What a process changes of itself before it does anything: HOME, streams, proxies. No library is imported here."""

import os
import sys
from io import TextIOWrapper

from config.address import HOSTS


def ensure_home() -> None:
    """Let there be a HOME, as engines do: a uid without a passwd entry has no other, and libraries want one."""
    if os.path.expanduser("~") == "~":  # noqa: PTH111 - pathlib's raises
        os.environ["HOME"] = "/"  # noqa: TID251 - of this process alone


def ensure_streams() -> None:
    """Put nothing in the place of standard streams that are closed: the next file would be opened there.

    What a terminal cannot show, such as the name of a file, is written as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def spare_loopback_from_proxies() -> None:
    """Let no proxy of the environment be asked for this machine: HTTP_PROXY is often set without NO_PROXY."""
    given = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))  # noqa: TID251 - as urllib does
    if given.strip() != "*":
        os.environ["no_proxy"] = ",".join(filter(None, [given, "localhost", *HOSTS]))  # noqa: TID251 - of this process
