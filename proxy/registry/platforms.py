"""Which platform an image is built for (image-spec, config.md, "os" and "architecture"), and which of an index fits."""

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.blob import Blob, read_all
from proxy.errors import ManifestUnknown
from proxy.oci.digest import Digest
from proxy.oci.manifest import LIMIT, Manifest
from proxy.oci.names import Name
from proxy.registry.lookup import Lookup

_LOOKED_AT = 100  # manifests without a platform that are read to learn it
_SHOWN = 8  # platforms in a message
_VARIANTS = {"arm": 7, "arm64": 8, "amd64": 1, "386": 0}  # the defaults, as in containerd
_ALSO_RUNS = {"amd64": ("386", 0), "arm64": ("arm", 8)}  # what engines run besides, and the newest variant of it
_FAR = 10_000  # more than there are variants
_ALIASES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
    "i386": "386",
}


async def platform_of(lookup: Lookup, name: Name, manifest: Manifest) -> str:
    """Return `os/architecture[/variant]` from the config of an image; empty if the config does not say."""
    config = await lookup.find(name, manifest.config.digest) if manifest.config and manifest.is_image else None
    return await platform_in(config) if config else ""


async def platform_in(config: Blob) -> str:
    """Return the platform that a config names; empty if it names none."""
    if config.size > LIMIT:  # it is read into memory as a whole
        return ""
    try:
        fields = json.loads(await read_all(config))
    except (ValueError, RecursionError):
        return ""
    parts = [fields.get(key) for key in ("os", "architecture", "variant")] if isinstance(fields, dict) else []
    return "/".join(part for part in parts if isinstance(part, str) and part)


@dataclass(frozen=True, slots=True)
class PlatformChoice:
    """A platform that is requested.

    `own`: it is the platform of an engine, which takes an image that is there for one platform only, whichever it is.
    """

    platform: str
    own: bool = False

    async def of(self, lookup: Lookup, name: Name, manifest: Manifest, called: str) -> Digest:
        """Return the image of an index for this platform, or the image itself if it fits. Raise ManifestUnknown.

        `called` is the reference that the message names.
        """
        if manifest.is_index:
            offered = await offered_by(lookup, name, manifest)
        else:
            offered = {await platform_of(lookup, name, manifest): manifest.digest}
        if self.own and len(offered) <= 1:
            return manifest.digest
        gaps = {each: distance(each, self.platform, own=self.own) for each in offered}
        if fitting := {each: gap for each, gap in gaps.items() if gap is not None}:
            exact = normalised(self.platform)
            return offered[min(fitting, key=lambda each: (fitting[each], normalised(each) != exact))]
        named = ", ".join(list(filter(None, offered))[:_SHOWN])
        hint = ": choose with --platform, or the input platform" if self.own else ""
        instead = f"only for {named}{hint}" if named else "and does not say which platform it is for"
        raise ManifestUnknown(f"{called} has no image for {self.platform[:60]!r}, {instead}")


async def offered_by(lookup: Lookup, name: Name, index: Manifest) -> Mapping[str, Digest]:
    """Return the first image for each platform in an index, in its order, without attestations."""
    offered = dict[str, Digest]()
    waiting, seen, looked = deque(index.children), set[Digest](), 0
    while waiting:
        child = waiting.popleft()
        if child.digest in seen or child.is_attestation:
            continue
        seen.add(child.digest)
        platform = str(child.platform or "")
        if (
            not platform
            and looked < _LOOKED_AT
            and (found := await lookup.find(name, child.digest))
            and found.media_type
        ):
            looked += 1
            manifest = await lookup.parsed(found)
            waiting.extendleft(reversed(manifest.children))
            platform = await platform_of(lookup, name, manifest)
        if platform:
            offered.setdefault(platform, child.digest)
    return offered


def distance(platform: str, wanted: str, *, own: bool = False) -> int | None:
    """Return how much worse than the wanted platform this one is; None if it does not run there.

    Older variants are worse. If the wanted platform has no variant, or no architecture, any will do; `arm64` alone is
    one of Linux. An engine (`own`) without a variant has the first one that there is, and runs what containerd says.
    """
    platform, wanted = normalised(platform), normalised(wanted)
    (kind, variant), (wanted_kind, wanted_variant) = parted(platform), parted(wanted)
    is_known = wanted_kind.rpartition("/")[2] in _VARIANTS
    if platform == wanted:
        return 0
    if not (own and is_known) and f"{platform}/".startswith((f"{wanted}/", f"linux/{wanted}/")):
        return 0
    system, _, architecture = wanted_kind.partition("/")
    other, newest = _ALSO_RUNS.get(architecture, ("", 0)) if own else ("", 0)
    far = 0
    if kind == f"{system}/{other}":
        wanted_kind, wanted_variant, far = kind, newest, _FAR
    if kind != wanted_kind or variant is None or wanted_variant is None or variant > wanted_variant:
        return None
    return far + wanted_variant - variant


def normalised(platform: str) -> str:
    """Return a platform in the words of Go, as containerd reads those of others."""
    parts = [_ALIASES.get(each, each) for each in platform.lower().split("/")]
    return "/".join((["linux"] if parts[0].partition("/")[0] in _VARIANTS else []) + parts)


def parted(platform: str) -> tuple[str, int | None]:
    """Return `os/architecture` and the number of the variant, which is None if it has none."""
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    number = re.fullmatch("v?([0-9]{1,4})", variant)
    known = int(number[1]) if number else None if variant else _VARIANTS.get(architecture)
    return f"{system}/{architecture}", known
