"""The blob storage of the benchmarks, in a process of its own."""

import sys
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.measuring import Server
from tests.fakes import light_storage
from tests.fakes.actions.sas import ACCOUNT
from tests.ports import free_port


def prepare(folder: Path, *tls: str) -> Server:
    """Prepare a storage that keeps its files in a folder; `tls`: port and certificate of a second way to them."""
    port = free_port()
    return Server([sys.executable, "-m", light_storage.__name__, str(folder), str(port), *tls], port)


def clear(server: Server) -> None:
    """Forget all blobs."""
    connection = HTTPConnection("127.0.0.1", server.port)
    connection.request("DELETE", f"/{ACCOUNT}")
    connection.getresponse().read()
    connection.close()
