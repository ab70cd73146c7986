"""Which images a tarball holds, under which names, and the manifests that make them images of a registry.

An OCI layout (image-spec, image-layout.md) has manifests, which are kept as they are, and so their digests. Where there
is none, Docker's `manifest.json` names a config and layers, and an OCI manifest is made of them: of the same tarball
the same one.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.errors import RegistryError, TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.manifest import LIMIT, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, parse
from proxy.oci.references import Reference
from proxy.tarballs.streams import compression

INDEX, DOCKER, LAYOUT = "index.json", "manifest.json", "oci-layout"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_LAYER_TYPES = {"": _LAYER_TYPE, "gzip": f"{_LAYER_TYPE}+gzip", "zstd": f"{_LAYER_TYPE}+zstd"}
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # annotations; the first has a full name
_MOST_IMAGES = 1000
_MOST_TEXT = 2 * LIMIT  # bytes of all manifests of a tarball, which are held in memory
_DESCRIBED = 150  # bytes of a manifest for one layer
_BLOB = 64  # bytes that one more name of a blob counts as
_HOPS = 40  # links on the way to a file, as Linux has it


@dataclass(frozen=True, slots=True)
class File:
    """A file of the tarball: its digest, its size in bytes, and how it begins."""

    digest: Digest
    size: int
    head: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Contents:
    """What was in the tarball.

    `read` gives a file that is small enough to be a manifest or a config, by its digest.
    """

    files: Mapping[str, File]
    links: Mapping[str, str]
    read: Callable[[Digest], bytes]

    def file(self, name: str) -> File | None:
        """Find a file, also by a link to it."""
        for _ in range(_HOPS):
            if name not in self.links:
                break
            name = self.links[name]
        return self.files.get(name)

    def text(self, name: str) -> bytes | None:
        """Give the bytes of a small file, None where there is none; TARBALL_INVALID if it is not small."""
        file = self.file(name)
        return self.content(file.digest, file.size, name) if file else None

    def content(self, digest: Digest, size: int, name: str) -> bytes:
        """Give the bytes of a small file; `name` is for the message if it is none."""
        if size > LIMIT:
            raise TarballInvalid(f"{name} has {size} bytes, a reader takes {LIMIT}")
        return self.read(digest)


@dataclass(slots=True)
class _Manifests:
    """Those of one tarball: each is parsed once, and together they are no more than memory has room for."""

    contents: Contents
    _held: int = 0
    _known: dict[tuple[Digest, str], Manifest] = field(default_factory=dict)

    def take(self, size: int) -> None:
        """Count what is held; TARBALL_INVALID when it is too much."""
        self._held += size
        if self._held > _MOST_TEXT:
            raise TarballInvalid(f"the manifests in the tarball have more than {_MOST_TEXT} bytes")

    def find(self, descriptor: Descriptor) -> Manifest | None:
        """Read a manifest; None where it is not in the tarball, as the other platforms of an index may be."""
        file, key = _blob(self.contents, descriptor.digest), (descriptor.digest, descriptor.media_type)
        if file and key not in self._known:
            name = str(file.digest)
            text = self.contents.content(file.digest, file.size, name)
            self.take(len(text))
            self._known[key] = _parsed(text, descriptor.media_type, name)
        return self._known.get(key)


@dataclass(slots=True)
class Image:
    """An image as it can be pushed: the root first, what it needs, and what it is called (as it is written there)."""

    manifests: dict[Digest, Manifest]
    blobs: set[Digest]
    names: list[str] = field(default_factory=list)

    @property
    def root(self) -> Digest:
        """The digest that a pull by tag answers with."""
        return next(iter(self.manifests))

    @property
    def references(self) -> list[Reference]:
        """The names that have a tag."""
        return list(_tagged(self.names))


def _tagged(names: Iterable[str]) -> Iterator[Reference]:
    for name in names:
        with suppress(RegistryError):  # an annotation may be anything, and often is a tag alone
            if (reference := Reference.parse(name)).tag:
                yield reference


def images(contents: Contents) -> list[Image]:
    """Give every image; TARBALL_INVALID where there is none, or what one needs is missing."""
    found: dict[Digest, Image] = {}
    index, docker = contents.text(INDEX), contents.text(DOCKER)
    if index is None and docker is None:
        raise TarballInvalid(
            f"the tarball holds no image: neither {INDEX} nor {DOCKER} is in it; was it docker export? Use docker save"
        )
    entries = _entries(docker) if docker is not None else []
    manifests = _Manifests(contents)
    made = list(_of_layout(manifests, index)) if index is not None else []
    for image in made or [_of_docker(manifests, each) for each in entries[: _MOST_IMAGES + 1]]:
        if (same := found.setdefault(image.root, image)) is not image:
            same.names += image.names
    if not 0 < len(found) <= _MOST_IMAGES:
        raise TarballInvalid(f"the tarball holds {f'more than {_MOST_IMAGES} images' if found else 'no image'}")
    for image in found.values():
        image.names += [] if image.references else _names_of(contents, image, entries)
    return list(found.values())


# OCI layouts


def _of_layout(manifests: _Manifests, index: bytes) -> Iterator[Image]:
    contents, roots = manifests.contents, dict[Digest, Image]()
    for descriptor in _parsed(index, OCI_INDEX, INDEX).children[: _MOST_IMAGES + 1]:
        annotations = descriptor.annotations or {}
        names = [annotations[key] for key in _NAMES if key in annotations]
        if descriptor.digest in roots:  # one image under another name
            roots[descriptor.digest].names += names
            continue
        image = roots[descriptor.digest] = Image({}, set(), names)
        waiting = deque([descriptor])
        while waiting:
            each = waiting.popleft()
            if each.digest not in image.manifests and (manifest := manifests.find(each)):
                image.manifests[each.digest] = manifest
                waiting.extend(_descend(contents, image, manifest))
        if not image.manifests:
            raise TarballInvalid(f"the tarball lacks {descriptor.digest}, which its {INDEX} names")
        manifests.take(_BLOB * (len(image.manifests) + len(image.blobs)))
    yield from roots.values()


def _descend(contents: Contents, image: Image, manifest: Manifest) -> Iterator[Descriptor]:
    """Note the blobs that a manifest names, and give the manifests."""
    for blob in manifest.blobs:
        if _blob(contents, blob.digest):
            image.blobs.add(blob.digest)
        elif not blob.may_be_absent:
            raise TarballInvalid(f"the tarball lacks {blob.digest}, which its image needs")
    for child in manifest.children:
        if _is_manifest(child):
            yield child
        elif _blob(contents, child.digest):
            image.blobs.add(child.digest)


def _is_manifest(descriptor: Descriptor) -> bool:
    return "manifest" in descriptor.media_type or "index" in descriptor.media_type


def _blob(contents: Contents, digest: Digest) -> File | None:
    """Find a blob of a layout; one whose bytes are not those that its name tells is TARBALL_INVALID."""
    file = contents.file(f"blobs/{digest.algorithm}/{digest.hex}")
    if file and file.digest != digest:
        raise TarballInvalid(f"the tarball is damaged: {digest} has the wrong content")
    return file


def _parsed(text: bytes, media_type: str, name: str) -> Manifest:
    try:
        return parse(text, media_type)
    except RegistryError as error:
        raise TarballInvalid(f"{name} cannot be read: {error.message}") from error


# Docker's manifest.json


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Entry(_Strict):
    """One image: paths within the tarball, layers from the lowest up."""

    config: str = Field(alias="Config")
    names: list[str] | None = Field(default=None, alias="RepoTags", fail_fast=True)
    layers: list[str] | None = Field(default=None, alias="Layers", fail_fast=True)


class _Entries(_Strict):
    entries: list[_Entry] = Field(fail_fast=True)  # else each of a million bad ones is told


class _Rootfs(_Strict):
    diff_ids: list[str] | None = Field(default=None, fail_fast=True)


class _Config(_Strict):
    rootfs: _Rootfs = _Rootfs()


def _entries(text: bytes) -> list[_Entry]:
    try:
        return _Entries.model_validate_json(b'{"entries":' + text + b"}").entries
    except ValidationError as error:
        raise TarballInvalid(f"{DOCKER} cannot be read") from error


def _of_docker(manifests: _Manifests, entry: _Entry) -> Image:
    contents = manifests.contents
    manifests.take(_DESCRIBED * len(entry.layers or []))
    config = _needed(contents, entry.config)
    layers = [_needed(contents, path) for path in entry.layers or []]
    _check_layers(contents, entry.config, layers)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _described(config, _CONFIG_TYPE),
        "layers": [_described(layer, _LAYER_TYPES[compression(layer.head)]) for layer in layers],
    }
    root = parse(json.dumps(manifest, separators=(",", ":")).encode(), OCI_MANIFEST)
    return Image({root.digest: root}, {config.digest, *(layer.digest for layer in layers)}, entry.names or [])


def _needed(contents: Contents, path: str) -> File:
    if file := contents.file(path):
        return file
    raise TarballInvalid(f"the tarball lacks {path[:80]!r}, which its {DOCKER} names")


def _check_layers(contents: Contents, path: str, layers: list[File]) -> None:
    """Compare with the digests of plain layers that the config has; of a compressed one the engine does it."""
    try:
        config = _Config.model_validate_json(contents.text(path) or b"")
    except ValidationError as error:
        raise TarballInvalid(f"the config {path[:80]!r} cannot be read") from error
    expected = config.rootfs.diff_ids or []
    if len(expected) != len(layers):
        raise TarballInvalid(f"the config names {len(expected)} layers, {DOCKER} {len(layers)}")
    for layer, digest in zip(layers, expected, strict=True):
        if not compression(layer.head) and str(layer.digest) != digest:
            raise TarballInvalid(f"the tarball is damaged: the layer {digest[:80]!r} has the wrong content")


def _described(file: File, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(file.digest), "size": file.size}


def _names_of(contents: Contents, image: Image, entries: list[_Entry]) -> list[str]:
    """Find in `manifest.json` what an image of the layout is called, by its config."""
    configs = {manifest.config.digest for manifest in image.manifests.values() if manifest.config}
    files = ((contents.file(each.config), each.names or []) for each in entries)
    return [name for file, names in files if file and file.digest in configs for name in names]
