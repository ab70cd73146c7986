"""What is known of an artifact that no relay stored, and which of its images a reference means."""

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from proxy.artifacts.naming import SUFFIX, Naming, numbered
from proxy.errors import ManifestUnknown, RegistryError, TarballInvalid
from proxy.oci.digest import Digest
from proxy.oci.names import Name, Tag, label
from proxy.oci.references import LATEST
from proxy.tarballs.choice import Choice, NotChosen, is_called, slug, without_ending
from proxy.tarballs.image import Image
from proxy.text import counted, safe_text

FOLDER = "artifact"  # of the repositories that are artifacts of others
_TAGGED = re.compile(r"([^@:]+)[@:]([^@:]+)")
_REFUSED = 60.0  # seconds before an artifact that was no image is read again
_SHOWN = 8  # names in a message
_MOST_LISTED = 100  # images of one artifact


def name_and_tag(artifact: str) -> tuple[str, str]:
    """Return the name of an artifact, in lower case, and the tag in it, such as `v1` in `app@v1.tar`; empty without."""
    found = _TAGGED.fullmatch(without_ending(artifact))
    return (found[1].lower(), found[2]) if found else (artifact.lower(), "")


class Wanted(NamedTuple):
    """What a reference asks for: an artifact, a file or an image in it (empty for the only one), and which image."""

    artifact: str
    inside: str
    reference: Tag | Digest

    @classmethod
    def of(cls, name: Name, reference: Tag | Digest) -> "Wanted | None":
        """Return what a reference asks for; None if it cannot be an artifact."""
        first, _, rest = name.text.partition("/")
        if first == FOLDER and rest:
            artifact, _, inside = rest.partition("/")
            return cls(artifact, inside, reference)
        return None if rest else cls(first, "", reference)

    def files(self, naming: Naming) -> list[str]:
        """Return by which names the file is looked for: that of an archive of a relay, then its own."""
        found = [self.inside] if self.inside else []
        with suppress(RegistryError):
            found.insert(0, naming.encode(Name.parse(self.inside), self.reference) + SUFFIX)
        return found


@dataclass(frozen=True, slots=True)
class ReadImage:
    """The names of an image that was read into the spool, and the digests of its content, the root first.

    `subjects` are pairs: a manifest, and the one that it is about. What `is_attached` is pulled by its own tag only.
    """

    digests: tuple[Digest, ...]
    tags: frozenset[Tag]
    references: tuple[tuple[Name, Tag], ...]
    subjects: tuple[tuple[Digest, Digest], ...] = ()
    is_attached: bool = False

    @classmethod
    def all_of(cls, found: Sequence[Image]) -> list["ReadImage"]:
        """Return what is remembered of images, and of what is attached to them."""
        attached = {each.root: each for image in found for each in image.attached}
        return [*map(cls.of, found), *(replace(cls.of(each), is_attached=True) for each in attached.values())]

    @classmethod
    def of(cls, image: Image) -> "ReadImage":
        """Return what is remembered of an image."""
        tagged = [(reference.name(""), reference.tag) for reference in image.references if reference.tag]
        manifests = {digest: manifest for part in image.parts for digest, manifest in part.manifests.items()}
        blobs = {digest for part in image.parts for digest in part.blobs}
        subjects = [(digest, each.subject.digest) for digest, each in manifests.items() if each.subject]
        tags = frozenset([*image.tags, *(tag for _, tag in tagged)])
        return cls((*manifests, *blobs), tags, tuple(tagged), tuple(subjects))


