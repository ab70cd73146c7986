"""What the report says of images, and of what is not durable."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST, Manifest
from tests.fakes.faulty_stores import FaultyStore
from tests.registry_harness import APP, CONFIG, MIB, V1, V2, RegistryHarness, described, document, image, index, noise


async def push_config(registry: RegistryHarness, config: bytes) -> Manifest:
    await registry.upload(config)
    manifest = image(config=config)
    await registry.put(manifest, V1)
    return manifest


async def platforms(registry: RegistryHarness) -> object:
    (row,) = await registry.status.images()
    return row["platforms"]


async def test_a_durable_image_is_described(registry: RegistryHarness) -> None:
    manifest = await registry.push_image(noise(300_000))
    (artifact,) = await registry.store.listed()

    (row,) = await registry.status.images()

    assert row.pop("created") == artifact.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert row == {
        "references": ["app:v1"],
        "digest": str(manifest.digest),
        "platforms": ["linux/amd64"],
        "size": 300_000 + len(CONFIG) + len(manifest.content),
        "stored": artifact.size,
        "artifact": "image-app@v1",
        "state": "durable",
    }


async def test_of_an_index_the_platforms_of_its_children_are_told_but_not_of_attestations(
    registry: RegistryHarness,
) -> None:
    child = await registry.push_image(tags=())
    rows = [described(child.content, OCI_MANIFEST) | {"platform": each} for each in PLATFORMS]
    await registry.put(document(index(child).media_type, manifests=rows), V1)

    assert await platforms(registry) == ["linux/amd64", "linux/arm/v7"]


PLATFORMS = [
    {"os": "linux", "architecture": "amd64"},
    {"os": "linux", "architecture": "arm", "variant": "v7"},
    {"os": "unknown", "architecture": "unknown"},
]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (b'{"os":"linux","architecture":"arm","variant":"v6"}', ["linux/arm/v6"]),
        (b'{"os":7,"architecture":"arm"}', ["arm"]),
        (b"[]", []),
        (b"not JSON", []),
        (b"\xff", []),
        (b"[" * 100_000, []),
        (json.dumps({"os": "linux", "x": "y" * 5 * MIB}).encode(), []),
    ],
    ids=["variant", "wrong type", "list", "text", "binary", "deep", "huge"],
)
async def test_a_config_is_read_with_care(registry: RegistryHarness, config: bytes, expected: list[str]) -> None:
    await push_config(registry, config)

    assert await platforms(registry) == expected


async def test_what_is_no_image_has_no_platform(registry: RegistryHarness) -> None:
    await registry.upload(b"{}")
    await registry.put(document(OCI_MANIFEST, config=described(b"{}", "application/vnd.example"), layers=[]), V1)
    await registry.put(document(OCI_MANIFEST, layers=[]), V2)

    assert [row["platforms"] for row in await registry.status.images()] == [[], []]


async def test_a_damaged_archive_is_listed_all_the_same(registry: RegistryHarness) -> None:
    await push_config(registry, b'{"os":"linux","architecture":"' + noise(200_000).hex().encode() + b'"}')
    path = registry.root / "image-app@v1.tar.zst"
    content = bytearray(path.read_bytes())
    content[5000:100_000] = bytes(95_000)
    path.write_bytes(content)

    assert await platforms(await registry.reopened()) == []


async def test_many_archives_are_read_by_few_calls_of_threads(
    registry: RegistryHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await registry.push_image(noise(1000))
    (stored,) = registry.root.glob("*.tar.zst")
    for number in range(150):
        shutil.copyfile(stored, registry.root / f"image-app{number}@v1.tar.zst")
    (registry.root / "image-app7@v1.tar.zst").write_bytes(noise(1000))
    listing, calls, to_thread = await registry.reopened(), 0, asyncio.to_thread

    async def counted(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return await to_thread(call, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    rows = await listing.status.images()

    assert len(rows) == 151
    assert [row["references"] for row in rows if row["state"] == "unreadable"] == [["app7:v1"]]
    assert [row["platforms"] for row in rows if row["state"] == "durable"] == [["linux/amd64"]] * 150
    assert calls < 20


async def test_what_is_not_durable_is_told(tmp_path: Path) -> None:
    store = FaultyStore(tmp_path)
    await store.prepare()
    registry = await RegistryHarness.open(tmp_path, store)
    failed = await registry.push_image(b"failed", tags=())
    store.refuse()
    await registry.push.flush()
    manifest = document(OCI_MANIFEST, layers=[])
    await registry.spool.pending.add(APP, manifest.digest, manifest)
    registry.push.restore()  # what failed is tried again after a restart
    await registry.push.flush()
    held = document(OCI_MANIFEST, layers=[], annotations={"a": "b"})
    await registry.spool.pending.add(APP, held.digest, held)
    registry.push.sealer.table.record(APP, held.digest, held.digest)

    health = registry.status.health()

    assert health["ready"] is True
    assert health["store"] == "directory"
    assert health["pending"] == [f"app@{held.digest}"]
    assert health["failed"] == [
        {"reference": f"app@{each.digest}", "problem": "the storage quota is used up; delete some artifacts"}
        for each in (failed, manifest)
    ]
    assert [(row["digest"], row["state"]) for row in await registry.status.images()] == [
        (str(failed.digest), "failed"),
        (str(manifest.digest), "failed"),
        (str(held.digest), "uploaded"),
    ]


async def test_an_archive_whose_root_is_not_inside_has_no_platform(registry: RegistryHarness) -> None:
    await registry.push_image()
    archive = await registry.catalog.resolve(APP, V1)
    assert archive is not None
    object.__setattr__(archive.index, "root", Digest.of(b"?"))

    assert (await registry.status.durable(archive)).platforms == []
