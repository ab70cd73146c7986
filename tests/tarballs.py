"""Tarballs of images in every shape that tools write, made here byte by byte; and the same compressed in every way."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import zstandard

from proxy.oci.digest import Digest
from proxy.oci.manifest import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"
Fields = dict[str, Any]
Files = dict[str, bytes]

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": lambda content: gzip.compress(content, 1, mtime=0),
    "bzip2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "zstd": lambda content: zstandard.ZstdCompressor(level=1).compress(content),
}


def tar(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """Write a tar of files, and of links to some of them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Write a zip as upload-artifact does: sizes behind the data, where a reader that only goes forward finds none."""

    class Forward(io.RawIOBase):
        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, content: Any, /) -> int:
            self.written += content
            return len(content)

    target = Forward()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bytes(target.written)


@dataclass(frozen=True)
class Sample:
    """An image of plain layers, each a tar."""

    layers: tuple[bytes, ...]
    architecture: str = "amd64"

    @property
    def config(self) -> bytes:
        digests = [str(Digest.of(layer)) for layer in self.layers]
        fields = {"os": "linux", "architecture": self.architecture, "rootfs": {"type": "layers", "diff_ids": digests}}
        return json.dumps(fields).encode()


def sample(text: bytes = b"hello", count: int = 2, architecture: str = "amd64") -> Sample:
    """Make an image whose layers have this text in them."""
    return Sample(tuple(tar({f"{number}.txt": text}) for number in range(count)), architecture)


def entry(config: str, layers: Iterable[str], names: Iterable[str]) -> Fields:
    return {"Config": config, "RepoTags": list(names) or None, "Layers": list(layers)}


def descriptor(content: bytes, media_type: str, **more: object) -> Fields:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content), **more}


def blob(content: bytes) -> Files:
    return {f"blobs/sha256/{Digest.of(content).hex}": content}


def legacy_save(image: Sample, *names: str) -> bytes:
    """As Docker before 25 saves; a layer that stands twice is a link."""
    files: Files = {}
    for number, layer in enumerate(image.layers):
        files |= {f"id{number}/VERSION": b"1.0", f"id{number}/json": b"{}", f"id{number}/layer.tar": layer}
    config = f"{Digest.of(image.config).hex}.json"
    paths = [f"id{number}/layer.tar" for number in range(len(image.layers))]
    files |= {config: image.config, "manifest.json": json.dumps([entry(config, paths, names)]).encode()}
    return tar(files | {"repositories": b"{}"})


def skopeo_archive(image: Sample, *names: str) -> bytes:
    """As skopeo, podman and buildah write `docker-archive:`; layers are called by their digest."""
    config = f"{Digest.of(image.config).hex}.json"
    paths = {f"{Digest.of(layer).hex}.tar": layer for layer in image.layers}
    links = {f"id{number}/layer.tar": f"../{path}" for number, path in enumerate(paths)}
    listed = json.dumps([entry(config, paths, names)]).encode()
    return tar({**paths, config: image.config, "manifest.json": listed, "repositories": b"{}"}, links)


def linked_archive(image: Sample, *names: str) -> bytes:
    """With `manifest.json` naming links, as Docker before 25 does for a layer that it has written already."""
    config = f"{Digest.of(image.config).hex}.json"
    files = {f"{number}.tar": layer for number, layer in enumerate(image.layers)}
    links = {f"id{number}/layer.tar": f"../{path}" for number, path in enumerate(files)}
    return tar(
        {**files, config: image.config, "manifest.json": json.dumps([entry(config, links, names)]).encode()}, links
    )


def crane_archive(image: Sample, *names: str) -> bytes:
    """As crane writes: layers in gzip, nothing of OCI."""
    config = str(Digest.of(image.config))
    layers = [COMPRESSIONS["gzip"](layer) for layer in image.layers]
    files = {f"{Digest.of(layer).hex}.tar.gz": layer for layer in layers}
    listed = json.dumps([entry(config, files, names)]).encode()
    return tar({config: image.config, **files, "manifest.json": listed})


def manifest_of(image: Sample, compression: str, media_type: str = OCI_MANIFEST) -> tuple[bytes, Files]:
    """Return the manifest of an image, and all that it needs as files of a layout."""
    layers = [COMPRESSIONS[compression](layer) for layer in image.layers]
    suffix = "" if compression == "plain" else f"+{compression}"
    fields = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(image.config, CONFIG_TYPE),
        "layers": [descriptor(layer, LAYER_TYPE + suffix) for layer in layers],
    }
    content = json.dumps(fields, indent=1).encode()
    files = blob(image.config) | blob(content)
    for layer in layers:
        files |= blob(layer)
    return content, files


def layout(descriptors: Iterable[Fields], files: Files, docker: Iterable[Fields] = ()) -> Files:
    """Return the files of an OCI layout, with Docker's `manifest.json` where that has entries."""
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(descriptors)}
    listed = [*docker]
    more = {"manifest.json": json.dumps(listed).encode()} if listed else {}
    return {**files, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **more}


def oci_save(image: Sample, *names: str, compression: str = "plain", media_type: str = OCI_MANIFEST) -> bytes:
    """As Docker 25 and later save: from the classic store with plain layers, from containerd's as they were pushed."""
    content, files = manifest_of(image, compression, media_type)
    found = [descriptor(content, media_type, annotations={NAME: name}) for name in names]
    paths = [path for path in files if files[path] not in {content, image.config}]
    docker = entry(next(iter(blob(image.config))), paths, names)
    return tar(layout(found or [descriptor(content, media_type)], files, [docker]))


def oci_archive(image: Sample, *names: str) -> bytes:
    """As skopeo writes `oci-archive:`: nothing but a tag is known of the name."""
    content, files = manifest_of(image, "gzip")
    tag = names[0].rpartition(":")[2] if names else "latest"
    return tar(layout([descriptor(content, OCI_MANIFEST, annotations={REF: tag})], files))


def buildx_oci(images: Iterable[Sample], *names: str, typed: bool = True) -> bytes:
    """As buildx writes `type=oci` for several platforms: an index in the index; its children may be `typed`."""
    files: Files = {}
    children = []
    for image in images:
        content, more = manifest_of(image, "gzip")
        platform = {"os": "linux", "architecture": image.architecture}
        child = descriptor(content, OCI_MANIFEST, platform=platform)
        children.append(child if typed else {key: value for key, value in child.items() if key != "mediaType"})
        files |= more
    content = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    found = [descriptor(content, OCI_INDEX, annotations={NAME: name, REF: name}) for name in names]
    return tar(layout(found or [descriptor(content, OCI_INDEX)], files | blob(content)))


SHAPES: dict[str, Callable[..., bytes]] = {
    "docker before 25": legacy_save,
    "docker 25, classic store": oci_save,
    "docker, containerd store": lambda image, *names: oci_save(image, *names, compression="gzip"),
    "containerd store, zstd": lambda image, *names: oci_save(image, *names, compression="zstd"),
    "buildx type=docker": lambda image, *names: oci_save(image, *names, compression="gzip", media_type=DOCKER_MANIFEST),
    "buildx type=oci": lambda image, *names: buildx_oci([image], *names),
    "skopeo docker-archive": skopeo_archive,
    "layers by links": linked_archive,
    "crane": crane_archive,
    "skopeo oci-archive": oci_archive,
}
NO_DIGEST = {"docker before 25", "skopeo docker-archive", "layers by links", "crane"}  # of a manifest: one is made
