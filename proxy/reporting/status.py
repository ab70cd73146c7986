"""Report the state of the relay to people and programs: its images, and what is not durable yet."""

import time
from dataclasses import dataclass, field

from proxy.backends.backend import Backend
from proxy.catalog.archive import Archive
from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name, label
from proxy.registry.lookup import Lookup
from proxy.registry.platforms import platform_in, platform_of
from proxy.registry.push import Push
from proxy.registry.push_state import State
from proxy.reporting.copyable import Kind, kind_of
from proxy.reporting.history import History, Refusal
from proxy.text import format_time, safe_text
from proxy.version import version

_VERSION = version()  # looked up once: that reads files
_REMEMBERED = 20_000  # images that are read once
_NO_PLATFORM = "unknown/unknown"  # of an attestation of BuildKit


@dataclass(frozen=True, slots=True)
class Durable:
    """An image that is in an artifact."""

    archive: Archive
    platforms: list[str] = field(default_factory=list)
    kind: Kind = Kind.IMAGE

    @property
    def size(self) -> int:
        """Plain bytes of all its content."""
        return sum(entry.size for entry in self.archive.index.blobs.values())

    def fields(self, *, with_id: bool) -> dict[str, object]:
        """Return what `/relay/images` says about it, with the id of the artifact or without."""
        archive, artifact = self.archive, self.archive.artifact
        return {
            "references": [label(archive.name, archive.reference)],
            "digest": str(archive.index.root),
            "platforms": [safe_text(each) for each in self.platforms],
            "size": self.size,
            "stored": archive.size,
            "artifact": artifact.name,
            "created": format_time(artifact.created),
            "state": State.DURABLE.value,
            **({"artifact_id": artifact.id} if with_id else {}),
            **({"expires": format_time(artifact.expires)} if artifact.expires else {}),
        }


@dataclass(frozen=True, slots=True)
class Status:
    """Answers for `/relay/health`, `/relay/images` and the gauges of `/metrics`."""

    lookup: Lookup
    push: Push
    backend: Backend
    history: History = field(default_factory=History)
    began: float = field(default_factory=time.monotonic)
    _read: dict[tuple[Name, Digest], tuple[list[str], Kind]] = field(default_factory=dict, repr=False)

    def life(self) -> dict[str, object]:
        """Return what is in no way secret: that a relay is here, and whether its store can be used."""
        told = self.backend.status().fields()
        return {
            "version": _VERSION,
            "uptime": int(time.monotonic() - self.began),  # seconds
            "store": self.backend.kind,
            **{field: told[field] for field in ("ready", "session", "session_expires") if field in told},
        }

    def health(self) -> dict[str, object]:
        """Return which relay this is, whether its store can be used, what is not durable, and what went wrong."""
        pushed = self.push.pushed()
        failed = [each for each in pushed if each.state is State.FAILED]
        return {
            **self.life(),
            **self.backend.status().fields(),
            "pending": [label(each.name, each.reference) for each in pushed if each.state is not State.FAILED],
            "unreadable": [
                {"artifact": safe_text(each.artifact.name), "problem": safe_text(each.problem)}
                for each in self.lookup.catalog.unreadable()
            ],
            "failed": [{"reference": label(each.name, each.reference), "problem": each.problem} for each in failed],
            "refused": [_refusal(each) | {"count": count} for each, count in self.history.refused],
            "missing": [_refusal(each) for each in self.history.missing],
        }

    def gauges(self) -> dict[str, float]:
        """Return the values of the gauges now."""
        status, spool = self.backend.status(), self.lookup.spool
        failed = [each.state for each in self.push.pushed()].count(State.FAILED)
        measured: dict[str, float] = {
            "ready": status.ready,
            "spool_bytes": spool.size,
            "open_uploads": len(spool.sessions),
            "pending_manifests": len(self.push.pushed()) - failed,
            "failed_manifests": failed,
            "unreadable_artifacts": len(self.lookup.catalog.unreadable()),
        }
        if status.expires:
            measured["session_expires_timestamp_seconds"] = status.expires.timestamp()
        return measured

    @property
    def info(self) -> dict[str, str]:
        """Return the version and the kind of store of this relay."""
        return {"version": _VERSION, "store": self.backend.kind}

    async def images(self) -> list[dict[str, object]]:
        """Return all images with sizes in bytes: durable ones, unreadable artifacts, and what is not durable yet."""
        catalog, with_id = self.lookup.catalog, self.backend.has_artifact_ids
        listed = [(await self.durable(each)).fields(with_id=with_id) for each in await catalog.all_archives()]
        for problem in catalog.unreadable():
            artifact = problem.artifact
            known = catalog.reference_of(artifact)  # which the name of an artifact says
            listed.append(
                {
                    "references": [label(*known) if known else safe_text(artifact.name)],
                    "digest": str(known[1]) if known and isinstance(known[1], Digest) else "",
                    "stored": artifact.size,
                    "artifact": artifact.name,
                    "problem": safe_text(problem.problem),
                    "state": "unreadable",
                }
            )
        for each in self.push.pushed():
            reference = label(each.name, each.reference)
            listed.append({"references": [reference], "digest": str(each.digest), "state": each.state.value})
        return listed

    async def durable(self, archive: Archive) -> Durable:
        """Return an image that is in an artifact, with its platforms and kind."""
        key = (archive.name, archive.index.root)
        if key not in self._read:
            root = archive.blob(archive.index.root)
            if root is None or not root.media_type:
                return Durable(archive)
            try:
                manifest = await self.lookup.parsed(root)
                platforms = await self._platforms(archive, manifest)
            except RegistryError:  # the archive is damaged, or cannot be read now; a pull says so
                return Durable(archive)
            if len(self._read) >= _REMEMBERED:
                self._read.pop(next(iter(self._read)))
            self._read[key] = platforms, kind_of(manifest)
        return Durable(archive, *self._read[key])

    async def _platforms(self, archive: Archive, manifest: Manifest) -> list[str]:
        platforms = [str(child.platform) for child in manifest.children if child.platform]
        platforms = [each for each in platforms if each != _NO_PLATFORM]
        if platforms or not (manifest.config and manifest.is_image):
            return platforms
        config = archive.blob(manifest.config.digest)  # a search for it would take longer with each image
        own = await (platform_in(config) if config else platform_of(self.lookup, archive.name, manifest))
        return [own] if own else []


def _refusal(refusal: Refusal) -> dict[str, object]:
    return {
        "method": safe_text(refusal.method),
        "path": safe_text(refusal.path),
        "status": refusal.status,
        "message": safe_text(refusal.message),
    }
