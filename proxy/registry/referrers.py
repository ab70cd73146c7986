"""Which manifests have another one as their subject (distribution-spec, "Listing Referrers")."""

from proxy.blob import Blob
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Name
from proxy.registry.lookup import Lookup


async def referrers(lookup: Lookup, name: Name, subject: Digest) -> list[dict[str, object]]:
    """Give a descriptor of each referrer, as an image index lists them, by digest."""
    found: dict[Digest, dict[str, object]] = {}
    for blob in [*await _pending(lookup, name, subject), *await _durable(lookup, name, subject)]:
        if blob.digest not in found:
            found[blob.digest] = _descriptor(blob.digest, await lookup.parsed(blob))
    return [found[digest] for digest in sorted(found)]


async def _pending(lookup: Lookup, name: Name, subject: Digest) -> list[Blob]:
    pending = lookup.spool.pending.get(name, {})
    wanted = [digest for digest, each in pending.items() if each.subject == subject]
    return [blob for digest in wanted if (blob := await lookup.spool.get_pending(name, digest))]


async def _durable(lookup: Lookup, name: Name, subject: Digest) -> list[Blob]:
    """Find those in artifacts. What has no tag may be a signature: one that cannot be read is not left out silently."""
    archives = await lookup.catalog.archives_in(name)
    for problem in lookup.catalog.unreadable(name):
        known = lookup.catalog.reference_of(problem.artifact)
        if known and isinstance(known[1], Digest):
            raise problem.as_doubt()
    return [
        blob
        for archive in archives
        for digest, entry in archive.index.blobs.items()
        if entry.subject == subject and (blob := archive.blob(digest))
    ]


def _descriptor(digest: Digest, manifest: Manifest) -> dict[str, object]:
    fields: dict[str, object] = {
        "mediaType": manifest.media_type,
        "digest": str(digest),
        "size": len(manifest.content),
    }
    if manifest.artifact_type:
        fields["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        fields["annotations"] = manifest.annotations
    return fields