@dataclass(slots=True)
class Known:
    """What was learned about an artifact: what is in it, and the images of each file that was read.

    `refused` says of a file, or of all of it (""), why it is no image, and until when it is not read again.
    """

    name: str
    naming: Naming
    choice: Choice | None = None
    images: dict[str, list[ReadImage]] = field(default_factory=dict)
    refused: dict[str, tuple[str, float]] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    is_looked_at: bool = False  # for a listing

    @property
    def path(self) -> str:
        """What the repositories of the artifact begin with."""
        return f"{FOLDER}/{slug(without_ending(self.name))}"

    def image(self, wanted: Wanted) -> ReadImage | None:
        """Return the image that is wanted, by its name unless that is the name of its file, and by its tag or digest.

        Return None if its file was not read yet. Raise TarballInvalid if no image, or more than one, fits, or
        ManifestUnknown for what was refused a moment ago.
        """
        reference = wanted.reference
        for each in (each for images in self.images.values() for each in images):
            if reference in each.digests:
                return each
        self._check("")
        if self.choice is None:
            return None
        file = self.chosen(wanted)
        self._check(file)
        if file not in self.images:
            return None
        named = self._named(file, wanted.inside)
        tagged = [each for each in named if reference in each.tags]
        alone = [each for each in named if not each.is_attached]
        if len(tagged) == 1 or (len(alone) == 1 and reference == LATEST):
            return (tagged or alone)[0]
        names = [label(*each) for image in self.images[file] for each in image.references]
        names += sorted({str(tag) for image in self.images[file] if not image.references for tag in image.tags})
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        raise TarballInvalid(
            f"it holds {shown or counted(len(alone), 'image') + ' without a name'}; "
            f"pull {FOLDER}/{wanted.artifact}:<tag>, or {FOLDER}/{wanted.artifact}/<name>:<tag>"
        )

    def referring(self, subject: Digest) -> list[Digest]:
        """Return the manifests, in files that were read, that have another one as their subject."""
        read = [each for images in self.images.values() for each in images]
        return [digest for image in read for digest, about in image.subjects if about == subject]

    def chosen(self, wanted: Wanted) -> str:
        """Return the file, or the layout, that is wanted. Raise NotChosen."""
        choice = self.choice or Choice(())
        try:
            return choice.chosen(self.name, *wanted.files(self.naming))
        except NotChosen as error:
            if len(choice.tarballs) > 1:
                raise NotChosen(f"{error.message}; pull {FOLDER}/{wanted.artifact}/<file>") from error
            raise

    def _named(self, file: str, inside: str) -> Sequence[ReadImage]:
        """Return the images of a file that was read which are called so: all, if that is the name of the file."""
        found = self.images[file]
        if not inside or is_called(file, inside) or self._stored_as(file, inside):
            return found
        return [each for each in found if any(name.text == inside for name, _ in each.references)] or [
            each for each in found if any(f"/{name}".endswith(f"/{inside}") for name, _ in each.references)
        ]

    def _stored_as(self, file: str, inside: str) -> Tag | None:
        """Return the tag under which a relay stored this image, if the file is one of its archives."""
        plain = numbered(file.rpartition("/")[2].removesuffix(SUFFIX)).plain
        known = self.naming.decode(plain)
        return known[1] if known and known[0].text == inside and isinstance(known[1], Tag) else None

    def tags(self, wanted: Wanted) -> set[Tag]:
        """Return the tags under which images of the repository can be pulled, as far as files were read."""
        if self.choice is None:
            return set()
        found = {tag for file in self.choice.files if (tag := self._stored_as(file, wanted.inside))}
        with suppress(NotChosen):
            file = self.chosen(wanted)
            named = self._named(file, wanted.inside) if file in self.images else []
            every = [tag for each in named for tag in each.tags]
            is_one = [each.is_attached for each in named].count(False) == 1
            found |= {tag for tag in every if every.count(tag) == 1} | ({LATEST} if is_one else set())
        return found

    def repositories(self) -> Iterator[Name]:
        """Yield the repositories that can be pulled, by how the files begin: one alone has the name of the artifact."""
        choice = self.choice or Choice(())
        images = choice.images or [each for each in choice.tarballs if choice.kinds.get(each)]
        texts = list[str]()
        for each in images[:_MOST_LISTED]:
            file = each.rstrip("/").rpartition("/")[2]
            stored = self.naming.decode(numbered(file.removesuffix(SUFFIX)).plain)
            texts.append(f"{self.path}/{stored[0] if stored else slug(without_ending(file))}")
        with suppress(NotChosen):
            if choice.chosen(self.name) in images:
                texts = [self.path.partition("/")[2]]
        for text in dict.fromkeys(texts):
            with suppress(RegistryError):
                yield Name.parse(text)

    def refuse(self, wanted: Wanted, error: TarballInvalid) -> None:
        """Remember that a file is no image, or the artifact if it has no files; forget refusals that are over."""
        now = time.monotonic()
        self.refused = {each: (reason, until) for each, (reason, until) in self.refused.items() if until > now}
        if not isinstance(error, NotChosen):  # which costs nothing to tell again
            self.refused[self.chosen(wanted) if self.choice else ""] = self._cannot(error), now + _REFUSED

    def _check(self, file: str) -> None:
        reason, until = self.refused.get(file, ("", 0.0))
        if time.monotonic() < until:
            raise ManifestUnknown(reason)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Raise ManifestUnknown, with the name of the artifact, for TarballInvalid within the block."""
        try:
            yield
        except TarballInvalid as error:
            raise ManifestUnknown(self._cannot(error)) from error

    def _cannot(self, error: TarballInvalid) -> str:
        return f"the artifact {safe_text(self.name)} cannot be pulled: {error.message}"
