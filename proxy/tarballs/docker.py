"""What `docker save` writes about its images: `manifest.json`, and of each config the layers that it names."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from proxy.errors import TarballInvalid
from proxy.oci.manifest import mistake_in


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class SavedImage(_Strict):
    """One image in `manifest.json`: paths within the tarball, layers from the lowest up."""

    config: str = Field(alias="Config")
    names: list[str] | None = Field(default=None, alias="RepoTags", fail_fast=True)
    layers: list[str] | None = Field(default=None, alias="Layers", fail_fast=True)


class _Rootfs(_Strict):
    diff_ids: list[str] | None = Field(default=None, fail_fast=True)


class _Config(_Strict):
    rootfs: _Rootfs | None = None


BEGINNING = 64 * 1024  # bytes of a `manifest.json` that are enough to see whose it is
_BEGINS = re.compile(rb'\s*\[\s*\{[^{}]*?"Config"\s*:\s*"([^"\\]+)"')
_LIST = TypeAdapter(Annotated[list[SavedImage], Field(fail_fast=True)])  # else it reports each of a million bad ones


def saved_images(text: bytes, name: str) -> list[SavedImage]:
    """Parse `manifest.json`; raise TarballInvalid, with its name and the field that is wrong."""
    with readable(name):
        return _LIST.validate_json(text)


def first_config(beginning: bytes) -> str:
    """Return the path of the first config in the beginning of a `manifest.json`; empty if that is another file."""
    found = _BEGINS.match(beginning) if b'"Layers"' in beginning else None
    return found[1].decode(errors="replace") if found else ""


def diff_ids(text: bytes, name: str) -> list[str]:
    """Return the digests of the plain layers that a config names; raise TarballInvalid, with its name."""
    with readable(name):
        rootfs = _Config.model_validate_json(text).rootfs
    return (rootfs and rootfs.diff_ids) or []


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Raise TarballInvalid, with the name of the file and where its mistake is, for what pydantic says of it."""
    try:
        yield
    except ValidationError as error:
        raise TarballInvalid(f"{name} cannot be read: {mistake_in(error, 'it')}") from error
