"""Which manifests are held in memory, and when they no longer answer."""

from proxy.blob import Blob, read_all
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.registry.manifest_cache import ManifestCache
from tests.registry_harness import APP, V1, V2, RegistryHarness

OTHER = Name.parse("other")


async def served(registry: RegistryHarness, reference: Tag | Digest, name: Name = APP) -> tuple[Blob, bytes]:
    blob = await registry.lookup.manifest(name, reference)
    return blob, await read_all(blob)


async def kept(held: ManifestCache, registry: RegistryHarness, reference: Tag | Digest = V1) -> bytes:
    """Hold what answers for a reference as a request does, and return it."""
    version = registry.lookup.catalog.version(fresh=False)
    blob, content = await served(registry, reference)
    held.keep(APP, reference, blob, content, version)
    return content


def content_of(found: tuple[Blob, bytes] | None) -> bytes | None:
    return found[1] if found else None


async def test_what_was_kept_answers_for_its_own_reference_only(registry: RegistryHarness) -> None:
    held, pushed = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer")
    await registry.lookup.manifest(APP, V1)

    assert held.find(APP, V1) is None
    assert await kept(held, registry) == pushed.content

    assert content_of(held.find(APP, V1)) == pushed.content
    assert [held.find(*each) for each in ((APP, V2), (OTHER, V1), (APP, pushed.digest))] == [None] * 3


async def test_nothing_answers_after_any_change_of_the_store(registry: RegistryHarness) -> None:
    held, pushed = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer")
    await kept(held, registry)
    await kept(held, registry, pushed.digest)

    await registry.push_image(b"another", tags=(V2,))

    assert [held.find(APP, each) for each in (V1, pushed.digest)] == [None, None]


async def test_a_tag_needs_a_fresh_listing_and_a_digest_none(registry: RegistryHarness) -> None:
    held, pushed = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer")
    await kept(held, registry)
    await kept(held, registry, pushed.digest)

    registry.lookup.catalog.forget_listing()

    assert held.find(APP, V1) is None
    assert content_of(held.find(APP, pushed.digest)) == pushed.content


async def test_what_was_found_damaged_since_is_looked_up_again(registry: RegistryHarness) -> None:
    held, _ = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer")
    await kept(held, registry)
    found = held.find(APP, V1)
    assert found

    found[0].findings.corrupt.add(found[0].digest)

    assert held.find(APP, V1) is None


async def test_what_is_in_no_archive_is_not_kept(registry: RegistryHarness) -> None:
    held, pending = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer", tags=())

    await kept(held, registry, pending.digest)

    assert held.find(APP, pending.digest) is None


async def test_a_listing_that_was_not_known_and_a_large_manifest_are_not_kept(registry: RegistryHarness) -> None:
    held, _ = ManifestCache(registry.lookup.catalog), await registry.push_image(b"layer")
    blob, content = await served(registry, V1)
    version = registry.lookup.catalog.version(fresh=False)

    held.keep(APP, V1, blob, content, None)
    assert held.find(APP, V1) is None
    held.keep(APP, V1, blob, content + b" " * 16 * 1024, version)
    assert held.find(APP, V1) is None


async def test_of_too_many_the_least_recently_asked_for_is_forgotten(registry: RegistryHarness) -> None:
    held, most = ManifestCache(registry.lookup.catalog), 256
    await registry.push_image(b"layer")
    blob, content = await served(registry, V1)
    version = registry.lookup.catalog.version(fresh=False)
    tags = [Tag.parse(f"t{number}") for number in range(most)]
    for tag in tags:
        held.keep(APP, tag, blob, content, version)
    assert held.find(APP, tags[0])

    held.keep(APP, V2, blob, content, version)

    assert held.find(APP, tags[0])
    assert held.find(APP, tags[1]) is None
