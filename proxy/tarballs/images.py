"""Which images a tarball holds, under which names, and the manifests that make them images of a registry.

The manifests of an OCI layout (image-spec, image-layout.md) are kept byte for byte, and so are their digests. Without a
layout, Docker's `manifest.json` names a config and layers, and an OCI manifest is written for them: always the same one
for the same tarball.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.errors import TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.manifest import LIMIT, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest, parse
from proxy.tarballs.contents import Contents, File
from proxy.tarballs.docker import SavedImage, diff_ids, saved_images
from proxy.tarballs.image import Image, attach
from proxy.tarballs.kinds import OF_SKOPEO, is_folder_of_skopeo, what_it_holds
from proxy.tarballs.streams import compression
from proxy.text import counted

INDEX, DOCKER, LAYOUT = "index.json", "manifest.json", "oci-layout"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_LAYER_TYPES = {"": _LAYER_TYPE, "gzip": f"{_LAYER_TYPE}+gzip", "zstd": f"{_LAYER_TYPE}+zstd"}
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")  # annotations; the first has a full name
_MANIFEST_TYPE = re.compile("manifest|index")  # in the media type of a manifest; other children of an index are blobs
_MOST_IMAGES = 1000
_MOST_NAMES = 2000  # each of them becomes an artifact
_MOST_TEXT = 2 * LIMIT  # bytes of all manifests of a tarball, which are kept in memory
_DESCRIPTOR = 150  # bytes that one layer takes in a manifest
_BLOB = 64  # bytes that each manifest and blob of an image counts as, however many images share it


def images(contents: Contents) -> list[Image]:
    """Return every image; raise TarballInvalid where there is none, or a part of one is missing."""
    index, docker = contents.file(INDEX), contents.file(DOCKER)
    there = [*contents.files, *contents.links]
    if not (index or docker):
        raise TarballInvalid(f"the tarball holds no image: {what_it_holds(there)}")
    text = contents.text(docker, DOCKER) if docker else b"[]"
    if is_folder_of_skopeo(text):
        raise TarballInvalid(OF_SKOPEO)
    entries = saved_images(text, DOCKER)
    builder, found = _Builder(contents), dict[Digest, Image]()
    roots = contents.manifest(index, OCI_INDEX, INDEX).children if index else ()
    for group, names in grouped(*builder.sorted_out(roots[: _MOST_IMAGES + 1])):
        image = builder.from_layout(group[0]) if len(group) == 1 else builder.from_platforms(group)
        found.setdefault(image.root, image).names += names
    for entry in [] if found else entries[: _MOST_IMAGES + 1]:
        image = builder.from_docker(entry)
        found.setdefault(image.root, image).names += entry.names or []
    _check_numbers(max(len(found), len(roots)), [each.names for each in found.values()])
    _name_by_config(
        found.values(), [(file.digest, each.names or []) for each in entries if (file := contents.file(each.config))]
    )
    return attach(found.values())


def _name_by_config(found: Collection[Image], named: Sequence[tuple[Digest, list[str]]]) -> None:
    """Name the images of a layout that have no names, as Docker's file does for the same config."""
    by_config = defaultdict[Digest, list[str]](list)
    for config, names in named:
        by_config[config] += names
    _check_numbers(len(found), by_config.values())
    for image in found:
        if not image.references:
            configs = {manifest.config.digest for manifest in image.manifests.values() if manifest.config}
            image.names += [name for config in configs for name in by_config.get(config, ())]
    _check_numbers(len(found), [each.names for each in found])


def _check_numbers(number: int, names: Iterable[Sequence[str]]) -> None:
    """Raise TarballInvalid where there is no image, or more of them, or of their names, than anybody has."""
    if not 0 < number <= _MOST_IMAGES:
        raise TarballInvalid(f"the tarball holds {f'more than {_MOST_IMAGES} images' if number else 'no image'}")
    if sum(map(len, names)) > _MOST_NAMES:
        raise TarballInvalid(f"the tarball gives its images more than {_MOST_NAMES} names")


def _name(root: Descriptor) -> str:
    annotations = root.annotations or {}
    return next((annotations[key] for key in _NAMES if key in annotations), "")


