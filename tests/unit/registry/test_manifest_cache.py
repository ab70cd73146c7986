"""Which manifests are held in memory, and when they no longer answer."""

from proxy.blob import Blob, read_all
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag
from proxy.registry.manifest_cache import ManifestCache
from tests.registry_harness import APP, V1, V2, Desk

OTHER = Name.parse("other")


async def served(desk: Desk, reference: Tag | Digest, name: Name = APP) -> tuple[Blob, bytes]:
    blob = await desk.lookup.manifest(name, reference)
    return blob, await read_all(blob)


async def kept(held: ManifestCache, desk: Desk, reference: Tag | Digest = V1) -> bytes:
    """Hold what answers for a reference as a request does, and return it."""
    version = desk.lookup.catalog.version(fresh=False)
    blob, content = await served(desk, reference)
    held.keep(APP, reference, blob, content, version)
    return content


def content_of(found: tuple[Blob, bytes] | None) -> bytes | None:
    return found[1] if found else None


async def test_what_was_kept_answers_for_its_own_reference_only(desk: Desk) -> None:
    held, pushed = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer")
    await desk.lookup.manifest(APP, V1)

    assert held.find(APP, V1) is None
    assert await kept(held, desk) == pushed.content

    assert content_of(held.find(APP, V1)) == pushed.content
    assert [held.find(*each) for each in ((APP, V2), (OTHER, V1), (APP, pushed.digest))] == [None] * 3


async def test_nothing_answers_after_any_change_of_the_store(desk: Desk) -> None:
    held, pushed = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer")
    await kept(held, desk)
    await kept(held, desk, pushed.digest)

    await desk.push_image(b"another", tags=(V2,))

    assert [held.find(APP, each) for each in (V1, pushed.digest)] == [None, None]


async def test_a_tag_needs_a_fresh_listing_and_a_digest_none(desk: Desk) -> None:
    held, pushed = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer")
    await kept(held, desk)
    await kept(held, desk, pushed.digest)

    desk.lookup.catalog.forget_listing()

    assert held.find(APP, V1) is None
    assert content_of(held.find(APP, pushed.digest)) == pushed.content


async def test_what_was_found_damaged_since_is_looked_up_again(desk: Desk) -> None:
    held, _ = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer")
    await kept(held, desk)
    found = held.find(APP, V1)
    assert found

    found[0].findings.corrupt.add(found[0].digest)

    assert held.find(APP, V1) is None


async def test_what_is_in_no_archive_is_not_kept(desk: Desk) -> None:
    held, pending = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer", tags=())

    await kept(held, desk, pending.digest)

    assert held.find(APP, pending.digest) is None


async def test_a_listing_that_was_not_known_and_a_large_manifest_are_not_kept(desk: Desk) -> None:
    held, _ = ManifestCache(desk.lookup.catalog), await desk.push_image(b"layer")
    blob, content = await served(desk, V1)
    version = desk.lookup.catalog.version(fresh=False)

    held.keep(APP, V1, blob, content, None)
    assert held.find(APP, V1) is None
    held.keep(APP, V1, blob, content + b" " * 16 * 1024, version)
    assert held.find(APP, V1) is None


async def test_of_too_many_the_least_recently_asked_for_is_forgotten(desk: Desk) -> None:
    held, most = ManifestCache(desk.lookup.catalog), 256
    await desk.push_image(b"layer")
    blob, content = await served(desk, V1)
    version = desk.lookup.catalog.version(fresh=False)
    tags = [Tag.parse(f"t{number}") for number in range(most)]
    for tag in tags:
        held.keep(APP, tag, blob, content, version)
    assert held.find(APP, tags[0])

    held.keep(APP, V2, blob, content, version)

    assert held.find(APP, tags[0])
    assert held.find(APP, tags[1]) is None
