"""What `docker load` and its relatives read: names, `index.json`, `manifest.json`.

Engines with containerd's image store read only the OCI layout, graph stores only Docker's
`manifest.json`; each gets what it needs to find the image under its names again.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, Descriptor, Manifest
from proxy.oci.names import Name, Tag, split_host

Fields = dict[str, object]

OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'

_HUB = "docker.io"
_HUB_ALIAS = "index.docker.io"
# An attestation or a signature has the config of an image, but layers that no engine can unpack.
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")


def names(name: Name, tag: Tag | None, public_host: str) -> tuple[str, ...]:
    """Return what an image is called after loading by hand: without a host of its own, with the relay's too."""
    if tag is None:
        return ()
    host, _ = split_host(name.text)
    return (f"{name}:{tag}",) if host else (f"{name}:{tag}", f"{public_host}/{name}:{tag}")


def normalise(reference: str) -> str:
    """Give the full form of a reference, as engines keep it: with a host and the hub's `library/`."""
    host, rest = split_host(reference)
    if host in {"", _HUB_ALIAS}:
        host = _HUB
    return f"{host}/library/{rest}" if host == _HUB and "/" not in rest else f"{host}/{rest}"


def path(digest: Digest) -> str:
    """Where a blob stands in the layout (image-spec, image-layout.md)."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def index_json(manifests: Sequence[Fields]) -> bytes:
    """Write `index.json` with the descriptors of all images."""
    return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def descriptors(root: Digest, manifest: Manifest, references: Sequence[str]) -> list[Fields]:
    """Describe an image: one descriptor of the root for each name, or one without a name.

    Only the full form of a name is found again after loading; some readers know the one
    annotation, some the other.
    """
    bare: Fields = {"mediaType": manifest.media_type, "digest": str(root), "size": len(manifest.content)}
    named: list[Fields] = [
        {
            **bare,
            "annotations": {
                "io.containerd.image.name": full,
                "org.opencontainers.image.ref.name": full,
            },
        }
        for full in dict.fromkeys(map(normalise, references))
    ]
    return named or [bare]


def manifest_json(entries: Sequence[Fields]) -> bytes:
    """Write Docker's `manifest.json` with the entries of all images."""
    return _json(entries)


def entry(image: Manifest, references: Sequence[str]) -> Fields:
    """Describe an image for Docker's `manifest.json`; without a name `RepoTags` is null."""
    config, *layers = (path(blob.digest) for blob in image.blobs)
    return {"Config": config, "RepoTags": list(references) or None, "Layers": layers}


def loadable(root: Digest, manifests: Mapping[Digest, Manifest], held: Collection[Digest]) -> Manifest | None:
    """Find the image for a graph store: of an index the linux/amd64 one, else the first.

    Only an image whose config and layers are all held counts. Indexes may be nested, to any depth.
    """
    first = None
    seen = set()
    waiting: list[tuple[Digest, Descriptor | None]] = [(root, None)]
    while waiting:
        digest, descriptor = waiting.pop()
        if digest in seen or (manifest := manifests.get(digest)) is None:
            continue
        seen.add(digest)
        if _can_be_loaded(manifest, held):
            platform = descriptor.platform if descriptor else None
            if platform and (platform.os, platform.architecture) == ("linux", "amd64"):
                return manifest
            first = first or manifest
        waiting.extend((child.digest, child) for child in reversed(manifest.children))
    return first


def obstacle(root: Digest, manifests: Mapping[Digest, Manifest], held: Collection[Digest]) -> str:
    """Return in a few words why no engine can load what a manifest names; nothing if one can."""
    if loadable(root, manifests, held):
        return ""
    manifest = manifests[root]
    if manifest.is_index:
        return "none of its images is here with all its layers"
    if manifest.config is None or not manifest.is_image:
        return f"config type {manifest.config.media_type[:60]}" if manifest.config else "it has no config"
    for layer in manifest.layers:
        if not layer.media_type.startswith(_LAYERS):
            return f"layer type {layer.media_type[:60]}"
    return "a layer of it is not here, but at an address of others"


def _can_be_loaded(manifest: Manifest, held: Collection[Digest]) -> bool:
    return (
        manifest.is_image
        and all(layer.media_type.startswith(_LAYERS) for layer in manifest.layers)
        and all(blob.digest in held for blob in manifest.blobs)
    )


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
