"""For what an image was built (image-spec, config.md, "os" and "architecture")."""

import json

from proxy.content import read_all
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name
from proxy.registry.lookup import Lookup

_CONFIG_LIMIT = 4 * 1024 * 1024  # bytes of a config that is read to learn its platform


async def platform_of(lookup: Lookup, name: Name, manifest: Manifest) -> str:
    """Give `os/architecture[/variant]`, as the config of an image tells; empty where it tells nothing."""
    config = await lookup.find(name, manifest.config.digest) if manifest.config and manifest.is_image else None
    if config is None or config.size > _CONFIG_LIMIT:
        return ""
    try:
        fields = json.loads(await read_all(config))
    except (ValueError, RecursionError):
        return ""
    parts = [fields.get(key) for key in ("os", "architecture", "variant")] if isinstance(fields, dict) else []
    return "/".join(part for part in parts if isinstance(part, str) and part)