def grouped(roots: Sequence[Descriptor], alone: Sequence[Descriptor]) -> Iterator[tuple[list[Descriptor], list[str]]]:
    """Yield the images of a layout: the descriptors of each, several if its platforms are listed there, and its names.

    apko and ko list the platforms of an image one by one, without a name, or all under the same one; `alone` is what
    can be none of these.
    """
    yield from (([each], []) for each in alone)
    same = defaultdict[str, list[Descriptor]](list)
    for root in roots:
        same[_name(root)].append(root)
    for name, group in same.items():
        names = [
            each.annotations[key] for each in group if each.annotations for key in _NAMES if key in each.annotations
        ]
        different = list({each.digest: each for each in group}.values())
        platforms = [str(each.platform or "") for each in different]
        known = [each.platform.exact for each in different if each.platform and not each.is_attestation]
        if len(different) == 1 or (all(platforms) and len(known) == len(set(known)) > 0):
            yield different, names
        elif name:
            raise TarballInvalid(f"its {INDEX} gives the name {name[:80]!r} to {len(different)} images")
        else:
            yield from (([each], []) for each in different)


@dataclass(slots=True)
class _Builder:
    """Puts together the images of one tarball, whose manifests in memory have a bounded size together."""

    contents: Contents
    _size: int = 0
    _known: dict[tuple[Digest, str], Manifest] = field(default_factory=dict)  # each manifest is parsed once
    _listed: list[dict[str, Any]] = field(default_factory=list)  # in the index
    _layers: dict[Digest, list[str]] = field(default_factory=dict)  # of each config
    _built: dict[Digest, Image] = field(default_factory=dict)  # by the root
    _no_manifests: set[Digest] = field(default_factory=set)  # of what does not say what it is

    def sorted_out(self, roots: Sequence[Descriptor]) -> tuple[list[Descriptor], list[Descriptor]]:
        """Return the roots of images, and what has no name and a subject.

        oras lists the children of an index beside it; without a name those are no images of their own.
        """
        if len(roots) <= 1:
            return list(roots), []
        inner = {each for root in roots for each in self.from_layout(root).manifests if each != root.digest}
        own, alone = list[Descriptor](), list[Descriptor]()
        for root in roots:
            if _name(root):
                own.append(root)
            elif root.digest not in inner:
                (alone if self.from_layout(root).about else own).append(root)
        return own, alone

    def from_layout(self, root: Descriptor) -> Image:
        """Return an image of the layout. Some platforms of an index may be missing, or their blobs, but not all."""
        if root.digest in self._built:
            return self._built[root.digest]
        image, waiting, lacking, is_whole = Image({}, set()), deque([root]), dict[Digest, Digest](), False
        while waiting:
            each = waiting.popleft()
            if each.digest in image.manifests or each.digest in lacking:
                continue
            manifest, absent = self.found(each)
            if manifest is None or absent:
                lacking[each.digest] = absent or each.digest
                continue
            image.manifests[each.digest] = manifest
            inner, others = self.parted(manifest.children)
            waiting.extend(inner)
            image.blobs.update(each.digest for each in (*manifest.blobs, *others) if self._blob(each.digest))
            is_whole = is_whole or not (inner or each.is_attestation)
        if root.digest in lacking or (lacking and not is_whole):
            first = next(iter(lacking.values()))
            who = f"{INDEX} names" if first == root.digest else "image needs"
            raise TarballInvalid(f"the tarball lacks {first}, which its {who}")
        self._count(_BLOB * (len(image.manifests) + len(image.blobs)))
        return self._built.setdefault(root.digest, image)

    def found(self, child: Descriptor) -> tuple[Manifest | None, Digest | None]:
        """Return a manifest, None if the tarball lacks it, and the first blob that it needs and the tarball lacks.

        containerd keeps the manifests of platforms that were not pulled, and writes them without their blobs.
        """
        if (file := self._blob(child.digest)) is None:
            return None, None
        manifest = self._read(file, child.media_type)
        needed = (each.digest for each in manifest.blobs if not each.may_be_absent)
        return manifest, next((each for each in needed if self._blob(each) is None), None)

    def _read(self, file: File, media_type: str) -> Manifest:
        key = file.digest, media_type
        if key not in self._known:
            self._known[key] = self.contents.manifest(file, media_type, str(file.digest))
            self._count(file.size)
        return self._known[key]

    def parted(self, children: Iterable[Descriptor]) -> tuple[list[Descriptor], list[Descriptor]]:
        """Return which children of an index are manifests, and which are blobs; some do not say what they are."""
        manifests, blobs = list[Descriptor](), list[Descriptor]()
        for child in children:
            is_manifest, file = bool(_MANIFEST_TYPE.search(child.media_type)), self._blob(child.digest)
            if not child.media_type and file is None:
                is_manifest = bool(child.platform)
            elif file and not child.media_type and child.digest not in self._no_manifests:
                try:
                    is_manifest = bool(self._read(file, ""))
                except TarballInvalid:
                    self._no_manifests.add(child.digest)
            (manifests if is_manifest else blobs).append(child)
        return manifests, blobs

    def from_platforms(self, roots: Sequence[Descriptor]) -> Image:
        """Return an image of several platforms, with an index of its own: always the same one for the same tarball."""
        if not self._listed and (file := self.contents.file(INDEX)):
            self._listed = json.loads(self.contents.text(file, INDEX))["manifests"]
        wanted, described = {str(each.digest) for each in roots}, dict[str, dict[str, object]]()
        for each in self._listed:
            if each["digest"] in wanted:
                names = {key: text for key, text in (each.get("annotations") or {}).items() if key not in _NAMES}
                kept = {key: value for key, value in each.items() if key != "annotations"}
                described.setdefault(each["digest"], kept | ({"annotations": names} if names else {}))
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(described.values())}
        root = parse(json.dumps(index, separators=(",", ":")).encode(), OCI_INDEX)
        image = Image({root.digest: root}, set())
        for descriptor in roots:
            child = self.from_layout(descriptor)
            image.manifests |= child.manifests
            image.blobs |= child.blobs
        return image

    def from_docker(self, entry: SavedImage) -> Image:
        """Return an image of Docker's `manifest.json`, with a manifest of its own."""
        paths, files = [entry.config, *(entry.layers or [])], list[File]()
        self._count(_DESCRIPTOR * (len(paths) - 1))
        for path in paths:
            if (file := self.contents.file(path)) is None:
                raise TarballInvalid(f"the tarball lacks {path[:80]!r}, which its {DOCKER} names")
            files.append(file)
        if files[0].digest not in self._layers:
            text = self.contents.text(files[0], entry.config)
            self._layers[files[0].digest] = diff_ids(text, f"the config {entry.config[:80]!r}")
        expected = self._layers[files[0].digest]
        if len(expected) != len(files) - 1:
            raise TarballInvalid(f"the config names {counted(len(expected), 'layer')}, {DOCKER} {len(files) - 1}")
        types = [_CONFIG_TYPE]
        for layer, digest in zip(files[1:], expected, strict=True):
            if (packed := compression(layer.head)) not in _LAYER_TYPES:
                raise TarballInvalid(f"a layer that {DOCKER} names is compressed with {packed}: use zstd, or gzip")
            types.append(_LAYER_TYPES[packed])
            if types[-1] == _LAYER_TYPE and str(layer.digest) != digest:  # engines check those that are compressed
                raise TarballInvalid(f"the tarball is damaged: the layer {digest[:80]!r} has the wrong content")
        config, *layers = (
            {"mediaType": media_type, "digest": str(file.digest), "size": file.size}
            for media_type, file in zip(types, files, strict=True)
        )
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
        root = parse(json.dumps(manifest, separators=(",", ":")).encode(), OCI_MANIFEST)
        return Image({root.digest: root}, {file.digest for file in files})

    def _blob(self, digest: Digest) -> File | None:
        """Find a blob of a layout; raise TarballInvalid if its bytes do not have the digest that its name says."""
        file = self.contents.file(f"blobs/{digest.algorithm}/{digest.hex}")
        if file and file.digest != digest:
            raise TarballInvalid(f"the tarball is damaged: {digest} has the wrong content")
        return file

    def _count(self, size: int) -> None:
        """Add to the size of all manifests; raise TarballInvalid when that is too much."""
        self._size += size
        if self._size > _MOST_TEXT:
            raise TarballInvalid(f"the manifests in the tarball have more than {_MOST_TEXT} bytes")
