"""One image of a tarball, and what is attached to it."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from proxy.errors import RegistryError, TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.manifest import Manifest
from proxy.oci.names import Tag
from proxy.oci.references import Reference

_ABOUT = re.compile(r"(sha256|sha512)-([0-9a-f]+)(\.[a-z]+)?")  # "Referrers Tag Schema", and the tags of cosign
_MOST_ATTACHED = 2000  # each of them becomes an artifact


@dataclass(slots=True)
class Image:
    """An image that can be pushed: its manifests, the root first, its blobs, and its names as the tarball has them.

    `attached` are those that are about it: signatures, attestations and bills of materials.
    """

    manifests: dict[Digest, Manifest]
    blobs: set[Digest]
    names: list[str] = field(default_factory=list)
    attached: list["Image"] = field(default_factory=list)

    @property
    def root(self) -> Digest:
        """The digest that a pull by tag answers with."""
        return next(iter(self.manifests))

    @property
    def references(self) -> list[Reference]:
        """The names that have a tag."""
        found = []
        for name in self.names:
            with suppress(RegistryError):  # an annotation may be anything, and often is a tag alone
                if (reference := Reference.parse(name)).tag:
                    found.append(reference)
        return found

    @property
    def tags(self) -> list[Tag]:
        """The names that are a tag alone, as those in a layout may be."""
        found = list[Tag]()
        for name in self.names:
            with suppress(RegistryError):
                found.append(Tag.parse(name))
        return list(dict.fromkeys(found))

    @property
    def tags_to_keep(self) -> list[Tag]:
        """The tags by which others look for what is about an image, whatever that is called."""
        return [tag for tag in self.tags if _ABOUT.fullmatch(str(tag))]

    @property
    def parts(self) -> tuple["Image", ...]:
        """This image, and all that is attached to it."""
        return (self, *self.attached)

    @property
    def about(self) -> Digest | None:
        """The manifest that this image is about, by its subject or by a tag such as `sha256-….sig`.

        None of an image with a full name.
        """
        if self.references:
            return None
        if subject := self.manifests[self.root].subject:
            return subject.digest
        tagged = next(filter(None, map(_ABOUT.fullmatch, self.names)), None)
        with suppress(RegistryError):
            return Digest.parse(f"{tagged[1]}:{tagged[2]}") if tagged else None
        return None

    def find_attached(self, about: Mapping[Digest, Sequence["Image"]]) -> None:
        """Attach what is about any manifest of this image, also through a third."""
        known, waiting = {self.root}, list(self.manifests)
        for digest in waiting:  # which grows
            for other in about.get(digest, ()):
                if other.root not in known:
                    known.add(other.root)
                    waiting += other.manifests
                    self.attached.append(other)


def attach(found: Collection[Image]) -> list[Image]:
    """Return the images, to which what is about them is attached.

    What has no name, and is about something that is not here, is attached to the only image.
    """
    own, about = [each for each in found if not each.about], defaultdict[Digest, list[Image]](list)
    for image in found:
        if subject := image.about:
            about[subject].append(image)
    for image in own:
        image.find_attached(about)
    attached = {each.root for image in own for each in image.attached}
    left = [image for images in about.values() for image in images if image.root not in attached]
    if len(own) == 1:
        own[0].attached += [image for image in left if not image.names]
        left = [image for image in left if image.names]
    if sum(len(each.attached) for each in own) > _MOST_ATTACHED:
        raise TarballInvalid(f"more than {_MOST_ATTACHED} manifests in the tarball refer to its images")
    return own + left
