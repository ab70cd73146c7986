"""How much is read of a large archive for a small answer."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from proxy.archive.pieces import PIECE
from proxy.blob import read_plain
from proxy.runtime.memory import MemoryBudget
from tests.fakes.faulty_stores import CountingStore
from tests.registry_harness import APP, MIB, V1, RegistryHarness, described, document, image

KIB = 1024
LAYERS = 4
REPEATS = 256 * MIB // PIECE  # of one piece in each layer; 1 GiB in all


class Repeated:
    """A layer of one random piece again and again: large, made fast, and it does not compress."""

    def __init__(self, seed: int) -> None:
        self.piece = random.Random(seed).randbytes(PIECE)  # noqa: S311 - a pattern, no secret
        self.size = REPEATS * PIECE

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in range(REPEATS):
            yield self.piece


@pytest.fixture(scope="module")
def large_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one archive of 1 GiB, sealed by the relay itself out of a spool that was filled directly."""
    root = tmp_path_factory.mktemp("large")
    asyncio.run(fill(root))
    yield root
    shutil.rmtree(root)  # pytest would keep it for three runs


async def fill(root: Path) -> None:
    registry = await RegistryHarness.open(root)
    layers = []
    for seed in range(LAYERS):
        layer = Repeated(seed)
        upload = await registry.spool.sessions.start(APP)
        await registry.spool.sessions.append(upload, layer.chunks())
        digest = upload._work.rehash("sha256")
        await registry.spool.sessions.finish(upload, digest)
        layers.append(
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": str(digest), "size": layer.size}
        )
    config = described(b"{}", "application/vnd.oci.image.config.v1+json")
    await registry.upload(b"{}")
    await registry.put(document(image().media_type, config=config, layers=layers), V1)
    await registry.crew.cancel_all()


@pytest.fixture
async def store(large_archive: Path) -> CountingStore:
    return CountingStore(large_archive)


@pytest.fixture
async def registry(store: CountingStore, tmp_path: Path) -> RegistryHarness:
    return await RegistryHarness.open(tmp_path, store)


async def test_a_manifest_is_read_out_of_1_gib_with_less_than_512_kib(
    registry: RegistryHarness, store: CountingStore
) -> None:
    (artifact,) = await store.listed()
    assert artifact.size > 1 << 30

    blob = await registry.lookup.manifest(APP, V1)
    manifest = await registry.lookup.parsed(blob)
    assert manifest.config is not None
    await registry.lookup.blob(APP, manifest.config.digest)

    assert len(manifest.layers) == LAYERS
    assert store.read < 512 * KIB


@pytest.mark.parametrize("start", [0, PIECE - 512 * KIB, 100 * MIB + 1, REPEATS * PIECE - MIB])
async def test_a_range_of_1_mib_of_a_layer_takes_less_than_6_mib(
    registry: RegistryHarness, store: CountingStore, start: int
) -> None:
    manifest = await registry.lookup.parsed(await registry.lookup.manifest(APP, V1))
    layer = await registry.lookup.blob(APP, manifest.layers[1].digest)
    store.read = 0

    taken = b""
    async with aclosing(read_plain(layer, start, start + MIB, MemoryBudget(64 * MIB))) as parts:
        async for views in parts:
            taken += b"".join(views)

    assert taken == (Repeated(1).piece * 2)[start % PIECE :][:MIB]
    assert store.read < 6 * MIB
