"""Clients that carry an OCI layout to a registry and back without changing a byte."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.clients import Toolbox
from tests.e2e.images import Image


@dataclass(frozen=True, slots=True)
class PushPullClient:
    """How one client pushes a layout, and pulls into a new one; references carry no scheme."""

    push: Callable[[Toolbox, Image, str], str]
    pull: Callable[[Toolbox, str, Path], str]


def _skopeo_push(tools: Toolbox, image: Image, reference: str) -> str:
    return tools.host("skopeo", *_pushing(image, reference))


def _skopeo_pull(tools: Toolbox, reference: str, layout: Path) -> str:
    return tools.host("skopeo", *_pulling(reference, layout))


def _new_skopeo_push(tools: Toolbox, image: Image, reference: str) -> str:
    return tools.newer("skopeo", *_pushing(image, reference))


def _new_skopeo_pull(tools: Toolbox, reference: str, layout: Path) -> str:
    return tools.newer("skopeo", *_pulling(reference, layout))


# Otherwise skopeo compresses what is not compressed, and calls that a copy.
_EXACT = ("copy", "--all", "--preserve-digests")


def _pushing(image: Image, reference: str) -> list[str]:
    return [*_EXACT, "--dest-tls-verify=false", image.source, f"docker://{reference}"]


def _pulling(reference: str, layout: Path) -> list[str]:
    return [*_EXACT, "--src-tls-verify=false", f"docker://{reference}", f"oci:{layout}:v1"]


def _crane_push(tools: Toolbox, image: Image, reference: str) -> str:
    return tools.host("crane", "push", str(image.layout), reference)


def _crane_pull(tools: Toolbox, reference: str, layout: Path) -> str:
    return tools.host("crane", "pull", "--format=oci", reference, str(layout))


def _oras_push(tools: Toolbox, image: Image, reference: str) -> str:
    here = f"{image.layout}:{image.tag}"
    return tools.host("oras", "cp", "--from-oci-layout", "--to-plain-http", here, reference)


def _oras_pull(tools: Toolbox, reference: str, layout: Path) -> str:
    there = f"{layout}:v1"
    return tools.host("oras", "cp", "--from-plain-http", "--to-oci-layout", reference, there)


def regctl(tools: Toolbox, host: str, *arguments: str) -> str:
    """Run regctl, which must be told that a registry speaks plain HTTP."""
    return tools.host("regctl", "--host", f"reg={host},tls=disabled", *arguments)


def _regctl_push(tools: Toolbox, image: Image, reference: str) -> str:
    here = f"ocidir://{image.layout}:{image.tag}"
    return regctl(tools, reference.partition("/")[0], "image", "copy", here, reference)


def _regctl_pull(tools: Toolbox, reference: str, layout: Path) -> str:
    there = f"ocidir://{layout}:v1"
    return regctl(tools, reference.partition("/")[0], "image", "copy", reference, there)


CLIENTS: dict[str, PushPullClient] = {
    "skopeo": PushPullClient(_skopeo_push, _skopeo_pull),
    "new-skopeo": PushPullClient(_new_skopeo_push, _new_skopeo_pull),
    "crane": PushPullClient(_crane_push, _crane_pull),
    "oras": PushPullClient(_oras_push, _oras_pull),
    "regctl": PushPullClient(_regctl_push, _regctl_pull),
}
