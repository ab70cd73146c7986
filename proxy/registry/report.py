"""What there is, for people and programs: images, and what is not durable yet."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from proxy.catalog import Archive
from proxy.errors import RegistryError
from proxy.oci.names import label
from proxy.registry.lookup import Lookup
from proxy.registry.platforms import platform_of
from proxy.registry.push import Push
from proxy.registry.states import State

_VERSION = version("image-relay")  # read once: that takes several files
_NO_PLATFORM = "unknown/unknown"  # what BuildKit gives an attestation


def _ready() -> Mapping[str, object]:
    return {"ready": True}


@dataclass(frozen=True, slots=True)
class Report:
    """Answers for `/relay/health` and `/relay/images`."""

    lookup: Lookup
    push: Push
    store: str
    standing: Callable[[], Mapping[str, object]] = _ready
    began: float = field(default_factory=time.monotonic)

    def health(self) -> dict[str, object]:
        """Say what runs, and what is not durable yet."""
        pushed = self.push.pushed()
        failed = [each for each in pushed if each.state is State.FAILED]
        return {
            "version": _VERSION,
            "uptime": int(time.monotonic() - self.began),  # seconds
            "store": self.store,
            **self.standing(),
            "pending": [label(each.name, each.reference) for each in pushed if each.state is not State.FAILED],
            "failed": [{"reference": label(each.name, each.reference), "problem": each.problem} for each in failed],
        }

    async def images(self) -> list[dict[str, object]]:
        """Describe every image: sizes in bytes, `stored` is that of the artifact."""
        durable = [await self._durable(archive) for archive in await self.lookup.catalog.every()]
        return durable + [
            {
                "references": [label(each.name, each.reference)],
                "digest": str(each.digest),
                "state": each.state.value,
            }
            for each in self.push.pushed()
        ]

    async def _durable(self, archive: Archive) -> dict[str, object]:
        index, artifact = archive.index, archive.artifact
        more = {"artifact_id": artifact.id} if self.store == "actions" else {}
        if artifact.expires:
            more["expires"] = _time(artifact.expires)
        return {
            "references": [label(archive.name, archive.reference)],
            "digest": str(index.root),
            "platforms": await self._platforms(archive),
            "size": sum(entry.size for entry in index.blobs.values()),
            "stored": artifact.size,
            "artifact": artifact.name,
            "created": _time(artifact.created),
            "state": State.DURABLE.value,
            **more,
        }

    async def _platforms(self, archive: Archive) -> list[str]:
        root = archive.blob(archive.index.root)
        if root is None or not root.media_type:
            return []
        try:
            manifest = await self.lookup.parsed(root)
            children = [str(child.platform) for child in manifest.children if child.platform]
            known = [each for each in children if each != _NO_PLATFORM]
            return known or list(filter(None, [await platform_of(self.lookup, archive.name, manifest)]))
        except RegistryError:
            return []  # the archive is damaged; a pull says so


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
