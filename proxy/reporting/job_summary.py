"""Collect what this relay has done for the summary of its job."""

from contextlib import suppress
from dataclasses import dataclass

from proxy.errors import RegistryError
from proxy.oci.digest import Digest
from proxy.oci.names import Name, label, parse_label
from proxy.registry.push_state import State
from proxy.reporting.copyable import ContentKind, content_kind, load_commands, pull_command
from proxy.reporting.history import ImageActivity
from proxy.reporting.markdown import Facts, Row, write
from proxy.reporting.pulls import PullTracker
from proxy.reporting.status import Status

_IMAGES = 100  # that are looked up; the table has no more rows


@dataclass(frozen=True, slots=True)
class JobSummary:
    """Answers for `/relay/summary`."""

    status: Status
    pulls: PullTracker

    async def text(self) -> str:
        """Return the summary of all that has happened so far."""
        handled, pushed = self.status.history.images(self.pulls.under_way()), self.status.push.pushed()
        failed = [each for each in pushed if each.state is State.FAILED]
        backend, catalog, volume = self.status.backend, self.status.lookup.catalog, None
        if handled or self.status.history.deleted:
            with suppress(RegistryError):
                volume = await catalog.volume()
        return write(
            Facts(
                place=backend.place,
                readers=backend.readers,
                rows=[await self._row(each) for each in handled[-_IMAGES:]],
                more=self.status.history.forgotten + max(0, len(handled) - _IMAGES),
                volume=volume,
                deleted=self.status.history.deleted,
                moved=self.status.history.moved,
                gzip=self.status.history.gzip,
                run=status.fields() if (status := backend.status()).is_another_run else {},
                pending=[label(each.name, each.reference) for each in pushed if each.state is not State.FAILED],
                failed=[(label(each.name, each.reference), each.problem) for each in failed],
                unreadable=[(each.artifact.name, each.problem) for each in catalog.unreadable()],
                missing=self.status.history.missing,
                refused=self.status.history.refused,
            )
        )

    async def _row(self, image: ImageActivity) -> Row:
        """Return the row of an image, with what its archive says if its reference still leads to it."""
        backend, catalog = self.status.backend, self.status.lookup.catalog
        name, reference = parse_label(image.reference)
        known, is_there = None, bool(image.origin)
        with suppress(RegistryError):
            if isinstance(reference, Digest):
                archive = await catalog.find_cached(name, reference)
            else:
                archive = await catalog.resolve(name, reference)
            if archive and (isinstance(reference, Digest) or str(archive.index.root) == image.digest):
                known = await self.status.durable(archive)
            if not (known or is_there or image.pushed):  # it may be deleted by now
                is_there = await self.status.lookup.external.resolve(name, reference) is not None
        sent = None if image.stored_in is None else image.new + image.reused
        kind = known.kind if known else await self._kind(name, image)
        pull = pull_command(kind, backend.public_host, name, reference) if kind else ""
        expires = known.archive.artifact.expires if known else None
        return Row(
            reference=image.reference,
            digest=image.digest,
            pushed=image.pushed,
            origin=image.origin,
            platforms=known.platforms if known else (),
            size=known.size if known else None,
            stored=(known.archive.size if sent is None else sent) if known else None,  # act lists another size
            new=None if sent is None else image.new,
            reused=None if sent is None else image.reused,
            stored_in=image.stored_in,
            pulled_in=image.pulled_in,
            expires=expires.strftime("%Y-%m-%d %H:%M UTC") if expires else "",
            pull=pull if known or is_there else "",
            load=load_commands(known.kind, backend.by_hand(known.archive.artifact.name), name, image.digest)
            if known
            else (),
        )

    async def _kind(self, name: Name, image: ImageActivity) -> ContentKind | None:
        """Return the kind of what no archive of this run has, as far as that takes no request; None if unknown."""
        lookup, manifest = self.status.lookup, None
        with suppress(RegistryError):
            manifest = await lookup.find(name, Digest.parse(image.digest), known=True)
        with suppress(RegistryError):
            if manifest and manifest.media_type:
                return content_kind(await lookup.parsed(manifest))
        return None if image.origin else ContentKind.IMAGE  # what others have stored as a tarball is an image
