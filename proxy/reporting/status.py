"""Report the state of the relay to people and programs: its images, and what is not durable yet."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from proxy.backends.backend import Backend
from proxy.blob import read_all
from proxy.catalog.archive import Archive
from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.manifest import UNKNOWN_PLATFORM
from proxy.oci.names import Name, label
from proxy.registry.lookup import Lookup, read_manifest
from proxy.registry.platforms import platform_in, platform_of
from proxy.registry.push import Push
from proxy.registry.push_state import State
from proxy.reporting.copyable import ContentKind, content_kind
from proxy.reporting.history import History, Refusal
from proxy.runtime.tasks import run_many
from proxy.text import format_time, safe_text
from proxy.version import version

_VERSION = version()  # looked up once: that reads files
_REMEMBERED = 20_000  # images that are read once
_Inside = tuple[list[str], ContentKind]  # the platforms and the kind of an image


@dataclass(frozen=True, slots=True)
class Durable:
    """An image that is in an artifact."""

    archive: Archive
    platforms: list[str] = field(default_factory=list)
    kind: ContentKind = ContentKind.IMAGE

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
    _read: dict[tuple[Name, Digest], _Inside] = field(default_factory=dict, repr=False)

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
        archives = await catalog.all_archives()
        inside = await self._known(archives)
        durable = [
            Durable(each, *inside[_key(each)]) if _key(each) in inside else await self.durable(each)
            for each in archives
        ]
        listed = [each.fields(with_id=with_id) for each in durable]
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
            told = {"problem": safe_text(each.problem)} if each.problem else {}
            listed.append({"references": [reference], "digest": str(each.digest), "state": each.state.value, **told})
        return listed

    async def durable(self, archive: Archive) -> Durable:
        """Return an image that is in an artifact, with its platforms and kind."""
        found = self._read.get(_key(archive))
        if found is None:
            with suppress(RegistryError):  # the archive is damaged, or cannot be read now; a pull says so
                found = await self._inside(archive, self.lookup)
        if found is None:
            return Durable(archive)
        self._remember(archive, found)
        return Durable(archive, *found)

    async def _known(self, archives: Sequence[Archive]) -> dict[tuple[Name, Digest], _Inside]:
        """Return what is known of archives, and what can be read of those on this machine, many in one thread."""
        known = {key: self._read[key] for key in map(_key, archives) if key in self._read}
        new = list({_key(each): each for each in archives if each.source.is_local and _key(each) not in known}.values())
        async for some in run_many(partial(self._inside, elsewhere=None), new, (RegistryError, OSError)):
            for archive, found in some:
                if found:
                    known[_key(archive)] = found
                    self._remember(archive, found)
        return known

    def _remember(self, archive: Archive, found: _Inside) -> None:
        if len(self._read) >= _REMEMBERED and _key(archive) not in self._read:
            self._read.pop(next(iter(self._read)))
        self._read[_key(archive)] = found

    async def _inside(self, archive: Archive, elsewhere: Lookup | None) -> _Inside | None:
        """Return the platforms and the kind of an image; None if they are not inside, nor to be found `elsewhere`."""
        root = archive.blob(archive.index.root)
        if root is None or not root.media_type:
            return None
        manifest = await read_manifest(await read_all(root), root.media_type)
        platforms = [str(child.platform) for child in manifest.children if child.platform]
        platforms = [each for each in platforms if each != UNKNOWN_PLATFORM]
        if not platforms and manifest.config and manifest.is_image:
            config = archive.blob(manifest.config.digest)  # a search for it would take longer with each image
            if config:
                own = await platform_in(config)
            elif elsewhere:
                own = await platform_of(elsewhere, archive.name, manifest)
            else:
                return None
            platforms = [own] if own else []
        return platforms, content_kind(manifest)


def _key(archive: Archive) -> tuple[Name, Digest]:
    return archive.name, archive.index.root


def _refusal(refusal: Refusal) -> dict[str, object]:
    return {
        "method": safe_text(refusal.method),
        "path": safe_text(refusal.path),
        "status": refusal.status,
        "message": safe_text(refusal.message),
    }
