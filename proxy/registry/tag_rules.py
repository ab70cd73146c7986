"""Who may move a tag: the job that pushed it first, or any job if the tag is made to be appended to."""

import re

from proxy.artifacts.base import Ownership
from proxy.catalog.archive import Archive
from proxy.errors import Denied
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Tag
from proxy.registry.lookup import Lookup

CACHE = "application/vnd.buildkit.cacheconfig.v0"
_APPENDED = re.compile(r"sha(256|512)-[0-9a-f]{64}(?![0-9a-f]).*")  # by cosign and by the referrers tag schema


class TagTaken(Denied):
    """Another job of this attempt has the tag; the message is to follow the reference."""

    def __init__(self) -> None:
        super().__init__("belongs to another job of this run; use another tag, or RELAY_OVERWRITE=run")


async def whose(lookup: Lookup, tag: Tag, digest: Digest, manifest: Manifest, before: Archive | None) -> Ownership:
    """Return who may move a tag once a manifest is stored in the place of what was `before`. Raise TagTaken.

    Tags of signatures and of build caches are made for any job to append to.
    """
    if _APPENDED.fullmatch(tag.text):
        return Ownership.ANY
    if before is None or lookup.catalog.may_replace(before.artifact):
        return Ownership.JOB
    if before.index.root == digest:  # the same image is only stored again
        return Ownership.ANY
    if is_cache(manifest) and (root := before.blob(before.index.root)) and is_cache(await lookup.parsed(root)):
        return Ownership.ANY
    raise TagTaken


def is_cache(manifest: Manifest) -> bool:
    """Return whether this is a build cache of BuildKit, in either of its forms."""
    descriptors = (manifest.config, *manifest.children)
    return any(each is not None and each.media_type == CACHE for each in descriptors)


def answers(archive: Archive, reference: Tag | Digest, digest: Digest, manifest: Manifest) -> bool:
    """Return whether an archive answers with this manifest, and with the media type of this push."""
    if archive.findings.corrupt or (isinstance(reference, Tag) and archive.index.root != digest):
        return False
    return archive.index.blobs[digest].media_type == manifest.media_type
