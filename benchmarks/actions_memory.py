"""How much memory the relay needs at most for one large layer that goes into an artifact, and comes out of it.

The artifact service is the emulator of `tests/fakes/actions` with its blobs in Azurite on disk: install it with
`tools/install-actions-emulator`. One image of 4 GiB is pushed in one job; in another one, on an empty disk, it is
pulled by one client, and then in a third by three at once. Every pull is checked by its digest.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import GIB, MIB, Failed, Registry, Server, load, manifest, mib, noise, peak_rss, relay, table
from tests.fakes.actions import azurite
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread

_RSS = 150 * MIB
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
_PATIENCE = 60.0  # seconds for one answer; a relay says earlier that it takes longer
_HOPS = 20  # redirects until the image is stored: far more than a client follows, for slow machines

Blob = tuple[str, int]  # digest and size


class Result(NamedTuple):
    """What a relay needed at most from its start to the end of a step, and how long the step took."""

    what: str
    size: int  # bytes that were moved
    rss: int  # bytes
    seconds: float

    def row(self) -> tuple[str, ...]:
        """Write it as a row of the table."""
        rate = f"{self.size / self.seconds / 1e6:,.0f} MB/s"
        return self.what, mib(self.rss), f"{self.seconds:.1f} s", rate, "yes" if self.rss < _RSS else "NO"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="where the data goes, 14 GiB at most; default: the folder for temporary files")
    parser.add_argument("--mebibytes", type=int, default=4 * GIB // MIB, help="size of the layer, 4096 by default")
    arguments = parser.parse_args()
    print(f"At most {mib(_RSS)} of memory; {load()}\n", flush=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=arguments.folder) as data:
        try:
            results += _through_artifacts(Path(data), arguments.mebibytes * MIB)
        except (Failed, OSError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return 1
    head = ("in one process", "peak RSS", "took", "rate", "sound")
    print(table([head, *(result.row() for result in results)]), f"\nAt the end: {load()}")
    return 0 if all(result.rss < _RSS for result in results) else 1


def _through_artifacts(data: Path, size: int) -> Iterator[Result]:
    """Push in one job, pull in the others."""
    options = Options(whole_read_limit=None)
    with (
        azurite.running(data / "azurite.log", data / "azurite") as origin,
        in_thread(options, data / "emulator", origin) as actions,
    ):
        layers: list[Blob] = []
        with _job(actions, "build", data) as server:
            registry = Registry(server.port, "large")
            yield _during("push of the layer", server, size, lambda: layers.append(registry.push(noise(size))))
            config = registry.push(iter([_CONFIG]))
            yield _during("... and into an artifact", server, size, lambda: _seal(server.port, config, layers[0]))
        digest = layers[0][0]
        with _job(actions, "test", data) as server:
            yield _during("pull from the artifact", server, size, lambda: Registry(server.port, "large").pull(digest))
        with _job(actions, "deploy", data) as server:
            pulls = [lambda: Registry(server.port, "large").pull(digest)] * 3
            yield _during("3 pulls at once", server, 3 * size, *pulls)


def _job(actions: Emulator, name: str, data: Path) -> Server:
    """Prepare the relay of a job, with an empty folder."""
    return relay(data / name, "--store", "actions", environment=actions.environment(actions.job(name)))


def _during(what: str, server: Server, size: int, *works: Callable[[], object]) -> Result:
    """Do some work, all of it at once, and tell what it took."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(work) for work in works]:
            future.result()
    result = Result(what, size, peak_rss(server.pid), time.monotonic() - began)
    print(*result.row(), sep="  ", file=sys.stderr, flush=True)
    return result


def _seal(port: int, config: Blob, layer: Blob) -> None:
    """Push the manifest under a tag, and come again as often as the relay asks for it."""
    path = "/v2/large/manifests/v1"
    for _ in range(_HOPS):
        connection = HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        connection.request("PUT", path, manifest(config, layer), {"Content-Type": _MANIFEST, "Connection": "close"})
        answer = connection.getresponse()
        said, path = answer.read(), answer.headers.get("Location", path)
        if answer.status != HTTPStatus.TEMPORARY_REDIRECT:
            break
    else:
        raise Failed(f"the image is not stored after {_HOPS} redirects")
    if answer.status != HTTPStatus.CREATED:
        raise Failed(f"PUT {path}: {answer.status}: {said[:300]!r}")


if __name__ == "__main__":
    sys.exit(main())
