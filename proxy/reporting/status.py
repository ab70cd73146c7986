"""The state of the relay, for people and programs: images, and what is not durable yet."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from proxy.artifacts.base import UnreadableArtifact
from proxy.backends.backend import Backend
from proxy.catalog.catalog import Archive
from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import label
from proxy.registry.lookup import Lookup
from proxy.registry.platforms import platform_of
from proxy.registry.push import Push
from proxy.registry.push_state import State
from proxy.reporting.history import History, Refusal
from proxy.text import safe_text

_VERSION = version("image-relay")  # read once: that takes several files
_NO_PLATFORM = "unknown/unknown"  # what BuildKit gives an attestation


@dataclass(frozen=True, slots=True)
class Durable:
    """An image that is in an artifact; `size` in plain bytes, `stored` in those of the artifact."""

    platforms: list[str]
    size: int
    stored: int
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    """Answers for `/relay/health`, `/relay/images` and the gauges of `/metrics`."""

    lookup: Lookup
    push: Push
    backend: Backend
    history: History = field(default_factory=History)
    began: float = field(default_factory=time.monotonic)

    def health(self) -> dict[str, object]:
        """Return what runs, and what is not durable yet."""
        pushed = self.push.pushed()
        failed = [each for each in pushed if each.state is State.FAILED]
        return {
            "version": _VERSION,
            "uptime": int(time.monotonic() - self.began),  # seconds
            "store": self.backend.kind,
            **self.backend.status().fields(),
            "pending": [label(each.name, each.reference) for each in pushed if each.state is not State.FAILED],
            "unreadable": [
                {"artifact": safe_text(each.artifact.name), "problem": safe_text(each.problem)}
                for each in self.unreadable()
            ],
            "failed": [{"reference": label(each.name, each.reference), "problem": each.problem} for each in failed],
            "refused": [_refusal(each) | {"count": count} for each, count in self.history.refused],
            "missing": [_refusal(each) for each in self.history.missing],
        }

    def unreadable(self) -> list[UnreadableArtifact]:
        """Return why artifacts could not be read, of those that nobody has read since."""
        return self.lookup.catalog.unreadable()

    def gauges(self) -> dict[str, float]:
        """Return what can be measured now."""
        status, spool = self.backend.status(), self.lookup.spool
        failed = [each.state for each in self.push.pushed()].count(State.FAILED)
        measured: dict[str, float] = {
            "ready": status.ready,
            "spool_bytes": spool.size,
            "open_uploads": len(spool.sessions),
            "pending_manifests": len(self.push.pushed()) - failed,
            "failed_manifests": failed,
            "unreadable_artifacts": len(self.unreadable()),
        }
        if status.expires:
            measured["session_expires_timestamp_seconds"] = status.expires.timestamp()
        return measured

    @property
    def info(self) -> dict[str, str]:
        """Return what runs."""
        return {"version": _VERSION, "store": self.backend.kind}

    async def images(self) -> list[dict[str, object]]:
        """Return every image: sizes in bytes, `stored` is that of the archive, or of an artifact without an index."""
        durable = [self._described(await self.durable(each), each) for each in await self.lookup.catalog.all_archives()]
        return (
            durable
            + [self._nameless(each) for each in self.unreadable()]
            + [
                {
                    "references": [label(each.name, each.reference)],
                    "digest": str(each.digest),
                    "state": each.state.value,
                }
                for each in self.push.pushed()
            ]
        )

    async def durable(self, archive: Archive) -> Durable:
        """Return what is known of an image that is in an artifact."""
        platforms: list[str] = []
        root = archive.blob(archive.index.root)
        if root and root.media_type:
            with suppress(RegistryError):  # the archive is damaged; a pull says so
                manifest = await self.lookup.parsed(root)
                platforms = [str(child.platform) for child in manifest.children if child.platform]
                platforms = [each for each in platforms if each != _NO_PLATFORM]
                if not platforms and (own := await platform_of(self.lookup, archive.name, manifest)):
                    platforms = [own]
        size = sum(entry.size for entry in archive.index.blobs.values())
        return Durable(platforms, size, archive.size, archive.artifact.expires)

    def _described(self, image: Durable, archive: Archive) -> dict[str, object]:
        artifact = archive.artifact
        more = {"artifact_id": artifact.id} if self.backend.has_artifact_ids else {}
        if image.expires:
            more["expires"] = _time(image.expires)
        return {
            "references": [label(archive.name, archive.reference)],
            "digest": str(archive.index.root),
            "platforms": [safe_text(each) for each in image.platforms],
            "size": image.size,
            "stored": image.stored,
            "artifact": artifact.name,
            "created": _time(artifact.created),
            "state": State.DURABLE.value,
            **more,
        }

    def _nameless(self, problem: UnreadableArtifact) -> dict[str, object]:
        """Return what the name of an artifact that cannot be read says about its image."""
        artifact = problem.artifact
        known = self.lookup.catalog.reference_of(artifact)
        return {
            "references": [label(*known) if known else safe_text(artifact.name)],
            "digest": str(known[1]) if known and isinstance(known[1], Digest) else "",
            "stored": artifact.size,
            "artifact": artifact.name,
            "problem": safe_text(problem.problem),
            "state": "unreadable",
        }


def _refusal(refusal: Refusal) -> dict[str, object]:
    return {
        "method": safe_text(refusal.method),
        "path": safe_text(refusal.path),
        "status": refusal.status,
        "message": safe_text(refusal.message),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
