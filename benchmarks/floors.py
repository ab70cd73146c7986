"""What the relay cannot do without, in CPU seconds per GiB: each part alone, in one thread, 2 MiB at a time.

A step of the relay that is compared with these takes the sum of its parts at least, whatever language it is written in:
hashes and checksums are those of C libraries, and the kernel has the rest.
"""

import argparse
import hashlib
import os
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from isal.isal_zlib import crc32

from benchmarks.measuring import GIB, MIB, certificate, load, table, warm
from proxy.archive.crc64 import crc64
from proxy.archive.pieces import PIECE

_TOTAL = 512 * MIB  # bytes of each measurement
_TIMES = _TOTAL // PIECE

# What a step consists of at least.
_STEPS: Mapping[str, tuple[str, ...]] = {
    "receive": ("receive", "SHA-256", "CRC-32", "CRC-64", "write to a file"),
    "seal and upload": ("read a file", "CRC-32", "SHA-256", "CRC-64", "send"),
    "far pull": ("receive", "CRC-32", "SHA-256", "write to a file", "read a file", "CRC-32", "send"),
    "pull from the cache": ("read a file", "CRC-32", "send"),
}


class Ground(NamedTuple):
    """What the parts work with."""

    piece: bytes
    buffer: memoryview
    path: Path
    certificate: tuple[Path, Path]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="5 by default")
    parser.add_argument("--folder", help="where the file goes; default: the folder for temporary files")
    arguments = parser.parse_args()
    print(f"{arguments.rounds} rounds; {load()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=arguments.folder) as made:
        folder = Path(made)
        ground = Ground(os.urandom(PIECE), memoryview(bytearray(PIECE)), folder / "file", certificate(folder))
        seconds = {part: [_cpu(work, ground) for _ in range(arguments.rounds)] for part, work in _PARTS.items()}
    medians = {part: statistics.median(each) * GIB / _TOTAL for part, each in seconds.items()}
    print(table([("part", "CPU s/GiB"), *((part, f"{each:.2f}") for part, each in medians.items())]))
    sums = [(step, f"{sum(medians[part] for part in parts):.2f}", ", ".join(parts)) for step, parts in _STEPS.items()]
    print("", table([("step", "at least", "its parts"), *sums]), sep="\n")
    print(f"\nAt the end: {load()}")
    return 0


def _cpu(work: Callable[[Ground], None], ground: Ground) -> float:
    """Return the CPU seconds of this thread, without what prepares a measurement."""
    warm(2 * _TOTAL)
    began = time.thread_time()
    work(ground)
    return time.thread_time() - began


def _hashed(ground: Ground) -> None:
    found = hashlib.sha256()
    for _ in range(_TIMES):
        found.update(ground.piece)


def _summed(checksum: Callable[[bytes], int]) -> Callable[[Ground], None]:
    def work(ground: Ground) -> None:
        for _ in range(_TIMES):
            checksum(ground.piece)

    return work


def _written(ground: Ground) -> None:
    ground.path.unlink(missing_ok=True)
    with ground.path.open("wb", buffering=0) as file:
        for _ in range(_TIMES):
            file.write(ground.piece)


def _read(ground: Ground) -> None:
    with ground.path.open("rb", buffering=0) as file:
        while file.readinto(ground.buffer):
            pass


_PARTS: Mapping[str, Callable[[Ground], None]] = {
    "SHA-256": _hashed,
    "CRC-32": _summed(crc32),
    "CRC-64": _summed(crc64),
    "write to a file": _written,
    "read a file": _read,  # what was written
    "receive": lambda ground: _received(ground.buffer),
    "send": lambda ground: _sent(ground.piece),
    "receive over TLS": lambda ground: _received(ground.buffer, ground.certificate),
    "send over TLS": lambda ground: _sent(ground.piece, ground.certificate),
}


def _received(buffer: memoryview, certificate: tuple[Path, Path] | None = None) -> None:
    _with_peer(certificate, sends=True, use=lambda line: _drain(line, buffer))


def _sent(piece: bytes, certificate: tuple[Path, Path] | None = None) -> None:
    _with_peer(certificate, sends=False, use=lambda line: _fill(line, piece))


def _with_peer(certificate: tuple[Path, Path] | None, *, sends: bool, use: Callable[[socket.socket], None]) -> None:
    """Exchange bytes with a process that is not measured, over TLS if there is a certificate."""
    own, public = certificate or (None, None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = get_context("fork").Process(target=_peer, args=(server, own, sends), daemon=True)
        peer.start()
        line = socket.create_connection(server.getsockname())
        if public:
            line = ssl.create_default_context(cafile=public).wrap_socket(line, server_hostname="127.0.0.1")
        with line:
            use(line)
        peer.join()


def _peer(server: socket.socket, own: Path | None, sends: bool) -> None:
    line, _ = server.accept()
    if own:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own)
        line = context.wrap_socket(line, server_side=True)
    with line:
        if sends:
            _fill(line, os.urandom(PIECE))
        else:
            _drain(line, memoryview(bytearray(PIECE)))


def _drain(line: socket.socket, buffer: memoryview) -> None:
    left = _TOTAL
    while left:
        count = line.recv_into(buffer)
        if not count:
            raise ConnectionError("the other end has gone")
        left -= count


def _fill(line: socket.socket, piece: bytes) -> None:
    for _ in range(_TIMES):
        line.sendall(piece)


if __name__ == "__main__":
    sys.exit(main())
