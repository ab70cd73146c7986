"""Images of every shape, made here without a network, each with content never seen before.

Fresh content matters: an engine that has a layer already loads and pulls it without reading.
Every runnable image prints its own token, so a container proves which image it came from.
"""

import gzip
import hashlib
import io
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from tests.machine import require

Descriptor = dict[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ATTESTATION = "application/vnd.in-toto+json"
_EPOCH = "1970-01-01T00:00:00Z"

BIG_LAYER = 301 * 1024 * 1024  # bytes, random: no compression makes it smaller


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image in an OCI layout of its own."""

    layout: Path
    digest: str
    token: str
    tag: str = "v1"

    @property
    def source(self) -> str:
        """The image as skopeo and buildah name it."""
        return f"oci:{self.layout}:{self.tag}"

    @property
    def blobs(self) -> set[str]:
        return blobs_of(self.layout)


@dataclass(frozen=True, slots=True)
class Layer:
    data: bytes
    media_type: str
    diff_id: str


def blobs_of(layout: Path) -> set[str]:
    """Return the digests in an OCI layout, each checked against the bytes it names."""
    found = set()
    for path in (layout / "blobs").glob("*/*"):
        with path.open("rb") as file:
            assert hashlib.file_digest(file, path.parent.name).hexdigest() == path.name
        found.add(f"{path.parent.name}:{path.name}")
    return found


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def layer(files: Mapping[str, bytes], compression: str = "gzip", level: int = 6) -> Layer:
    plain = tar(files)
    match compression:
        case "gzip":
            data, suffix = gzip.compress(plain, level, mtime=0), "+gzip"
        case "zstd":
            data, suffix = zstandard.ZstdCompressor().compress(plain), "+zstd"
        case _:
            data, suffix = plain, ""
    return Layer(data, f"{_LAYER}{suffix}", digest_of(plain))


class Layout:
    """An OCI image layout in the making."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def add(self, data: bytes, media_type: str) -> Descriptor:
        digest = digest_of(data)
        (self.path / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_json(self, value: object, media_type: str) -> Descriptor:
        return self.add(json.dumps(value).encode(), media_type)

    def image(self, layers: Sequence[Layer], command: Sequence[str], architecture: str = "amd64") -> Descriptor:
        config = {
            "created": _EPOCH,
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": list(command)},
            "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
            "history": [{"created": _EPOCH, "created_by": "a test"} for _ in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add_json(config, CONFIG),
            "layers": [self.add(each.data, each.media_type) for each in layers],
        }
        platform = {"architecture": architecture, "os": "linux"}
        return self.add_json(manifest, MANIFEST) | {"platform": platform}

    def attestation(self, subject: Descriptor) -> Descriptor:
        """Add what BuildKit adds beside an image: how it was built."""
        statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicate": secrets.token_hex()}
        config = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add_json(config, CONFIG),
            "layers": [self.add_json(statement, _ATTESTATION)],
        }
        return self.add_json(manifest, MANIFEST) | {
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": subject["digest"],
            },
        }

    def index(self, children: Sequence[Descriptor]) -> Descriptor:
        value = {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(children)}
        return self.add_json(value, INDEX)

    def finish(self, root: Descriptor, token: str, tag: str = "v1") -> Image:
        named = root | {"annotations": {"org.opencontainers.image.ref.name": tag}}
        named.pop("platform", None)
        index = {"schemaVersion": 2, "manifests": [named]}
        (self.path / "index.json").write_text(json.dumps(index))
        return Image(self.path, str(root["digest"]), token, tag)


def base_layers(token: str, compression: str = "gzip") -> list[Layer]:
    """Return a token and a program that can print it; the token makes every chain id new."""
    busybox = Path(require("busybox")).read_bytes()
    return [
        layer({"token": token.encode()}, compression),
        layer({"bin/busybox": busybox, "bin/cat": busybox}, compression),
    ]


PRINT_TOKEN = ("/bin/busybox", "cat", "/token")


def _single(path: Path, extra: Sequence[Layer], compression: str, architecture: str, token: str = "") -> Image:
    layout, token = Layout(path), token or secrets.token_hex(16)
    layers = [*base_layers(token, compression), *extra]
    return layout.finish(layout.image(layers, PRINT_TOKEN, architecture), token)


def several_layers(path: Path, token: str = "") -> Image:
    extra = [layer({f"opt/{number}": os.urandom(number << 20)}, level=1) for number in range(1, 5)]
    return _single(path, extra, "gzip", "amd64", token)


def zstd_layers(path: Path) -> Image:
    return _single(path, [layer({"opt/random": os.urandom(1 << 20)}, "zstd")], "zstd", "amd64")


def plain_layers(path: Path) -> Image:
    return _single(path, [layer({"opt/random": os.urandom(5 << 20)}, "none")], "none", "amd64")


def empty_layer(path: Path) -> Image:
    return _single(path, [layer({})], "gzip", "amd64")


def foreign_architecture(path: Path) -> Image:
    return _single(path, [], "gzip", "s390x")


def big_layer(path: Path) -> Image:
    return _single(path, [layer({"opt/big": os.urandom(BIG_LAYER)}, level=0)], "gzip", "amd64")


def attested_index(path: Path) -> Image:
    """Two platforms and the attestation of one, as buildx pushes them."""
    layout, token = Layout(path), secrets.token_hex(16)
    near = layout.image(base_layers(token), PRINT_TOKEN)
    far = layout.image(base_layers(secrets.token_hex(16)), PRINT_TOKEN, "s390x")
    return layout.finish(layout.index([near, far, layout.attestation(near)]), token)


KINDS: dict[str, Callable[[Path], Image]] = {
    "several-layers": several_layers,
    "zstd-layers": zstd_layers,
    "plain-layers": plain_layers,
    "empty-layer": empty_layer,
    "foreign-architecture": foreign_architecture,
    "attested-index": attested_index,
    "big-layer": big_layer,
}


def dockerfile(folder: Path, token: str) -> Path:
    """Write a build context of four layers, one of them empty; every platform can build it."""
    busybox = require("busybox")
    folder.mkdir(parents=True)
    (folder / "token").write_text(token)
    shutil.copy(busybox, folder / "busybox")
    (folder / "random").write_bytes(os.urandom(3 << 20))
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY token /token\n"
        "COPY busybox /bin/busybox\n"
        "COPY random /opt/random\n"
        "WORKDIR /\n"
        f"CMD {json.dumps(PRINT_TOKEN)}\n"
    )
    return folder
