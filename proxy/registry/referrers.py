"""Find the manifests that have another one as their subject (distribution-spec, "Listing Referrers")."""

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.registry.lookup import Lookup


async def referrers(lookup: Lookup, name: Name, subject: Digest) -> list[dict[str, object]]:
    """Return a descriptor of each referrer, as an image index lists them, in the order of their digests.

    Raise UnreadableArtifact if an artifact without a tag cannot be read: it may be a signature.
    """
    pending = lookup.spool.pending.get(name, {})
    wanted = [digest for digest, each in pending.items() if each.subject == subject]
    blobs = [blob for digest in wanted if (blob := await lookup.spool.pending.find(name, digest))]
    external = lookup.external.referring(name, subject)
    blobs += [blob for digest in external if (blob := await lookup.find(name, digest))]
    archives = await lookup.catalog.archives_in(name)
    for problem in lookup.catalog.unreadable(name):
        known = lookup.catalog.reference_of(problem.artifact)
        if known and isinstance(known[1], Digest):
            raise problem.as_doubt()
    for archive in archives:
        referring = [digest for digest, entry in archive.index.blobs.items() if entry.subject == subject]
        blobs += [blob for digest in referring if (blob := archive.blob(digest))]
    found: dict[Digest, dict[str, object]] = {}
    for blob in blobs:
        if blob.digest in found:
            continue
        manifest = await lookup.parsed(blob)
        found[blob.digest] = {
            "mediaType": manifest.media_type,
            "digest": str(blob.digest),
            "size": len(manifest.content),
            **({"artifactType": manifest.artifact_type} if manifest.artifact_type else {}),
            **({"annotations": manifest.annotations} if manifest.annotations else {}),
        }
    return [found[digest] for digest in sorted(found)]
