"""Commands to copy from the summary: each fetches what was stored with the program that can use it."""

import shlex
from enum import Enum, auto

from proxy.artifacts.by_hand import FileByHand
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, Tag, is_path, label
from proxy.registry.tag_rules import is_cache

_CHART = "application/vnd.cncf.helm.config.v1+json"


class ContentKind(Enum):
    """Who can use what a manifest describes."""

    IMAGE = auto()  # engines
    CHART = auto()  # helm
    CACHE = auto()  # BuildKit
    OTHER = auto()  # whoever knows what it is


def content_kind(manifest: Manifest) -> ContentKind:
    """Return what a manifest or index describes; an index of no other type is one of images."""
    if manifest.artifact_type == _CHART:
        return ContentKind.CHART
    if is_cache(manifest):
        return ContentKind.CACHE
    is_image = manifest.is_image or (manifest.is_index and not manifest.declared_artifact_type)
    return ContentKind.IMAGE if is_image else ContentKind.OTHER


def pull_command(kind: ContentKind, host: str, name: Name, reference: Tag | Digest) -> str:
    """Return the command that pulls from a relay at this host."""
    image = label(name, reference)
    if kind is ContentKind.IMAGE and not is_path(name.text):  # a registry with a port: no engine can pull it so
        return f"curl -gsSfL 'http://{host}/relay/images/{image}' | docker load"
    if kind is ContentKind.CHART and isinstance(reference, Tag):
        version = reference.text.replace("_", "+")  # as helm writes a version in a tag
        return f"helm pull oci://{host}/{name} --version {version} --plain-http"
    return {
        ContentKind.IMAGE: f"docker pull {host}/{image}",
        ContentKind.CHART: f"helm pull oci://{host}/{image} --plain-http",
        ContentKind.CACHE: f"docker buildx build --cache-from type=registry,ref={host}/{image} .",
        ContentKind.OTHER: f"oras pull --plain-http {host}/{image}",
    }[kind]


def load_commands(kind: ContentKind, file: FileByHand | None, name: Name, digest: str) -> tuple[str, ...]:
    """Return the commands that use the file of an artifact without a relay; none if no program reads such a file."""
    if file is None or kind in {ContentKind.CHART, ContentKind.CACHE}:
        return ()
    download = (file.download,) if file.download else ()
    if kind is ContentKind.IMAGE:
        return (*download, f"docker load -i {shlex.quote(file.path)}")
    tarball = f"{name.text.rpartition('/')[2]}.tar"  # oras takes what follows an @ for a digest
    return (*download, f"zstd -d -o {tarball} {shlex.quote(file.path)}", f"oras pull --oci-layout {tarball}@{digest}")
