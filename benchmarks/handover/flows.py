"""The ways from one job to the other. Each ends with the image in the engine of the second job.

A flow begins with a build whose steps are all done, in the cache of the builder, or with an image in the engine.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from benchmarks.handover.jobs import IMAGE, Run
from tests.e2e.engines import Engine

Work = Callable[[Run], str]  # gives the name of the image in the engine of the second job


class Start(StrEnum):
    """What is there before the clock starts."""

    BUILD = "the steps of a build"
    IMAGE = "an image in the engine"


class Flow(NamedTuple):
    """A way to hand an image over."""

    key: str
    title: str
    start: Start
    floor: str  # the key of the flow that it is compared with
    work: Work
    needs_containerd: bool = False  # whether the classic store cannot do it
    by_relay: bool = False

    def fits(self, engine: type[Engine]) -> bool:
        """Return whether an engine can do it."""
        return not (self.needs_containerd and engine.graph_store)


def _guide_of_build(run: Run) -> str:
    """Docker's guide: a tarball of the builder, upload-artifact as it is, download-artifact, docker load."""
    run.build.build("--output", f"type=docker,name={IMAGE},dest={run.build.folder}/myimage.tar")
    return _through_artifact(run, "myimage.tar")


def _guide_of_image(run: Run) -> str:
    run.build.shell(f"docker save {IMAGE} > myimage.tar")
    return _through_artifact(run, "myimage.tar")


def _by_hand_of_build(run: Run) -> str:
    options = f"type=oci,name={IMAGE},compression=zstd,oci-mediatypes=true,dest={run.build.folder}/myimage.tar"
    run.build.build("--output", options)
    return _through_artifact(run, "myimage.tar", raw=True)


def _by_hand_of_image(run: Run) -> str:
    run.build.shell(f"docker save {IMAGE} | zstd -q -T0 -3 -o myimage.tar.zst")
    return _through_artifact(run, "myimage.tar.zst", raw=True)


def _through_artifact(run: Run, file: str, *, raw: bool = False) -> str:
    run.use.download(run.build.upload(file, raw=raw))
    unpack = "zstd -dc" if file.endswith(".zst") else "cat"
    run.use.shell(f"{unpack} got/{file} | docker load")
    return IMAGE


def _push_build(run: Run, host: str, compression: str) -> None:
    options = f"type=image,name={host}/{IMAGE},push=true,oci-mediatypes=true,compression={compression}"
    run.build.build("--output", options)


def _push_image(run: Run, host: str, _: str = "") -> None:
    run.build.shell(f"docker tag {IMAGE} {host}/{IMAGE} && docker push {host}/{IMAGE}")


def _build_and_push(run: Run, host: str, _: str = "") -> None:
    run.build.build("--tag", IMAGE)
    _push_image(run, host)


def _save(run: Run, host: str, _: str = "") -> None:
    run.build.command(host, "save", IMAGE)


def _pull(run: Run, host: str) -> str:
    run.use.shell(f"docker pull {host}/{IMAGE}")
    return f"{host}/{IMAGE}"


def _load(run: Run, host: str) -> str:
    run.use.command(host, "load", IMAGE)
    return IMAGE


Send = Callable[[Run, str, str], None]
Receive = Callable[[Run, str], str]


def _by_relay(send: Send, receive: Receive = _pull, compression: str = "") -> Work:
    def work(run: Run) -> str:
        with run.build.relay() as host:
            send(run, host, compression)
        with run.use.relay() as host:
            return receive(run, host)

    return work


def _by_registry(send: Send, compression: str = "") -> Work:
    """Push to a registry on this machine that both jobs reach, where nothing goes through artifacts."""

    def work(run: Run) -> str:
        with run.build.registry() as host:
            send(run, host, compression)
            return _pull(run, host)

    return work


def _engine_alone(run: Run) -> str:
    run.build.shell(f"docker save {IMAGE} > {run.use.folder}/image.tar")
    run.use.shell("docker load < image.tar")
    return IMAGE


_B, _I = Start.BUILD, Start.IMAGE


def _built(compression: str) -> list[Flow]:
    """Return a build that compresses in this way, and its floor; the classic store takes gzip whatever is asked for."""
    chosen, floor = compression != "gzip", f"floor-{compression}"
    relayed, alone = _by_relay(_push_build, compression=compression), _by_registry(_push_build, compression)
    return [
        Flow(f"build-{compression}", f"build and push {compression}, pull", _B, floor, relayed, chosen, by_relay=True),
        Flow(floor, f"the same through a local registry, {compression}", _B, floor, alone, chosen),
    ]


FLOWS = (
    Flow("guide-build", "Docker's guide: `type=docker`, zip artifact, load", _B, "floor-gzip", _guide_of_build, True),
    Flow("hand-build", "by hand: `type=oci` with zstd, raw artifact, load", _B, "floor-zstd", _by_hand_of_build, True),
    *(flow for compression in ("gzip", "zstd", "uncompressed") for flow in _built(compression)),
    Flow("build-push", "build to the engine, push, pull", _B, "floor-gzip", _by_relay(_build_and_push), by_relay=True),
    Flow("guide-image", "as the guide, with `docker save`: zip artifact, load", _I, "alone", _guide_of_image),
    Flow("hand-image", "by hand: save, zstd, raw artifact, load", _I, "alone", _by_hand_of_image),
    Flow("save-load", "`image-relay save`, `image-relay load`", _I, "alone", _by_relay(_save, _load), by_relay=True),
    Flow("alone", "the engine alone: save to a file, load", _I, "alone", _engine_alone),
    Flow("push-pull", "push, pull", _I, "floor-push", _by_relay(_push_image), by_relay=True),
    Flow("save-pull", "`image-relay save`, pull", _I, "floor-push", _by_relay(_save), by_relay=True),
    Flow("floor-push", "push and pull through a local registry", _I, "floor-push", _by_registry(_push_image)),
)
