"""Ports for servers that have to be told theirs: other processes, which begin to listen a while later.

The kernel gives ports from 32,768 on to whoever asks for any: clients, and servers in the tests' own process. One of
those is free when it is looked up, and taken when the other process wants it.
"""

import itertools
import os
import socket
from contextlib import suppress

_FIRST, _COUNT = 10_000, 20_000  # Linux gives away none of these by itself, macOS neither
_next = itertools.count(os.getpid() * 7919)  # each worker begins somewhere else


def free_port() -> int:
    """Return a port that nobody listens on, at any address, and that nobody is given meanwhile."""
    has_both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if has_both else socket.AF_INET
    for number in itertools.islice(_next, _COUNT):
        port = _FIRST + number % _COUNT
        with suppress(OSError), socket.create_server(("", port), family=family, dualstack_ipv6=has_both):
            return port
    raise AssertionError(f"no port is free from {_FIRST} to {_FIRST + _COUNT}")
