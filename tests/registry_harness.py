"""The registry below HTTP in a folder of the test, joined as `proxy.app` joins it, and what is pushed to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import shake_256
from inspect import isawaitable
from pathlib import Path
from typing import Any, Self

from config.settings import Settings
from proxy.api.services import Services
from proxy.app import Reports, assemble
from proxy.artifacts.base import ArtifactStore
from proxy.artifacts.directory import DirectoryStore
from proxy.backends.directory import DirectoryBackend
from proxy.blob import Blob, read_plain
from proxy.catalog.archive import Archive
from proxy.catalog.catalog import Catalog
from proxy.events import Event
from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Manifest, parse
from proxy.oci.names import Name, Tag
from proxy.runtime.limits import DEFAULT, Limits
from proxy.runtime.memory import MemoryBudget

MIB = 1024 * 1024
CONFIG = b'{"os":"linux","architecture":"amd64"}'
APP = Name.parse("app")
V1 = Tag.parse("v1")
V2 = Tag.parse("v2")
Fields = dict[str, Any]


def noise(size: int, seed: object = 0) -> bytes:
    """Bytes that do not compress."""
    return shake_256(str(seed).encode()).digest(size)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds; the time limit of the tests ends what never does."""
    while True:
        held = holds()
        if await held if isawaitable(held) else held:
            return
        await asyncio.sleep(0.001)


async def plain(blob: Blob, memory: MemoryBudget | None = None) -> bytes:
    """Read a blob to its end, with all checks."""
    read = b""
    async with aclosing(read_plain(blob, 0, blob.size, memory or MemoryBudget(64 * MIB))) as parts:
        async for views in parts:
            read += b"".join(views)
    return read


def document(media_type: str, **fields: object) -> Manifest:
    """Write a manifest with these fields."""
    return parse(json.dumps({"schemaVersion": 2, "mediaType": media_type, **fields}).encode(), media_type)


def described(content: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar") -> Fields:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(*layers: bytes, config: bytes = CONFIG, **more: object) -> Manifest:
    """Describe an image of these layers."""
    return document(
        OCI_MANIFEST,
        config=described(config, "application/vnd.oci.image.config.v1+json"),
        layers=[described(layer) for layer in layers],
        **more,
    )


def index(*children: Manifest, **more: object) -> Manifest:
    """Describe an index of these manifests."""
    return document(OCI_INDEX, manifests=[described(each.content, each.media_type) for each in children], **more)


@dataclass
class RegistryHarness:
    """All parts, over one folder and one artifact store."""

    root: Path
    store: ArtifactStore
    catalog: Catalog
    events: list[Event]
    parts: Services

    def __post_init__(self) -> None:
        self.spool, self.lookup, self.push = self.parts.spool, self.parts.lookup, self.parts.push
        self.deletion, self.crew, self.status = self.parts.deletion, self.parts.tasks, self.parts.status

    @classmethod
    async def open(cls, root: Path, store: ArtifactStore | None = None, limits: Limits = DEFAULT) -> Self:
        """Start as the service does; without a store over the directory store."""
        if store is None:
            store = DirectoryStore(root)
            await store.prepare()
        events: list[Event] = []
        settings = Settings(data=root, compression_level=1, settle_seconds=0)
        backend = DirectoryBackend(store, settings, limits=limits)
        parts = assemble(settings, backend, MemoryBudget(64 * MIB), Reports(events.append), limits)
        await parts.spool.open()
        parts.push.restore()
        return cls(root, store, backend.catalog, events, parts)

    async def reopened(self) -> "RegistryHarness":
        """Start again over the same folder, as after a SIGKILL."""
        return await RegistryHarness.open(self.root, None if isinstance(self.store, DirectoryStore) else self.store)

    async def upload(self, content: bytes, name: Name = APP) -> Digest:
        """Push a blob."""
        digest = Digest.of(content)
        upload = await self.spool.sessions.start(name)
        await self.spool.sessions.append(upload, chunks(content))
        await self.spool.sessions.finish(upload, digest)
        return digest

    async def prepare(self, *layers: bytes, name: Name = APP, config: bytes = CONFIG) -> Manifest:
        """Push config and layers of an image, but not its manifest."""
        for content in (config, *layers):
            await self.upload(content, name)
        return image(*layers, config=config)

    async def put(self, manifest: Manifest, *tags: Tag, name: Name = APP) -> Digest:
        """Push a manifest by tags, without any by digest."""
        if tags:
            await self.push.put_tagged(name, tags, manifest.digest, manifest)
        else:
            await self.push.put(name, manifest.digest, manifest)
        return manifest.digest

    async def push_image(self, *layers: bytes, tags: Iterable[Tag] = (V1,), name: Name = APP) -> Manifest:
        """Push an image with all its content."""
        manifest = await self.prepare(*layers, name=name)
        await self.put(manifest, *tags, name=name)
        return manifest

    async def pull(self, reference: Tag | Digest, name: Name = APP) -> dict[Digest, bytes]:
        """Read a manifest and everything below it, checked."""
        blob = await self.lookup.manifest(name, reference)
        found = {blob.digest: await plain(blob)}
        manifest = await self.lookup.parsed(blob)
        for child in manifest.children:
            found |= await self.pull(child.digest, name)
        for descriptor in manifest.blobs:
            found[descriptor.digest] = await plain(await self.lookup.blob(name, descriptor.digest))
        assert all(Digest.of(content) == digest for digest, content in found.items())
        return found

    async def answering(self, tag: Tag = V1, name: Name = APP) -> Digest | None:
        """Return which manifest answers for a tag."""
        archive = await self.catalog.resolve(name, tag)
        return archive.index.root if archive else None

    def start_settling(self) -> None:
        """Begin what the service does in the background; the crew has to be dismissed."""
        self._background = self.crew.spawn(self.push.seal_idle())

    async def archives(self) -> list[Archive]:
        return await self.catalog.all_archives()

    async def artifacts(self) -> list[str]:
        return sorted(artifact.name for artifact in await self.store.listed())

    def files(self, folder: str = "") -> list[str]:
        """Name the files below a folder of the spool."""
        root = self.root / "spool" / folder
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
