"""Referrers: what is pending and what is durable, each once."""

from proxy.oci.digest import Digest
from proxy.oci.manifest import OCI_MANIFEST, Manifest
from proxy.oci.names import Name
from proxy.registry.referrers import referrers
from tests.registry_harness import APP, V1, RegistryHarness, described, document


def about(subject: Manifest, **more: object) -> Manifest:
    fields = {"layers": [], "subject": described(subject.content, subject.media_type)}
    return document(OCI_MANIFEST, **fields, **more)


async def test_referrers_are_found_pending_and_durable_each_once_and_by_digest(registry: RegistryHarness) -> None:
    subject = await registry.push_image()
    plain = about(subject)
    signed = about(subject, artifactType="application/signature", annotations={"by": "me"})
    other = about(plain)
    for manifest in (plain, signed, other):
        await registry.put(manifest)
    pending = await referrers(registry.lookup, APP, subject.digest)

    await registry.put(signed, V1)
    half = await referrers(registry.lookup, APP, subject.digest)
    assert await registry.push.flush() == []
    await registry.put(signed, V1)

    expected = [
        {"mediaType": OCI_MANIFEST, "digest": str(plain.digest), "size": len(plain.content)},
        {
            "mediaType": OCI_MANIFEST,
            "digest": str(signed.digest),
            "size": len(signed.content),
            "artifactType": "application/signature",
            "annotations": {"by": "me"},
        },
    ]
    durable = await referrers(registry.lookup, APP, subject.digest)
    await registry.spool.pending.add(APP, signed.digest, signed)
    both = await referrers(registry.lookup, APP, subject.digest)
    assert pending == half == durable == both == sorted(expected, key=lambda each: str(each["digest"]))


async def test_nobody_refers_to_what_is_unknown_or_elsewhere(registry: RegistryHarness) -> None:
    subject = await registry.push_image()
    await registry.put(about(subject))

    assert await referrers(registry.lookup, APP, Digest.of(b"?")) == []
    assert await referrers(registry.lookup, Name.parse("other"), subject.digest) == []
