"""What `docker load` and its relatives read: names, `index.json`, `manifest.json`.

Engines with containerd's image store read only the OCI layout, classic stores only Docker's `manifest.json`; each finds
the image there under its names.
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
    """Return the names an image has after loading; one without a host also gets the name with the relay's host."""
    if tag is None:
        return ()
    host, _ = split_host(name.text)
    return (f"{name}:{tag}",) if host else (f"{name}:{tag}", f"{public_host}/{name}:{tag}")


def normalise(reference: str) -> str:
    """Return the full form of a reference, as engines store it: with a host and the hub's `library/`."""
    host, rest = split_host(reference)
    if host in {"", _HUB_ALIAS}:
        host = _HUB
    return f"{host}/library/{rest}" if host == _HUB and "/" not in rest else f"{host}/{rest}"


def path(digest: Digest) -> str:
    """Return the path of a blob in the layout (image-spec, image-layout.md)."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def index_json(manifests: Sequence[Fields]) -> bytes:
    """Return `index.json` with the descriptors of all images."""
    return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


def descriptors(root: Digest, manifest: Manifest, references: Sequence[str]) -> list[Fields]:
    """Return the descriptors of an image: one of the root for each name, or one without a name.

    Engines find an image only by the full form of its name; some read the one annotation, some the other.
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


def manifest_json(images: Sequence[tuple[Manifest, Sequence[str]]]) -> bytes:
    """Return Docker's `manifest.json` for images and their names; without a name `RepoTags` is null."""
    entries = list[Fields]()
    for image, references in images:
        config, *layers = (path(blob.digest) for blob in image.blobs)
        entries.append({"Config": config, "RepoTags": list(references) or None, "Layers": layers})
    return _json(entries)


def loadable(root: Digest, manifests: Mapping[Digest, Manifest], held: Collection[Digest]) -> Manifest | None:
    """Return the image for a classic store: the one for linux/amd64 of an index, else its first; None if there is none.

    Only an image whose config and layers are all in `held` counts. Indexes may be nested to any depth.
    """
    first = None
    seen = set()
    waiting: list[tuple[Digest, Descriptor | None]] = [(root, None)]
    while waiting:
        digest, descriptor = waiting.pop()
        if digest in seen or (manifest := manifests.get(digest)) is None:
            continue
        seen.add(digest)
        unpacks = manifest.is_image and all(layer.media_type.startswith(_LAYERS) for layer in manifest.layers)
        if unpacks and all(blob.digest in held for blob in manifest.blobs):
            platform = descriptor.platform if descriptor else None
            if platform and (platform.os, platform.architecture) == ("linux", "amd64"):
                return manifest
            first = first or manifest
        waiting.extend((child.digest, child) for child in reversed(manifest.children))
    return first


def obstacle(root: Digest, manifests: Mapping[Digest, Manifest], held: Collection[Digest]) -> str:
    """Return in a few words why no engine can load what a manifest names; empty if one can."""
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


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
