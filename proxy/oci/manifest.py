"""Manifests and indexes (image-spec, manifest.md and image-index.md), read from the bytes that a client pushed.

The bytes are kept as they are; only the fields that the service uses are parsed here. All other fields may contain any
JSON.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from proxy.errors import DigestInvalid, ManifestInvalid, ManifestTooLarge
from proxy.oci.digest import Digest

LIMIT = 4 * 1024 * 1024  # bytes; every other registry accepts manifests of this size; also in the format of archives
_PARTS = 200_000  # lists and objects in a manifest; a layer is one
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
_IMAGE_CONFIGS = frozenset(
    {"application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"}
)
UNKNOWN_PLATFORM = "unknown/unknown"  # what BuildKit gives an attestation
MEDIA_TYPE = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"  # RFC 6838, 4.2
_ATTESTS = "vnd.docker.reference.type"  # the annotation of an attestation
_OBJECT = "Input should be an object"
_IN_JSON = {"model_type": _OBJECT, "dict_type": _OBJECT, "tuple_type": "Input should be a valid list"}
_KEPT_ELSEWHERE = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


def _digest(value: object) -> Digest:
    if isinstance(value, str):
        return Digest.parse(value)
    raise DigestInvalid("a digest must be a string")


class _Fields(BaseModel):
    """Camel-case JSON; unknown fields are ignored, and no types are converted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel)


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]  # Go reads null as nothing


class Platform(_Fields):
    """The platform that an image was built for (image-index.md, `platform`)."""

    os: Text = ""
    architecture: Text = ""
    variant: Text = ""
    os_version: Any = Field(default=None, alias="os.version")
    os_features: Any = Field(default=None, alias="os.features")

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def exact(self) -> str:
        """The platform with what tells images of Windows apart."""
        return f"{self} {self.os_version or ''} {self.os_features or ''}"


class Descriptor(_Fields):
    """How a manifest describes other content (image-spec, descriptor.md); the size is in bytes."""

    digest: Annotated[Digest, BeforeValidator(_digest)]
    size: int = Field(ge=0, lt=2**63)
    media_type: Text = ""
    urls: tuple[str, ...] | None = Field(default=None, strict=False, fail_fast=True)
    platform: Platform | None = None
    annotations: dict[str, Text] | None = None

    @property
    def may_be_absent(self) -> bool:
        """Whether this is a layer that clients fetch from elsewhere, which the registry need not have."""
        return bool(self.urls) or self.media_type.startswith(_KEPT_ELSEWHERE)

    @property
    def is_attestation(self) -> bool:
        """Whether this is what BuildKit says about an image beside it, which no engine runs."""
        return str(self.platform or "") == UNKNOWN_PLATFORM or _ATTESTS in (self.annotations or {})


class _Document(_Fields):
    """The fields of a manifest, an index, or an artifact manifest of OCI 1.1's release candidates (`blobs`)."""

    schema_version: int | None = None
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = Field(
        default=None, fail_fast=True
    )  # else pydantic reports each of a million bad ones
    blobs: list[Descriptor] | None = Field(default=None, fail_fast=True)
    manifests: list[Descriptor] | None = Field(default=None, fail_fast=True)
    subject: Descriptor | None = None
    annotations: dict[str, Text] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index: its exact bytes, its media type without parameters, and its descriptors."""

    content: bytes
    media_type: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Descriptor | None
    declared_artifact_type: str
    annotations: dict[str, str]
    interim: bool = False  # pushed under a tag by a client that pushes an index after the manifests in it

    @property
    def digest(self) -> Digest:
        """The sha256 digest of the bytes."""
        return Digest.of(self.content)

    @property
    def is_index(self) -> bool:
        """Whether it names manifests rather than a config and layers."""
        return self.media_type in _INDEXES or bool(self.children)

    @property
    def is_image(self) -> bool:
        """Whether an engine can run it."""
        return self.config is not None and self.config.media_type in _IMAGE_CONFIGS

    @property
    def artifact_type(self) -> str:
        """The type that the referrers API shows: its artifact type, else the media type of its config."""
        return self.declared_artifact_type or (self.config.media_type if self.config else "")

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config, then the layers in order."""
        return (self.config, *self.layers) if self.config else self.layers

    @property
    def named(self) -> frozenset[Digest]:
        """The digests of all content it names; in BuildKit's old caches the children of an index are blobs."""
        return frozenset(descriptor.digest for descriptor in (*self.blobs, *self.children))


def parse(content: bytes, content_type: str) -> Manifest:
    """Parse a pushed manifest; raise ManifestInvalid if it does not follow the specification."""
    if len(content) > LIMIT:
        raise ManifestTooLarge
    document = _document(content)
    media_type = content_type.partition(";")[0].strip() or document.media_type
    if not media_type or not re.fullmatch(MEDIA_TYPE, media_type):
        raise ManifestInvalid("a manifest needs a media type as its Content-Type or mediaType")
    if document.media_type is not None and document.media_type.lower() != media_type.lower():
        raise ManifestInvalid(f"mediaType {document.media_type!r} is not the Content-Type {media_type!r}")
    is_index = document.manifests is not None or media_type in _INDEXES
    is_image = document.layers is not None or document.config is not None or media_type in _IMAGES
    if is_index and is_image:
        raise ManifestInvalid("both an index (manifests) and an image (config, layers)")
    if document.schema_version == 1:
        raise ManifestInvalid("Docker's schema 1 is no longer supported; push schema 2 or OCI")
    return Manifest(
        content=content,
        media_type=media_type,
        config=document.config,
        layers=(*(document.layers or ()), *(document.blobs or ())),
        children=tuple(document.manifests or ()),
        subject=document.subject,
        declared_artifact_type=document.artifact_type or "",
        annotations=document.annotations or {},
    )


def _document(content: bytes) -> _Document:
    if content.count(b"[") + content.count(b"{") > _PARTS:  # each takes two bytes of JSON, but a hundred of memory
        raise ManifestInvalid(f"a manifest may have {_PARTS} lists and objects, this one has more")
    try:
        fields = json.loads(content.decode(), parse_constant=_no_number, object_pairs_hook=_no_repeated_key)
        return _Document.model_validate(fields)
    except ValidationError as error:
        raise ManifestInvalid(mistake_in(error, "the manifest")) from error
    except DigestInvalid as error:
        raise ManifestInvalid(error.message) from error
    except RecursionError as error:
        raise ManifestInvalid("nested too deeply") from error
    except ValueError as error:
        raise ManifestInvalid("not JSON in UTF-8") from error


def mistake_in(error: ValidationError, whole: str) -> str:
    """Return where the first mistake in a document is, `whole` if that is all of it, and what it is in words."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {_IN_JSON.get(first['type'], first['msg'])[:80]}"


def _no_number(text: str) -> NoReturn:
    raise ManifestInvalid(f"{text} is not JSON")


def _no_repeated_key(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict[str, object]()
    for name, value in pairs:
        if name in fields:
            raise ManifestInvalid(f"the key {name[:60]!r} stands twice in one object")
        fields[name] = value
    return fields
