"""The relay beside Debian's docker-registry: push, pull, seal and delete of one random layer, by curl.

Both get the same requests in turn, round by round, each with an empty folder on the same disk. The page cache is warm:
a first round does not count, and free memory is touched before each step, because virtual machines are slow to give
memory that was not in use. What was pushed is removed after each round. A ratio is the median of the rounds' ratios, so
that a busy minute counts for both.
"""

import argparse
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

from benchmarks.measuring import (
    CONFIG,
    MANIFEST,
    MIB,
    Failed,
    Server,
    load,
    manifest,
    noise,
    ratio,
    relay,
    table,
    warm,
)
from tests.ports import free_port

_INSTALL = {"curl": "apt-get install curl", "docker-registry": "apt-get install docker-registry (2.8.2 in Debian 12)"}
_SETTINGS = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""

_SPARE = 2  # layers that fit into the memory made warm before a step that writes

Times = Mapping[str, float]  # seconds by step


class Step(NamedTuple):
    """A measured step; `moves` the layer, so that MB/s tell more than seconds; `shared` if both registries do it."""

    key: str
    what: str
    wanted: str
    moves: bool = True
    shared: bool = True


STEPS = (
    Step("push", "push: POST, PATCH in chunks, PUT", "1.5 times"),
    Step("spool", "GET before the manifest is there", "0.6 times"),
    Step("seal", "PUT of the manifest, which seals", "800 MB/s", shared=False),
    Step("whole", "push and manifest together", "-"),
    Step("cold", "GET after a restart (the relay checks the digest)", "0.6 times"),
    Step("again", "GET once more", "0.6 times"),
    Step("delete", "DELETE of the manifest", "-", moves=False),
)


class Layer(NamedTuple):
    """A file to push."""

    path: Path
    digest: str
    size: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="of the layer, in MiB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where the data goes, three layers at most; default: for temporary files")
    options = parser.parse_args()
    missing = [f"{name} is missing: {how}" for name, how in _INSTALL.items() if not shutil.which(name)]
    if missing:
        sys.exit("\n".join(missing))
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=options.folder) as folder:
        layer = _random_layer(Path(folder, "layer"), options.size * MIB)
        rounds = []
        for number in range(options.rounds + 1):
            try:
                rounds.append(_round(layer, Path(folder, "data"), swapped=number % 2 == 1))
            except Failed as error:
                sys.exit(str(error))
            print(f"round {number} of {options.rounds}: {load()}", file=sys.stderr)
    print(f"{options.rounds} rounds with {options.size} MiB, {load()}\n\n{_report(layer.size, rounds[1:])}")
    return 0


def _random_layer(path: Path, size: int) -> Layer:
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in noise(size):
            sha256.update(chunk)
            file.write(chunk)
    return Layer(path, "sha256:" + sha256.hexdigest(), size)


def docker_registry(data: Path) -> Server:
    data.mkdir(exist_ok=True)
    port, settings = free_port(), data / "config.yml"
    settings.write_text(_SETTINGS.format(folder=data, port=port))
    return Server(["docker-registry", "serve", str(settings)], port)


def _round(layer: Layer, data: Path, *, swapped: bool) -> tuple[Times, Times]:
    """Measure both, the one that was second last time first; gives ours, theirs."""
    times: dict[Callable[[Path], Server], Times] = {}
    for start in (docker_registry, relay) if swapped else (relay, docker_registry):
        times[start] = _measured(start, data, layer)
        shutil.rmtree(data)
    return times[relay], times[docker_registry]


def _measured(start: Callable[[Path], Server], data: Path, layer: Layer) -> Times:
    """Lead a layer through its life in one registry."""
    times: dict[str, float] = {}
    config = data.parent / "config"
    config.write_bytes(CONFIG)
    described = "sha256:" + hashlib.sha256(CONFIG).hexdigest(), len(CONFIG)
    body = data.parent / "manifest"
    body.write_bytes(manifest(described, (layer.digest, layer.size)))
    with start(data) as server:
        base = f"http://127.0.0.1:{server.port}/v2/bench"
        _push(base, Layer(config, *described))
        warm(_SPARE * layer.size)
        times["push"] = _push(base, layer)
        times["spool"] = _pull(base, layer)
        warm(_SPARE * layer.size)
        times["seal"] = _put_manifest(base, body)
    with start(data) as server:
        base = f"http://127.0.0.1:{server.port}/v2/bench"
        times["cold"] = _pull(base, layer)
        times["again"] = _pull(base, layer)
        root = hashlib.sha256(body.read_bytes()).hexdigest()
        times["delete"] = _curl(202, "-X", "DELETE", f"{base}/manifests/sha256:{root}").seconds
    return times | {"whole": times["push"] + times["seal"]}


# One request each


class Answer(NamedTuple):
    """What curl tells of an answer."""

    seconds: float
    received: int
    location: str


def _curl(expected: int, *arguments: str) -> Answer:
    told = "%{stderr}%{http_code}\t%{time_total}\t%{size_download}\t%header{location}"
    command = ["curl", "--silent", "--output", "/dev/null", "--write-out", told, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    status, seconds, received, location = run.stderr.split("\t")
    if run.returncode or int(status) != expected:
        raise Failed(f"{' '.join(arguments)}: curl says {run.returncode}, the registry {status}")
    return Answer(float(seconds), int(received), location)


def _push(base: str, layer: Layer) -> float:
    started = _curl(202, "-X", "POST", f"{base}/blobs/uploads/")
    where = urljoin(base, started.location)
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-H", "Content-Type: application/octet-stream")
    sent = _curl(202, "-X", "PATCH", *chunked, "-T", str(layer.path), where)
    where = urljoin(base, sent.location)
    finished = _curl(201, "-X", "PUT", f"{where}{'&' if '?' in where else '?'}digest={layer.digest}")
    return started.seconds + sent.seconds + finished.seconds


def _put_manifest(base: str, body: Path) -> float:
    return _curl(201, "-X", "PUT", "-H", f"Content-Type: {MANIFEST}", "-T", str(body), f"{base}/manifests/v1").seconds


def _pull(base: str, layer: Layer) -> float:
    answer = _curl(200, f"{base}/blobs/{layer.digest}")
    if answer.received != layer.size:
        raise Failed(f"{answer.received} bytes came instead of {layer.size}")
    return answer.seconds


# The table


def _report(size: int, rounds: Sequence[tuple[Times, Times]]) -> str:
    head = ("median (from the slowest to the fastest)", "image-relay", "docker-registry", "ratio", "wanted")
    return table([head, *(_row(step, size, rounds) for step in STEPS)])


def _row(step: Step, size: int, rounds: Sequence[tuple[Times, Times]]) -> tuple[str, ...]:
    ours, theirs = ([times[step.key] for times in side] for side in zip(*rounds, strict=True))
    if not step.shared:
        return step.what, _figure(step, size, ours), "-", "-", step.wanted
    compared = f"{ratio(theirs, ours):.2f}"  # of rates, so the other way round than of times
    return step.what, _figure(step, size, ours), _figure(step, size, theirs), compared, step.wanted


def _figure(step: Step, size: int, times: Sequence[float]) -> str:
    if not step.moves:
        return f"{statistics.median(times) * 1e3:.0f} ms"
    rates = [size / each / 1e6 for each in times]
    return f"{statistics.median(rates):.0f} MB/s ({min(rates):.0f} to {max(rates):.0f})"


if __name__ == "__main__":
    sys.exit(main())
