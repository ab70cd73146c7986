"""What `docker save` writes about its images: `manifest.json`, and of each config the layers that it names."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxy.errors import TarballInvalid

T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class SavedImage(_Strict):
    """One image in `manifest.json`: paths within the tarball, layers from the lowest up."""

    config: str = Field(alias="Config")
    names: list[str] | None = Field(default=None, alias="RepoTags", fail_fast=True)
    layers: list[str] | None = Field(default=None, alias="Layers", fail_fast=True)


class _SavedImages(_Strict):
    entries: list[SavedImage] = Field(fail_fast=True)  # else pydantic reports each of a million bad ones


class _Rootfs(_Strict):
    diff_ids: list[str] | None = Field(default=None, fail_fast=True)


class _Config(_Strict):
    rootfs: _Rootfs = _Rootfs()


def saved_images(text: bytes, name: str) -> list[SavedImage]:
    """Parse `manifest.json`; raise TarballInvalid, with its name and the field that is wrong."""
    return _model(_SavedImages, b'{"entries":' + text + b"}", name).entries


def diff_ids(text: bytes, name: str) -> list[str]:
    """Return the digests of the plain layers that a config names; raise TarballInvalid, with its name."""
    return _model(_Config, text, name).rootfs.diff_ids or []


def _model(model: type[T], text: bytes, name: str) -> T:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"][1:])) or "it"
        raise TarballInvalid(f"{name} cannot be read: {where}: {first['msg'][:80]}") from error
