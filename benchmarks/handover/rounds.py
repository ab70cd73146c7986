"""One engine after the other, round by round: every flow once in each, on an image that is new."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from benchmarks import storage
from benchmarks.handover import content
from benchmarks.handover.flows import Flow, Start
from benchmarks.handover.jobs import IMAGE, Job, Run
from benchmarks.handover.results import Took
from benchmarks.measuring import Failed, Server, cpu_seconds, load, warm
from tests.e2e.clients import Toolbox
from tests.e2e.engines import Engine
from tests.fakes.actions.emulator import Emulator
from tests.fakes.actions.options import Options
from tests.fakes.actions.threads import in_thread

_TRIAL = 20_000_000  # bytes of the image with which every flow is tried first
_SPARE = 3  # images that fit into the memory made warm
_FIRST_RUN = 1000


class Bench:
    """Two engines of one kind, and the artifact service."""

    def __init__(self, engines: Sequence[Engine], actions: Emulator, blobs: Server) -> None:
        self._engines = engines
        self._actions = actions
        self._blobs = blobs
        self._numbers = count(_FIRST_RUN)
        self._context = engines[0].toolbox.work / content.CONTEXT

    @property
    def engine(self) -> str:
        """The version and the image store of the engines."""
        version = self._engines[0].docker("version", "--format", "{{.Server.Version}}").strip()
        return f"Docker {version}, {'classic' if self._engines[0].graph_store else 'containerd'} store"

    def rounds(self, flows: Sequence[Flow], size: int, rounds: int, files: Path) -> Iterator[Took]:
        """Try every flow with a small image, digests being checked, then measure them all in each round."""
        self._actions.options.check_digest = True
        content.write_files(self._context, files, _TRIAL)
        for flow in flows:
            self._measured(flow, _TRIAL)
        shutil.rmtree(self._context)
        self._actions.options.check_digest = False
        content.write_files(self._context, files, size)
        for number in range(rounds):
            for flow in flows if number % 2 == 0 else reversed(flows):
                took = self._measured(flow, size)
                print(
                    f"{flow.key}: {took.seconds:.1f} s, {took.cpu:.1f} s of CPU; {load()}", file=sys.stderr, flush=True
                )
                yield took

    def _measured(self, flow: Flow, size: int) -> Took:
        run = self._begin(flow)
        warm(_SPARE * size)
        os.sync()
        storage_cpu = cpu_seconds(self._blobs.pid)
        began = time.perf_counter()
        try:
            name = flow.work(run)
        except Failed as error:
            raise Failed(f"{flow.key}: {error}") from None
        seconds = time.perf_counter() - began
        storage_cpu = cpu_seconds(self._blobs.pid) - storage_cpu
        self._check(name)
        stored = sum(record.size for record in self._actions.ledger.records)
        self._clear(run)
        return Took(flow, seconds, run.build.seconds + run.use.seconds, storage_cpu, stored)

    def _begin(self, flow: Flow) -> Run:
        number = next(self._numbers)
        names = ("build", "use")
        run = Run(
            *(Job(name, engine, self._actions, number) for name, engine in zip(names, self._engines, strict=True))
        )
        self._token = content.renew(self._context)
        run.build.build(*(["--output", "type=cacheonly"] if flow.start is Start.BUILD else ["--tag", IMAGE]))
        return run

    def _check(self, name: str) -> None:
        """Raise Failed unless the second engine has the image of this run, unpacked: a load may fail without a word."""
        use = self._engines[1]
        if use.inspect(name, f'{{{{index .Config.Labels "{content.LABEL}"}}}}') != self._token:
            raise Failed(f"{name} is another image")
        use.docker("rm", use.docker("create", "--network", "none", name).strip())

    def _clear(self, run: Run) -> None:
        for job in run:
            job.engine.docker("system", "prune", "--all", "--force")
            shutil.rmtree(job.folder)
        self._actions.ledger.records.clear()
        storage.clear(self._blobs)


@contextmanager
def bench(kind: type[Engine], data: Path, blobs: Path) -> Iterator[Bench]:
    """Start engines and service; at the end all is gone."""
    engines = [kind(Toolbox(data / name)) for name in ("build", "use")]
    try:
        for engine in engines:
            engine.start()
        with (
            storage.prepare(blobs) as server,
            in_thread(Options(direct=True), data / "emulator", f"http://127.0.0.1:{server.port}") as actions,
        ):
            yield Bench(engines, actions, server)
    finally:
        for engine in engines:
            engine.stop()
